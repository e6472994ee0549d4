"""The daemon records how the rounds of others end, and its user's rules for validators and creators decide on joins."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from solders.keypair import Keypair

from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import RewardsConfig
from decloud_pl.config.schema import JoinConfig, PartiesConfig
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.track_record import SeenRound, TrackRecord, completion, endings, store_rounds, track_records
from decloud_pl.rounds.events import Noted
from decloud_pl.rounds.select import Criteria
from tests.daemon.test_strangers import pickle_that_runs_a_command
from tests.world import PATIENCE, World


def rules(**fields: object) -> Criteria:
    return Criteria(rewards=RewardsConfig(**fields), max_concurrent_rounds=9)  # type: ignore[arg-type]


async def join_as(world: World, trainer: Wallet, round_id: int) -> None:
    world.network.vm.airdrop(trainer.address, 10**9)
    await world.as_other(world.dialect.join_round(round_id, trainer=trainer.address), signer=trainer)


async def trained_by_others(world: World, trainers: list[Wallet], round_id: int) -> None:
    """Let trainers join a round, train and submit, so that it waits for its scores."""
    for trainer in trainers:
        await join_as(world, trainer, round_id)
    await world.begin(round_id)
    for trainer in trainers:
        cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
        submit = world.dialect.submit_gradients(round_id, trainer=trainer.address, gradient_cid=cid)
        await world.as_other(submit, signer=trainer)


async def score(world: World, trainers: list[Wallet], round_id: int, shares: list[int]) -> None:
    me = world.other.address
    for trainer, share in zip(trainers, shares, strict=True):
        contribution = world.dialect.set_contribution(
            round_id, validator=me, trainer=trainer.address, contribution_bps=share
        )
        await world.as_other(contribution)
    await world.as_other(world.dialect.complete_validation(round_id, validator=me))


async def is_skipped(world: World, round_id: int) -> None:
    await world.diary.until(lambda: bool(world.diary.skipped(round_id, "rewards.validators.block")))


def known(world: World) -> dict[int, str]:
    """Return the rounds that ended, while the daemon has the journal."""
    owner = Owner("", str(world.dialect.program_id), str(world.wallet.address))
    with JournalReader(world.home / JOURNAL_FILE, owner) as journal:
        return {number: ending for number, ending in endings(journal, range(99)).items() if ending != "open"}


def recorded(world: World) -> tuple[dict[int, str], list[TrackRecord]]:
    with world.open_journal() as journal:
        return dict(endings(journal, range(99))), track_records(journal, "validator")


async def test_rounds_of_others_are_recorded_with_times_and_splits_and_survive_a_restart(world: World) -> None:
    nobody = rules(validators=PartiesConfig(block=[str(world.other.address)]))
    trainers = [Wallet(Keypair()), Wallet(Keypair())]
    async with world.daemon(criteria=nobody, reconcile_interval=0.3):
        first = await world.post()
        await trained_by_others(world, trainers, first)
        await score(world, trainers, first, [5_000, 5_000])
        left = await world.post()
        await trained_by_others(world, trainers, left)
        cancelled = await world.post(claim=False)
        await world.as_other(cast(Any, world.dialect).cancel_round(cancelled, creator=world.other.address))
        later = await world.post()
        await is_skipped(world, later)
        world.clock.advance(3600 + 7 * 3600)
        async with asyncio.timeout(PATIENCE):
            while len(known(world)) < 3:  # noqa: ASYNC110  # no event reports a row of the journal
                await asyncio.sleep(0.05)
    ended, (validator,) = recorded(world)
    assert (ended[first], ended[left], ended[cancelled]) == ("completed", "unscored", "cancelled")
    assert (validator.address, validator.completed, validator.abandoned) == (str(world.other.address), 1, 1)
    assert validator.scoring_seconds is not None
    assert 0 <= validator.scoring_seconds < 60
    assert validator.equal == 1
    async with world.daemon(criteria=nobody):
        last = await world.post()
        await is_skipped(world, last)
    assert recorded(world)[1] == [validator]


async def test_a_refused_base_model_is_recorded_for_its_creator(world: World) -> None:
    path = world.home / "evil"
    pickle_that_runs_a_command(path)
    async with world.daemon(looks=JoinConfig("model")):
        number = await world.post(model=path)
        await world.diary.until(lambda: bool(world.diary.skipped(number, "cannot be used")), patience=240.0)
    with world.open_journal() as journal:
        (creator,) = track_records(journal, "creator")
    assert (creator.address, creator.refused) == (str(world.other.address), 1)


async def test_a_creators_rule_holds_before_a_validator_claims_the_round(world: World) -> None:
    async with world.daemon(criteria=rules(creators=PartiesConfig(block=[str(world.other.address)]))):
        number = await world.post(claim=False)
        await world.diary.until(lambda: bool(world.diary.skipped(number, "rewards.creators.block")))
        await world.as_other(world.dialect.claim_round(number, validator=world.other.address))
        other = await world.post()
        await world.diary.until(lambda: bool(world.diary.skipped(other, "rewards.creators.block")))
    assert await world.chain.submission(number, world.wallet.address) is None


async def test_a_validator_that_leaves_rounds_unscored_is_not_joined_until_the_user_lowers_the_bar(
    world: World,
) -> None:
    validator, creator = str(world.other.address), str(Wallet(Keypair()).address)
    ended = [SeenRound(10_000 + number, creator, validator, "unscored", 1) for number in range(3)]
    ended += [SeenRound(20_000 + number, creator, validator, "completed", 1) for number in range(3)]
    with world.open_journal() as journal:
        store_rounds(journal, ended)
        assert completion(journal) == {validator: (3, 6)}
    async with world.daemon(criteria=rules(min_completion=0.6)):
        number = await world.post()
        await world.diary.until(lambda: bool(world.diary.skipped(number, "completed 3 of 6 rounds")))
    async with world.daemon(criteria=rules(min_completion=0.5)):
        await world.diary.reaches(number, State.WAITING)


async def test_a_rule_that_comes_after_the_join_is_reported_once_and_the_round_completed(world: World) -> None:
    async with world.daemon():
        number = await world.post()
        await world.diary.reaches(number, State.WAITING)

    def notes() -> list[str]:
        return [event.message for event in world.diary.events if isinstance(event, Noted) and "rules" in event.message]

    assert notes() == []
    async with world.daemon(criteria=rules(validators=PartiesConfig(block=[str(world.other.address)]))):
        await world.begin(number)
        await world.diary.reaches(number, State.SUBMITTED)
        await world.complete(number)
        await world.diary.reaches(number, State.CLAIMED)
    (note,) = notes()
    assert "is in rewards.validators.block; to join its rounds, remove it there" in note
    assert "a join cannot be undone" in note
