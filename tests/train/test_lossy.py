"""An encoding that loses too much of the gain is not used."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from decloud_pl.domain import Encoding
from decloud_pl.train.update.writing import Encoded, UpdateWriter

BASE = {"w": torch.zeros(100)}
TRAINED = {"w": torch.linspace(0.0, 1.0, 100)}


def share(state: Mapping[str, torch.Tensor]) -> float:
    """Return the share of the weights that arrived as accuracy."""
    return 0.1 + 0.8 * float(((state["w"] - TRAINED["w"]).abs() < 3e-4).float().mean())


def choose(wanted: Encoding, min_kept: float = 0.95, *, measured: bool = True) -> Encoded:
    score = share if measured else None
    return UpdateWriter(BASE, encoding=wanted, min_kept=min_kept, score=score).encode(TRAINED)


def test_what_keeps_enough_is_used_as_wanted() -> None:
    encoded = choose(Encoding("float16"))
    assert encoded.encoding == Encoding("float16")
    assert encoded.gain_kept == pytest.approx(1.0, abs=0.03)
    assert "Encoded as float16, which keeps" in encoded.note


def test_what_keeps_too_little_falls_back_to_half_precision_and_says_so() -> None:
    encoded = choose(Encoding("float32", top_k=0.1))
    assert encoded.encoding == Encoding("float16")
    assert "the largest 0.1 of the entries would keep only" in encoded.note
    assert choose(Encoding("bfloat16")).encoding == Encoding("float16")


def test_whoever_accepts_a_loss_gets_it() -> None:
    encoded = choose(Encoding("float32", top_k=0.1), min_kept=0.05)
    assert encoded.encoding.top_k == 0.1
    assert encoded.entries["w"].layout is torch.sparse_coo


def test_half_precision_that_loses_too_much_falls_back_to_float32() -> None:
    assert choose(Encoding("float16"), min_kept=1.01).encoding == Encoding("float32")


def test_without_a_gain_or_a_measure_the_wish_counts() -> None:
    assert choose(Encoding("bfloat16"), measured=False).encoding == Encoding("bfloat16")
    nothing = UpdateWriter(BASE, encoding=Encoding("bfloat16"), score=share).encode(BASE)
    assert (nothing.encoding, nothing.gain_kept) == (Encoding("bfloat16"), None)
