"""abort_round of v1.2: the validator aborts a round, and the creator is refunded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decloud_pl.chain.dialects.v1_0.errors import ErrorCode
from decloud_pl.chain.dialects.v1_2.errors import ErrorCode as AbortErrorCode
from decloud_pl.chain.dialects.v1_2.events import RoundAborted
from decloud_pl.domain import RoundStatus
from tests.localnet.program.conftest import RENT_OF_NOTHING, REWARD, Life, LifeFactory


@pytest.mark.parametrize("state", ["open", "joined", "training", "validating"])
def test_a_claimed_round_that_is_not_over_can_be_aborted(life: Life, state: str) -> None:
    getattr(life, state)()
    before = life.chain.balance(life.creator.pubkey())
    outcome = life.chain.must(life.abort(), life.validator)
    assert life.chain.round(0).status is RoundStatus.CANCELLED
    assert life.chain.vault(0) == 0
    assert life.chain.balance(life.creator.pubkey()) - before == REWARD + RENT_OF_NOTHING
    validator = life.validator.pubkey()
    assert outcome.events == (RoundAborted(0, validator, REWARD),)
    assert outcome.text_lines == (f"Round 0 aborted by validator {validator}. Refunded {REWARD} lamports to creator",)


def ended(*steps: Callable[[Life], object]) -> Callable[[Life], object]:
    return lambda life: [step(life) for step in steps]


CLOSED: dict[str, Callable[[Life], object]] = {
    "posted": lambda life: life.posted(),
    "completed": lambda life: life.completed(),
    "cancelled": ended(lambda life: life.posted(), lambda life: life.chain.must(life.cancel(), life.creator)),
    "expired": ended(
        lambda life: life.open().chain.advance(601), lambda life: life.chain.must(life.check(), life.creator)
    ),
    "aborted": ended(lambda life: life.open(), lambda life: life.chain.must(life.abort(), life.validator)),
}


@pytest.mark.parametrize("state", CLOSED)
def test_any_other_round_cannot(life: Life, state: str) -> None:
    CLOSED[state](life)
    outcome = life.chain.send(life.abort(), life.validator)
    assert outcome.anchor_error == (None, "CannotAbort", AbortErrorCode.CannotAbort)


@pytest.mark.parametrize("who", ["stranger", "creator", "trainer 0"])
def test_only_the_rounds_validator_aborts_it(life: Life, who: str) -> None:
    other = life.training().chain.wallet(who)
    abort = life.dialect.abort_round(0, creator=life.creator.pubkey(), validator=other.pubkey())
    assert life.chain.send(abort, other).code == ErrorCode.NotValidator


def test_a_creator_who_validates_can_abort(new_life: LifeFactory) -> None:
    life = new_life()
    life.validator = life.creator
    life.training().chain.must(life.abort(), life.creator)
    assert life.chain.vault(0) == 0


def test_nothing_follows(life: Life) -> None:
    life.validating().chain.must(life.abort(), life.validator)
    trainer = life.trainers[0]
    for instruction, signer, code in (
        (life.reward_claim(trainer), trainer, ErrorCode.RoundNotCompleted),
        (life.complete(), life.validator, ErrorCode.RoundNotValidating),
        (life.start(), life.validator, ErrorCode.RoundNotWaitingTrainers),
    ):
        assert life.chain.send(instruction, signer).code == code
