"""The features of the processor, found without torch and as torch reports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.config import compose
from decloud_pl.observers.observe import precision
from decloud_pl.train.fit.hardware import cpu_has_bf16
from decloud_pl.train.fit.precision import resolve_precision


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16 avx512f\n", True),
        ("processor\t: 0\nflags\t\t: fpu amx_tile\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\nbugs\t: avx512_bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", None),  # the key on another architecture
    ],
)
def test_flags(tmp_path: Path, text: str, expected: bool | None) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert cpu_has_bf16(path) is expected


def test_without_the_file_it_is_unknown(tmp_path: Path) -> None:
    assert cpu_has_bf16(tmp_path / "missing") is None


@pytest.mark.slow
def test_the_header_says_what_a_training_will_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if cpu_has_bf16() is not None:
        assert precision(compose([]).trainer) == resolve_precision("auto", "cpu")
    assert precision(compose(["trainer.precision=16-mixed"]).trainer) == "16-mixed"
    assert precision(compose(["trainer=cpu"]).trainer) == "32-true"
