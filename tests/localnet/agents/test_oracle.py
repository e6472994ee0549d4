"""Compare the validator's results with the trainer's gate, which shares no code with it, and with plain numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from decloud_pl.config.training import UpdateConfig
from decloud_pl.data.formats.digits import Digits
from decloud_pl.data.source import TextSplit
from decloud_pl.domain import Convention, Encoding
from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.agents import bench_child
from decloud_pl.localnet.agents.oracle import Oracle, Samples, shares
from decloud_pl.models import package
from decloud_pl.models.inputs import ImageInput, TextInput
from decloud_pl.models.spec import ModelSpec
from decloud_pl.train.score.gate import Rules
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.scorer import Scorer
from decloud_pl.train.update import delta

RATE = 0.1
State = dict[str, torch.Tensor]

# An architecture plug-in, which quarantine's child finds as it finds a user's: the package has no small network with
# batch norms.
PLUG_IN = """
from torch import nn

def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
"""
PLAIN = ModelSpec("mlp", {"image_size": 8, "hidden": 16, "layers": 1}, ImageInput(size=8))
NORMALISED = ModelSpec("normalised", {}, ImageInput(size=8))
RESIZED = ModelSpec("mlp", {"image_size": 12, "hidden": 16, "layers": 1}, ImageInput(size=12))


@pytest.fixture(autouse=True, scope="module")
def end_ofquarantine() -> Iterator[None]:
    yield
    bench_child.quarantine().close()


@pytest.fixture(autouse=True)
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_networks.py").write_text(PLUG_IN)
    installed = tmp_path / "my_networks-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-networks\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[decloud_pl.architectures]\nnormalised = my_networks:normalised\n")
    monkeypatch.syspath_prepend(tmp_path)


@dataclass(frozen=True)
class Model:
    """A partly trained base model, and later states of its training."""

    spec: ModelSpec
    path: Path
    base: State
    trained: list[State]


def make_model(path: Path, spec: ModelSpec, steps: int = 24) -> Model:
    torch.manual_seed(0)
    network = spec.network().train()
    data = Scorer(Digits().load("train"), spec.input)
    inputs, labels = data.inputs(data.rows[0]), data.rows[1]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    states: list[State] = []
    for step in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs[step % 4 :: 4]), labels[step % 4 :: 4]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    base, *trained = states[steps // 2 - 1 :]
    package.save(path, spec, base)
    return Model(spec, path, base, trained)


def submissions(folder: Path, model: Model, written: Convention, misread: Convention, turn: int) -> dict[Path, bool]:
    """Write a round's ten update files; return for each whether it is valid.

    One valid file has an entry that no tensor of the model has.
    """
    some, most = model.trained[3], model.trained[-1]
    wanted: list[tuple[State, Convention, Encoding]] = [
        (some, misread, Encoding("float32")),
        (some, written, Encoding("float32")),
        (most, written, Encoding("float16")),
        (most, misread, Encoding("float16")),
        (most, written, Encoding("bfloat16")),
        (some, written, Encoding("float16", 0.1)),
        (most, written, Encoding("float32", 0.02)),
        (most, written, Encoding("float32", 0.2)),
    ]
    files: dict[Path, bool] = {}
    for number, (state, convention, encoding) in enumerate(wanted):
        entries = delta.encode(model.base, state, convention=convention, gradient_rate=RATE, encoding=encoding)
        path = folder / f"{number}.pt"
        delta.write(path, {**entries, "unknown": torch.ones(2)} if number == 1 else entries)
        files[path] = True
        if number in (0, 4):
            name, tensor = next(iter(entries.items()))
            content: list[object] = [
                {**entries, name: torch.full_like(tensor, math.inf)},
                {**entries, name: tensor.to_dense()[:1]},
                [tensor],
                {name: Path("code")},
                {**entries, name: torch.full_like(tensor, math.nan)},
            ]
            path = folder / f"invalid-{number}.pt"
            torch.save(content[(turn + number // 4) % len(content)], path)
            files[path] = False
    return files


def correct_by_the_gate(model: Model, convention: Convention, path: Path) -> tuple[int, int]:
    """Return the correct predictions that the gate counts on the test split, before and after the update."""
    test = Scorer(Digits().load("test"), model.spec.input)

    class Whole:
        select = judge = test

    judge = Judge(model.spec.network(), model.base, Whole(), Rules(convention, RATE, convention))
    gain = judge.verdict(path).gain
    assert gain is not None
    return round(gain.before * len(test.split)), round(gain.after * len(test.split))


def correct_by_numpy(model: Model, convention: Convention, path: Path | None) -> int:
    """Count a perceptron's correct predictions on the test split, implemented in numpy."""
    entries = {} if path is None else torch.load(path, weights_only=True)
    names = {name for name, _ in model.spec.network().named_parameters()} if convention == "gradient" else set(entries)
    step = np.float32(1 if convention == "delta" else -RATE)
    state = {name: tensor.numpy() for name, tensor in model.base.items()}
    for name in names & set(entries) & set(state):
        state[name] = state[name] + step * entries[name].to_dense().float().numpy()
    test = Digits().load("test")
    assert isinstance(test.images, np.ndarray)
    values = np.repeat((test.images[:, None] / np.float32(255) - 0.5) / 0.5, 3, axis=1).reshape(len(test), -1)
    first, last = ("1", "4") if model.spec is NORMALISED else ("hidden.0", "head")
    values = values @ state[f"{first}.weight"].T + state[f"{first}.bias"]
    if model.spec is NORMALISED:
        with np.errstate(invalid="ignore"):  # an update applied by the wrong convention may give a negative variance
            values = (values - state["2.running_mean"]) / np.sqrt(state["2.running_var"] + 1e-5)
        values = values * state["2.weight"] + state["2.bias"]
    logits = np.maximum(values, 0) @ state[f"{last}.weight"].T + state[f"{last}.bias"]
    return int((logits.argmax(1) == test.labels).sum())


def shares_by_hand(baseline: int, correct: Mapping[str, int | None]) -> dict[str, int]:
    """The protocol's rule for shares, one clause per line. None stands for an invalid submission."""
    result = dict.fromkeys(correct, 0)
    gainers = [name for name, count in correct.items() if count is not None and count > baseline]
    receivers = gainers or [name for name, count in correct.items() if count is not None]
    for name in receivers:
        gained = (correct[name] or 0) - baseline if gainers else 1
        everything = sum((correct[each] or 0) - baseline for each in gainers) or len(receivers)
        result[name] = math.floor(10_000 * gained / everything)
    paid = [name for name in receivers if result[name]]
    left = 10_000 - sum(result.values())
    for name in paid[:1] * left if gainers else paid[:left]:
        result[name] += 1
    return result


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("convention", ["delta", "gradient"])
@pytest.mark.parametrize("spec", [PLAIN, NORMALISED], ids=["plain", "normalised"])
def test_it_agrees_with_the_gate_and_with_numpy(tmp_path: Path, spec: ModelSpec, convention: Convention) -> None:
    model = make_model(tmp_path / "base", spec)
    turn = 2 * (convention == "gradient") + (spec is NORMALISED)
    other: Convention = "gradient" if convention == "delta" else "delta"
    files = submissions(tmp_path, model, convention, other, turn)
    baseline, correct = agreed(model, convention, files)
    assert max(correct.values()) > baseline
    assert len(set(correct.values())) >= 4  # if all were equal, the agreement would prove nothing
    assert correct_by_numpy(model, convention, None) == baseline
    for path in (path for path, valid in files.items() if valid):
        assert correct_by_numpy(model, convention, path) == correct[path.name], path.name


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_all_that_are_misread_share_equally(tmp_path: Path) -> None:
    model = make_model(tmp_path / "base", RESIZED)
    files = submissions(tmp_path, model, "gradient", "gradient", 4)
    baseline, correct = agreed(model, "delta", files)
    assert max(correct.values()) <= baseline
    by_hand = shares_by_hand(baseline, {path.name: correct.get(path.name) for path in files})
    assert bench_child.contributions(**asked(model, "delta", files)) == by_hand
    assert sorted(by_hand.values()) == [0, 0, *[1250] * 8]


def asked(model: Model, convention: Convention, files: Iterable[Path]) -> dict[str, Any]:
    return {
        "base": str(model.path),
        "dataset": "digits",
        "data": None,
        "submissions": {path.name: str(path) for path in files},
        "scoring": convention,
        "gradient_rate": RATE,
    }


def agreed(model: Model, convention: Convention, files: Mapping[Path, bool]) -> tuple[int, dict[str, int]]:
    """Return the oracle's counts, after checking that the gate's counts and the shares computed by hand agree."""
    baseline, correct = bench_child.counts(**asked(model, convention, files))
    valid = [path for path, is_valid in files.items() if is_valid]
    assert [*correct] == [path.name for path in valid]
    for path in valid:
        assert correct_by_the_gate(model, convention, path) == (baseline, correct[path.name]), path.name
    assert shares(baseline, correct) == shares_by_hand(baseline, correct)
    return baseline, correct


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        ({"a": 60, "b": 80}, {"a": 2500, "b": 7500}),
        ({"a": 51, "b": 51, "c": 51}, {"a": 3334, "b": 3333, "c": 3333}),
        ({"a": 50, "b": 51, "c": 52}, {"a": 0, "b": 3334, "c": 6666}),
        ({"a": 51, "b": 20_050}, {"a": 0, "b": 10_000}),  # the first has a gain, but its share rounds to zero
        ({"a": 50, "b": 49, "c": 0}, {"a": 3334, "b": 3333, "c": 3333}),
        (dict.fromkeys("abcdef", 50), {"a": 1667, "b": 1667, "c": 1667, "d": 1667, "e": 1666, "f": 1666}),
        ({"a": 0}, {"a": 10_000}),
    ],
)
def test_the_shares_of_a_round(correct: dict[str, int], expected: dict[str, int]) -> None:
    assert shares(50, correct) == shares_by_hand(50, correct) == expected


@given(st.integers(0, 360), st.lists(st.integers(0, 360), min_size=1, max_size=10))
def test_shares_sum_to_everything(baseline: int, counted: list[int]) -> None:
    found = shares(baseline, {str(place): count for place, count in enumerate(counted)})
    assert sum(found.values()) == 10_000
    assert min(found.values()) >= 0


def test_a_round_without_a_valid_submission_has_no_shares(tmp_path: Path) -> None:
    model = make_model(tmp_path / "base", PLAIN, steps=2)
    path = tmp_path / "update"
    path.write_bytes(b"no update")
    with pytest.raises(LocalnetError, match=r"No submission is valid.* update: The submission was not written by"):
        bench_child.contributions(**asked(model, "delta", [path]))


def test_texts_are_token_numbers_and_no_images() -> None:
    split = TextSplit(("one two", ""), np.array([0, 1]))
    samples = Samples.of(split, TextInput(vocabulary=50, length=3))
    inputs = samples.inputs(samples.rows)
    assert (inputs.dtype, (inputs > 0).sum(1).tolist()) == (torch.int64, [2, 0])
    with pytest.raises(LocalnetError, match="takes image input"):
        Samples.of(split, ImageInput())


@pytest.mark.parametrize("convention", ["delta", "gradient"])
def test_batch_norms_are_paid_for_what_they_have_learnt(convention: Convention, tmp_path: Path) -> None:
    """This also applies if the validator changes only parameters and keeps the base model's statistics."""
    model = make_model(tmp_path / "base", NORMALISED)
    trained, samples = model.trained[-1], Samples.of(Digits().load("test"), NORMALISED.input)
    expected = Oracle(NORMALISED, trained, samples).baseline()
    oracle = Oracle(NORMALISED, model.base, samples)
    judge = Judge(NORMALISED.network(), model.base, None, Rules(convention, RATE, convention, 0.0))
    writer = judge.writer(UpdateConfig(dtype="float32"), note=lambda _: None)
    update, _ = writer.write(tmp_path / "update.pt", trained)
    entries: State = torch.load(update.path, weights_only=True)
    assert abs(oracle.with_submission(entries, convention, RATE) - expected) <= 1  # the order of summation differs
    plain = delta.encode(model.base, trained, convention=convention, gradient_rate=RATE, encoding=Encoding("float32"))
    lost = expected - oracle.with_submission(plain, convention, RATE)
    assert lost > 3 if convention == "gradient" else abs(lost) <= 1
    assert expected > oracle.baseline()
