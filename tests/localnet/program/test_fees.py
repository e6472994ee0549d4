"""The treasury's part of each payment, and the referrer's part of the treasury's."""

from __future__ import annotations

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.chain.dialects.v1_1 import V1_1
from decloud_pl.chain.dialects.v1_1.events import RewardClaimed, ValidatorFeeClaimed
from tests.localnet.program.conftest import (
    RENT_OF_NOTHING,
    REWARD,
    TREASURY,
    Chain,
    Life,
    LifeFactory,
    Outcome,
    each_revision,
    revisions,
)

with_treasury = revisions("v1.1", "v1.2")
FEE = REWARD // 10
POOL = REWARD - FEE


def referred(life: Life, referrer: Pubkey) -> V1_1:
    """Return a dialect with a referrer."""
    dialect = life.dialect
    assert isinstance(dialect, V1_1)
    return type(dialect)(dialect.program_id, referrer=referrer)


def gained(chain: Chain, instruction: Instruction, signer: Keypair, *others: Pubkey) -> tuple[Outcome, list[int]]:
    """Run a payment; return the gains of its signer (not counting its transaction fee), the treasury and others."""
    accounts = [signer.pubkey(), TREASURY, *others]
    before = [chain.balance(account) for account in accounts]
    outcome = chain.must(instruction, signer)
    after = [chain.balance(account) for account in accounts]
    after[0] += outcome.fee
    return outcome, [now - then for now, then in zip(after, before, strict=True)]


@revisions("v1.0")
def test_the_first_revision_pays_no_treasury(life: Life) -> None:
    trainer = life.completed(10_000, 0).trainers[0]
    _, (paid, fee) = gained(life.chain, life.reward_claim(trainer), trainer)
    assert (paid, fee) == (POOL, 0)
    assert life.chain.balance(TREASURY) == RENT_OF_NOTHING


@with_treasury
def test_the_treasury_takes_two_percent_of_a_reward(life: Life) -> None:
    trainer = life.completed(10_000, 0).trainers[0]
    outcome, parts = gained(life.chain, life.reward_claim(trainer), trainer)
    assert parts == [882_000_007, 18_000_000]
    assert outcome.events == (RewardClaimed(0, trainer.pubkey(), 882_000_007, 18_000_000, 0),)


@with_treasury
def test_half_of_it_is_the_referrers(life: Life) -> None:
    trainer, referrer = life.completed(10_000, 0).trainers[0], life.chain.wallet("referrer").pubkey()
    claim = referred(life, referrer).claim_reward(0, trainer=trainer.pubkey())
    outcome, parts = gained(life.chain, claim, trainer, referrer)
    assert parts == [882_000_007, 9_000_000, 9_000_000]
    assert outcome.events == (RewardClaimed(0, trainer.pubkey(), 882_000_007, 9_000_000, 9_000_000),)


@with_treasury
def test_the_validators_fee_pays_it_too(new_life: LifeFactory) -> None:
    life = new_life().validating()
    _, parts = gained(life.chain, life.complete(), life.validator)
    assert parts == [98_000_000, 2_000_000]
    life = new_life().finalized()
    validator, referrer = life.validator.pubkey(), life.chain.wallet("referrer").pubkey()
    claim = referred(life, referrer).claim_validator_fee(0, validator=validator)
    outcome, parts = gained(life.chain, claim, life.validator, referrer)
    assert parts == [98_000_000, 1_000_000, 1_000_000]
    assert outcome.events == (ValidatorFeeClaimed(0, validator, 98_000_000, 1_000_000, 1_000_000),)


@with_treasury
@pytest.mark.parametrize(
    ("reward", "parts"),
    [(1, (1, 0, 0)), (54, (49, 0, 0)), (55, (49, 1, 0)), (110, (98, 1, 0)), (111, (98, 1, 1)), (166, (147, 2, 1))],
)
def test_fee_and_half_are_rounded_down(new_life: LifeFactory, reward: int, parts: tuple[int, int, int]) -> None:
    """The treasury gets the rest after the referrer's half, so the parts sum to the share."""
    life = new_life(reward=reward).completed(10_000, 0)
    assert life.chain.round(0).trainers_pool == sum(parts)
    trainer, referrer = life.trainers[0], life.chain.wallet("referrer").pubkey()
    claim = referred(life, referrer).claim_reward(0, trainer=trainer.pubkey())
    assert gained(life.chain, claim, trainer, referrer)[1] == list(parts)


@with_treasury
@pytest.mark.parametrize("who", ["treasury", "trainer"])
def test_a_referrer_can_be_anybody(life: Life, who: str) -> None:
    trainer = life.completed(10_000, 0).trainers[0]
    referrer = TREASURY if who == "treasury" else trainer.pubkey()
    claim = referred(life, referrer).claim_reward(0, trainer=trainer.pubkey())
    outcome, (paid, fee) = gained(life.chain, claim, trainer)
    assert (paid, fee) == ((882_000_007, 18_000_000) if who == "treasury" else (891_000_007, 9_000_000))
    assert outcome.events == (RewardClaimed(0, trainer.pubkey(), 882_000_007, 9_000_000, 9_000_000),)


@with_treasury
def test_a_part_too_small_for_a_new_account_is_refused_by_the_runtime(new_life: LifeFactory) -> None:
    """The claim succeeds without the referrer, so no lamports are lost."""
    life = new_life(reward=10**6).completed(10_000, 0)
    trainer, nobody = life.trainers[0], Pubkey(b"\7" * 32)
    outcome = life.chain.send(referred(life, nobody).claim_reward(0, trainer=trainer.pubkey()), trainer)
    assert outcome.error is not None
    assert "rent" in outcome.error.lower()
    _, parts = gained(life.chain, life.reward_claim(trainer), trainer)
    assert parts == [882_000, 18_000]


@each_revision
def test_what_the_client_expects_is_what_it_is_paid(life: Life) -> None:
    life.completed(6789, 3211)
    for trainer, bps in zip(life.trainers, (6789, 3211), strict=True):
        expected = life.chain.round(0).reward_of(bps)
        _, (paid, _) = gained(life.chain, life.reward_claim(trainer), trainer)
        assert paid == expected
