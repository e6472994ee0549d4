"""The tokenizer's rules are part of the package format: they always give the same numbers, on every machine."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decloud_pl.models.tokenizer import PADDING, encode, token_number, tokens


def test_words_and_punctuation() -> None:
    assert tokens("It's NOT bad -- a_b, 3.5/5!") == [
        *("it's", "not", "bad", "-", "-", "a", "_", "b", ",", "3", ".", "5", "/", "5", "!"),
    ]
    assert tokens(" \t\n") == []
    assert tokens("Żółć 日本") == ["żółć", "日本"]


def test_numbers_never_change() -> None:
    assert encode(["A good film."], vocabulary=16_384, length=6).tolist() == [[5433, 3611, 3262, 13311, 0, 0]]


@given(st.text(), st.integers(2, 50), st.integers(1, 20))
def test_numbers_stay_within_the_vocabulary(text: str, vocabulary: int, length: int) -> None:
    numbers = encode([text], vocabulary=vocabulary, length=length)
    assert numbers.dtype == np.int32
    assert numbers.shape == (1, length)
    count = min(length, len(tokens(text)))
    assert ((numbers[0, :count] >= 1) & (numbers[0, :count] < vocabulary)).all()
    assert (numbers[0, count:] == PADDING).all()


def test_words_spread_over_the_vocabulary() -> None:
    numbers = [token_number(f"word{index}", 1001) for index in range(20_000)]
    counts = np.bincount(numbers, minlength=1001)[1:]
    assert counts.min() > 0
    assert counts.max() < 60  # 20 on average


@pytest.mark.parametrize("text", ["a" * 5_000_000, "' " * 2_500_000, "'a" * 2_500_000])
def test_a_text_of_megabytes_costs_no_more_than_a_long_one(text: str) -> None:
    begun = time.process_time()
    encode([text], vocabulary=100, length=64)
    assert time.process_time() - begun < 1.0


def test_unpaired_surrogates_are_text_too() -> None:
    assert encode(["\ud800"], vocabulary=100, length=1).shape == (1, 1)
