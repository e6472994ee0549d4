"""Lamports are conserved, and nobody gets more than the reward."""

from __future__ import annotations

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rent import Rent
from solders.system_program import TransferParams, transfer

from decloud_pl.chain.anchor import SYSTEM_PROGRAM_ID
from decloud_pl.chain.dialects.v1_0.errors import ErrorCode
from tests.localnet.program.conftest import RENT_OF_NOTHING, REWARD, Life, LifeFactory, each_revision

pytestmark = each_revision
POOL = REWARD - REWARD // 10


def give(life: Life, address: Pubkey, lamports: int) -> None:
    donor = life.chain.wallet("donor")
    parameters = TransferParams(from_pubkey=donor.pubkey(), to_pubkey=address, lamports=lamports)
    life.chain.must(transfer(parameters), donor)


def test_creation_costs_the_reward_and_the_rents(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    before = life.chain.balance(life.creator.pubkey())
    outcome = life.chain.must(life.create(), life.creator)
    address = life.dialect.round_address(0)
    rent = life.chain.svm.minimum_balance_for_rent_exemption(len(life.chain.data(address)))
    assert life.chain.balance(address) == rent
    assert life.chain.vault(0) == REWARD + RENT_OF_NOTHING
    assert before - life.chain.balance(life.creator.pubkey()) == rent + life.chain.vault(0) + outcome.fee


@pytest.mark.parametrize("held", [RENT_OF_NOTHING, 10**9])
def test_lamports_at_an_address_do_not_block_its_account(life: Life, held: int) -> None:
    """The system program rejects creating an account that holds lamports, and anyone can send some to an address."""
    trainer = life.trainers[0]
    dialect = life.dialect
    for address in (
        dialect.round_counter_address(),
        dialect.round_address(0),
        dialect.submission_address(0, trainer.pubkey()),
    ):
        give(life, address, held)
    life.open().chain.must(life.join(trainer), trainer)
    for address in (dialect.round_address(0), dialect.submission_address(0, trainer.pubkey())):
        rent = life.chain.svm.minimum_balance_for_rent_exemption(len(life.chain.data(address)))
        assert life.chain.balance(address) == max(rent, held)
    assert life.chain.submission(0, trainer).trainer == trainer.pubkey()


def test_less_than_the_rent_at_an_address_is_topped_up(life: Life) -> None:
    """Such an amount can remain from times of a lower rent."""
    addresses = life.dialect.round_address(0), life.dialect.vault_address(0)
    for address in addresses:
        life.chain.svm.set_account(address, Account(1, b"", SYSTEM_PROGRAM_ID))
    life.posted()
    rent = life.chain.svm.minimum_balance_for_rent_exemption(len(life.chain.data(addresses[0])))
    assert [life.chain.balance(address) for address in addresses] == [rent, REWARD + RENT_OF_NOTHING]


@pytest.mark.parametrize("gift", [RENT_OF_NOTHING, 10**9])
def test_a_gift_to_a_vault_saves_the_creator_the_rent_only(life: Life, gift: int) -> None:
    give(life, life.dialect.vault_address(0), gift)
    before = life.chain.balance(life.creator.pubkey())
    life.posted()
    assert life.chain.vault(0) == REWARD + gift
    life.chain.must(life.cancel(), life.creator)
    assert life.chain.vault(0) == 0
    spent = before - life.chain.balance(life.creator.pubkey()) + gift
    assert spent == 3 * 5000 + sum(
        life.chain.balance(address) for address in (life.dialect.round_counter_address(), life.dialect.round_address(0))
    )


@pytest.mark.parametrize("reward", [1, 9, 10, 999, 10_001, REWARD, 10**14 + 9_999, 10**19 + 9_999])
@pytest.mark.parametrize("shares", [(10_000, 0, 0), (3333, 3333, 3334), (1, 2, 9997)])
def test_the_reward_is_divided_rounding_down(new_life: LifeFactory, reward: int, shares: tuple[int, ...]) -> None:
    life = new_life(trainers=3, reward=reward)
    # More lamports than exist, and more than 64 bits can hold after the multiplication by basis points.
    fortune = Account(reward + 10**10, b"", SYSTEM_PROGRAM_ID)
    life.chain.svm.set_account(life.creator.pubkey(), fortune)
    life.validating()
    life.chain.must(life.finalize(*zip(life.trainers, shares, strict=True)), life.validator)
    fee = reward // 10
    paid = 0
    for trainer, bps in zip(life.trainers, shares, strict=True):
        if bps:
            before = life.chain.balance(trainer.pubkey())
            outcome = life.chain.must(life.reward_claim(trainer), trainer)
            amount = life.chain.balance(trainer.pubkey()) - before + outcome.fee
            share = (reward - fee) * bps // 10_000
            assert amount == life.net(share)
            paid += share
    before = life.chain.balance(life.validator.pubkey())
    outcome = life.chain.must(life.fee_claim(), life.validator)
    assert life.chain.balance(life.validator.pubkey()) - before + outcome.fee == life.net(fee)
    assert life.chain.vault(0) == reward - fee - paid + RENT_OF_NOTHING
    assert reward - fee - paid < 3  # the remainder from rounding


def earned(life: Life, trainer: Keypair) -> int:
    before = life.chain.balance(trainer.pubkey())
    outcome = life.chain.must(life.reward_claim(trainer), trainer)
    return life.chain.balance(trainer.pubkey()) - before + outcome.fee


def test_of_shares_beyond_the_whole_the_late_claim_takes_what_is_left(life: Life) -> None:
    life.completed(8000, 8000)
    first, second = life.trainers
    share = POOL * 8000 // 10_000
    assert earned(life, first) == life.net(share)
    assert earned(life, second) == life.net(POOL - share)
    assert life.chain.vault(0) == RENT_OF_NOTHING


def test_a_claim_to_a_pool_that_is_spent_is_refused_and_strands_nothing(new_life: LifeFactory) -> None:
    life = new_life(trainers=3).completed(10_000, 10_000, 0)
    first, second, _ = life.trainers
    assert earned(life, first) == life.net(POOL)
    outcome = life.chain.send(life.reward_claim(second), second)
    assert outcome.code == ErrorCode.InvalidContributionSum
    assert outcome.anchor_error == (None, "InvalidContributionSum", 6019)
    assert not life.chain.submission(0, second).reward_claimed
    assert life.chain.vault(0) == RENT_OF_NOTHING


def test_a_share_that_rounds_to_nothing_is_claimed_as_nothing(new_life: LifeFactory) -> None:
    life = new_life(reward=9).completed(1, 9999)
    assert earned(life, life.trainers[0]) == 0
    assert life.chain.submission(0, life.trainers[0]).reward_claimed


def test_an_overdrawn_vault_still_owes_the_fee(life: Life) -> None:
    """A share set before finalize_round stays if the results do not include it. The fee is reserved."""
    first, second = life.validating().trainers
    life.chain.must(life.contribute(first, 1000), life.validator)
    life.chain.must(life.finalize((second, 10_000)), life.validator)
    assert earned(life, second) == life.net(POOL)
    outcome = life.chain.send(life.reward_claim(first), first)
    assert outcome.code == ErrorCode.InvalidContributionSum
    life.chain.must(life.fee_claim(), life.validator)
    assert life.chain.vault(0) == RENT_OF_NOTHING


def returned(life: Life, *trainers: Keypair) -> int:
    """Return the lamports that check_round sends the creator of a finished round."""
    before, vault = life.chain.balance(life.creator.pubkey()), life.chain.vault(0)
    outcome = life.chain.must(life.close(*trainers), life.chain.wallet("stranger"))
    lamports = life.chain.balance(life.creator.pubkey()) - before
    assert outcome.events == ()
    if lamports:
        assert (lamports, life.chain.vault(0)) == (vault, 0)
        assert outcome.text_lines == (f"Round 0 closed. Returned {lamports} lamports to creator",)
    return lamports


def test_the_share_of_nobody_goes_back_to_the_creator(life: Life) -> None:
    first, second = life.completed(1000, 1000).trainers
    assert returned(life, first, second) == 0
    assert earned(life, first) == life.net(POOL // 10)
    assert returned(life, first, second) == 0  # the second can still claim
    assert earned(life, second) == life.net(POOL // 10)
    for not_all in ((), (first,), (first, first)):
        assert returned(life, *not_all) == 0
    assert returned(life, second, first) == RENT_OF_NOTHING + POOL - 2 * (POOL // 10)
    assert returned(life, first, second) == 0
    give(life, life.dialect.vault_address(0), RENT_OF_NOTHING)
    assert returned(life, first, second) == RENT_OF_NOTHING


def test_submissions_without_a_share_are_settled(life: Life) -> None:
    first, second = life.completed(0, 0).trainers
    assert returned(life, first, second) == RENT_OF_NOTHING + POOL


def test_a_vault_with_nothing_but_rent_is_closed_without_submissions(life: Life) -> None:
    life.completed(10_000, 10_000)
    assert earned(life, life.trainers[0]) == life.net(POOL)
    assert returned(life) == RENT_OF_NOTHING
    outcome = life.chain.send(life.reward_claim(life.trainers[1]), life.trainers[1])
    assert outcome.code == ErrorCode.InvalidContributionSum


def test_an_unpaid_fee_keeps_the_vault_open(life: Life) -> None:
    first, second = life.finalized().trainers
    for trainer in (first, second):
        earned(life, trainer)
    assert returned(life, first, second) == 0
    life.chain.must(life.fee_claim(), life.validator)
    assert returned(life, first, second) >= RENT_OF_NOTHING


def test_a_submission_that_is_none_is_refused(life: Life) -> None:
    first, _ = life.completed(1000, 1000).trainers
    outcome = life.chain.send(life.close(life.chain.wallet("stranger"), first), life.creator)
    assert outcome.code == 3012


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_gift_to_a_refunded_vault_goes_to_the_creator(life: Life, end: str) -> None:
    life.posted()
    if end == "cancelled":
        life.chain.must(life.cancel(), life.creator)
    else:
        life.chain.advance(3601)
        life.chain.must(life.check(), life.creator)
    give(life, life.dialect.vault_address(0), RENT_OF_NOTHING)
    assert returned(life) == RENT_OF_NOTHING


def test_an_expired_vault_gives_gifts_to_the_creator_too(life: Life) -> None:
    life.posted().chain.advance(3601)
    give(life, life.dialect.vault_address(0), 12_345)
    before = life.chain.balance(life.creator.pubkey())
    life.chain.must(life.check(), life.chain.wallet("stranger"))
    gained = life.chain.balance(life.creator.pubkey()) - before
    assert gained == REWARD + RENT_OF_NOTHING + 12_345


def test_a_creator_without_the_rent_of_the_vault_is_refused(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    round_rent = 2_289_840  # 201 bytes
    poor = life.chain.wallet("poor", lamports=REWARD + round_rent + 5000 + RENT_OF_NOTHING - 1)
    create = life.dialect.create_round(
        0, creator=poor.pubkey(), model_cid="b" * 46, dataset="mnist", reward_amount=REWARD
    )
    assert life.chain.send(create, poor).code == 1  # the system program's "insufficient lamports"
    assert life.chain.counter().count == 0


def test_the_older_form_of_the_rent_gives_the_same_amounts(life: Life) -> None:
    life.chain.svm.set_rent(Rent(3480, 2.0, 50))
    life.posted()
    assert life.chain.vault(0) == REWARD + RENT_OF_NOTHING


def test_a_rent_this_program_cannot_compute_is_refused(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    life.chain.svm.set_rent(Rent(3480, 1.5, 50))
    outcome = life.chain.send(life.create(), life.creator)
    assert outcome.error is not None
    assert "UnsupportedSysvar" in outcome.error


def test_a_reward_revives_an_emptied_wallet(life: Life) -> None:
    trainer, stranger = life.completed().trainers[0], life.chain.wallet("stranger")
    rest = life.chain.balance(trainer.pubkey())
    parameters = TransferParams(from_pubkey=trainer.pubkey(), to_pubkey=stranger.pubkey(), lamports=rest)
    life.chain.must(transfer(parameters), stranger, trainer)
    life.chain.must(life.reward_claim(trainer), stranger, trainer)
    assert life.chain.balance(trainer.pubkey()) == life.net(540_000_004)
