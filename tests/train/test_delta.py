"""Entries are exactly what a validator applies, in both conventions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decloud_pl.domain import Encoding, UpdateDtype
from decloud_pl.errors import TrainingError
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.train.update import delta

# The largest rounding error of each type, relative to the entry.
_PRECISION: dict[UpdateDtype, float] = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}


def states(seed: int, scale: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    base = {
        "weight": torch.randn(4, 3, generator=generator),
        "running_mean": torch.randn(5, generator=generator),
        "num_batches_tracked": torch.tensor(3),
        "empty": torch.zeros(0),
    }
    trained = {
        name: value + (7 if value.dtype == torch.int64 else scale * torch.randn(value.shape, generator=generator))
        for name, value in base.items()
    }
    return base, trained


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-4, 1e-2, 1.0]),
    convention=st.sampled_from(["delta", "gradient"]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_what_is_applied(seed, scale, convention, dtype, rate) -> None:  # type: ignore[no-untyped-def]
    base, trained = states(seed, scale)
    entries = delta.encode(base, trained, convention=convention, gradient_rate=rate, encoding=Encoding(dtype))
    applied = delta.apply(base, entries, convention=convention, gradient_rate=rate)
    for name, start in base.items():
        assert applied[name].dtype == start.dtype
        if start.dtype == torch.int64:
            assert torch.equal(applied[name], trained[name])
            continue
        change = (trained[name] - start).abs().max() if start.numel() else torch.tensor(0.0)
        # float16 has a larger relative error on tiny entries, because its smallest step is 6e-8.
        tolerance = float(change) * _PRECISION[dtype] + 1e-6
        torch.testing.assert_close(applied[name], trained[name], atol=tolerance, rtol=1e-6)


def test_the_gradient_convention_is_what_the_public_validator_undoes() -> None:
    base, trained = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([1.5, 1.0])}
    entries = delta.encode(base, trained, convention="gradient", gradient_rate=0.1, encoding=Encoding("float32"))
    torch.testing.assert_close(base["w"] - 0.1 * entries["w"], trained["w"])


def test_validators_change_parameters_only() -> None:
    base, trained = states(1, 1.0)
    entries = delta.encode(base, trained, convention="delta", gradient_rate=0.1)
    applied = delta.apply(base, entries, convention="delta", gradient_rate=0.1, parameters={"weight"})
    assert not torch.equal(applied["weight"], base["weight"])
    assert torch.equal(applied["running_mean"], base["running_mean"])


def test_sparse_entries_are_taken() -> None:
    base = {"w": torch.zeros(3, 3)}
    dense = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    applied = delta.apply(base, {"w": dense.to_sparse()}, convention="delta", gradient_rate=0.1)
    assert torch.equal(applied["w"], dense)


@given(
    seed=st.integers(0, 10_000),
    top_k=st.floats(0.001, 1.0),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    convention=st.sampled_from(["delta", "gradient"]),
)
@settings(max_examples=40, deadline=None)
def test_the_largest_entries_arrive_and_a_validator_can_add_them(  # type: ignore[no-untyped-def]
    seed, top_k, dtype, convention
) -> None:
    base, trained = states(seed, 1.0)
    base["matrix"] = torch.zeros(40, 30)
    trained["matrix"] = torch.randn(40, 30, generator=torch.Generator().manual_seed(seed))
    encoding = Encoding(dtype, top_k)
    entries = delta.encode(base, trained, convention=convention, gradient_rate=0.1, encoding=encoding)
    applied = delta.apply(base, entries, convention=convention, gradient_rate=0.1)
    dense = entries["matrix"].to_dense().float()
    exact = (trained["matrix"] - base["matrix"]) * (1 if convention == "delta" else -10)
    arrived = dense != 0
    torch.testing.assert_close(dense[arrived], exact[arrived], rtol=_PRECISION[dtype], atol=1e-6)
    # No dropped entry is larger than a kept one.
    assert not (~arrived).any() or not arrived.any() or exact[~arrived].abs().max() <= exact[arrived].abs().min()
    if entries["matrix"].layout is torch.sparse_coo:
        assert int(arrived.sum()) <= round(top_k * sum(v.numel() for v in base.values() if v.is_floating_point())) + 1
    # The public validator processes an entry like this.
    parameter = base["matrix"].clone()
    parameter -= 0.1 * entries["matrix"]
    rate = -0.1 if convention == "delta" else 1.0
    torch.testing.assert_close(parameter, rate * applied["matrix"], rtol=_PRECISION[dtype], atol=2e-3)
    assert torch.equal(applied["num_batches_tracked"], trained["num_batches_tracked"])


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_a_sparse_file_is_smaller_and_loads_without_trust(tmp_path: Path) -> None:
    base = {"w": torch.zeros(512, 1024)}
    trained = {"w": torch.randn(512, 1024, generator=torch.Generator().manual_seed(0))}
    sizes = {}
    for top_k in (0.0, 0.01):
        entries = delta.encode(
            base, trained, convention="delta", gradient_rate=0.1, encoding=Encoding("float16", top_k)
        )
        sizes[top_k] = delta.write(tmp_path / str(top_k), entries)[2]
    assert sizes[0.01] < 0.12 * sizes[0.0]
    loaded = torch.load(tmp_path / "0.01", weights_only=True)
    assert int((loaded["w"].to_dense() != 0).sum()) == round(0.01 * 512 * 1024)


def test_an_entry_too_large_for_half_precision_is_kept_whole() -> None:
    base, trained = {"w": torch.zeros(2)}, {"w": torch.tensor([1e5, 1.0])}
    entries = delta.encode(base, trained, convention="delta", gradient_rate=0.1, encoding=Encoding("float16"))
    assert entries["w"].dtype == torch.float32
    assert torch.equal(entries["w"], trained["w"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_is_no_update(value: float) -> None:
    with pytest.raises(TrainingError, match="diverged"):
        delta.encode({"w": torch.zeros(1)}, {"w": torch.tensor([value])}, convention="delta", gradient_rate=0.1)


def test_other_names_or_shapes_are_refused() -> None:
    with pytest.raises(TrainingError, match="different tensors"):
        delta.encode({"a": torch.zeros(1)}, {"b": torch.zeros(1)}, convention="delta", gradient_rate=0.1)
    with pytest.raises(TrainingError, match="shape"):
        delta.encode({"a": torch.zeros(1)}, {"a": torch.zeros(2)}, convention="delta", gradient_rate=0.1)


def test_the_file_is_what_validators_load_and_its_cid_is_right(tmp_path: Path) -> None:
    base, trained = states(3, 0.1)
    entries = delta.encode(base, trained, convention="delta", gradient_rate=0.1)
    path = tmp_path / "update.pt"
    cid, profile, size = delta.write(path, entries)
    assert path.stat().st_size == size
    assert str(cid_of_file(path, profile)) == cid
    loaded = torch.load(path, weights_only=True)
    assert set(loaded) == set(base)
    assert loaded["weight"].dtype == torch.float16
    assert [entry.name for entry in tmp_path.iterdir()] == ["update.pt"]
    assert delta.write(tmp_path / "again.pt", entries)[0] == cid  # the same update always has the same CID
