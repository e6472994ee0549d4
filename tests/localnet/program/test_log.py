"""The format of numbers and keys in the log."""

from __future__ import annotations

from hashlib import sha256

import pytest
from solders.keypair import Keypair

from tests.localnet.program.conftest import Life


def key_with_leading_zeros(count: int) -> Keypair:
    """Find a wallet whose address begins with zero bytes, which base58 encodes as leading ones."""
    for number in range(2**20):
        found = Keypair.from_seed(sha256(f"zeros {number}".encode()).digest())
        if bytes(found.pubkey())[:count] == bytes(count):
            return found
    raise AssertionError("no such key found")


def claimed_by(life: Life, validator: Keypair) -> str:
    life.posted().chain.svm.airdrop(validator.pubkey(), 10**9)
    claim = life.dialect.claim_round(0, validator=validator.pubkey())
    return life.chain.must(claim, validator).text_lines[0]


@pytest.mark.parametrize("count", [0, 1])
def test_a_key_is_written_in_base58(life: Life, count: int) -> None:
    validator = key_with_leading_zeros(count)
    assert f"validator {validator.pubkey()}. Join" in claimed_by(life, validator)


@pytest.mark.parametrize("number", range(20))
def test_any_key_is_written_as_solders_writes_it(life: Life, number: int) -> None:
    validator = Keypair.from_seed(sha256(bytes([number])).digest())
    assert f"validator {validator.pubkey()}. Join" in claimed_by(life, validator)


@pytest.mark.parametrize("now", [-(2**62), -601, -600, -1, 0, 2**62])
def test_a_time_is_written_with_its_sign(life: Life, now: int) -> None:
    life.chain.set_time(now)
    assert claimed_by(life, life.validator).endswith(f"Join deadline: {now + 600}")


@pytest.mark.parametrize("score", [0, 9, 10, 2**32 - 1])
def test_a_score_is_written_in_full(life: Life, score: int) -> None:
    outcome = life.joined().chain.must(life.start(score), life.validator)
    assert f"Baseline: {score}, Submit" in outcome.text_lines[0]
    assert life.chain.round(0).baseline_score == score
