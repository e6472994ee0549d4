"""An update without a gain is withheld: it is not sent, not lost, and does not block other rounds."""

from __future__ import annotations

import asyncio
import dataclasses

from decloud_pl.cli.ui.report import lines_of
from decloud_pl.config import compose
from decloud_pl.daemon.stopping import said_at_the_end
from decloud_pl.domain import Payout
from decloud_pl.journal.findings import Reading, store_reading
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Trouble
from decloud_pl.rounds.planner import SettingsPlanner
from decloud_pl.train.plan import TrainingPlan
from tests.world import World

WHY = "as this network's validators read it (delta), the update loses 1.2 points"


async def withhold(world: World) -> int:
    """Run a round until its update is withheld, then stop its daemon."""
    world.executor.withheld = WHY
    async with world.daemon():
        round_id = int(await world.post())
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.WITHHELD)
        assert world.row(round_id).reason == f"nothing was submitted: {WHY}"
    return round_id


async def test_it_is_neither_pinned_nor_submitted_and_ends_with_its_round(world: World) -> None:
    round_id = await withhold(world)
    async with world.daemon() as daemon:
        # It occupies no slot: the only slot goes to the next round.
        world.executor.withheld = ""
        other = await world.post()
        await world.diary.reaches(other, State.WAITING)
        assert (world.home / "rounds" / str(round_id) / "update.pt").exists()
        world.clock.advance(3601)
        await world.diary.until(lambda: any(record.round_id == round_id for record in daemon.ended))
    end = world.row(round_id)
    assert (end.state, end.reason) == (State.MISSED, f"nothing was submitted: {WHY}")
    assert world.store.puts == 0
    assert end.pinned_cid is None
    assert not (await world.submission(round_id)).submitted
    assert not (world.home / "rounds" / str(round_id)).exists()


async def test_a_restart_leaves_it_withheld_and_force_publishes_it_without_another_training(world: World) -> None:
    round_id = await withhold(world)
    async with world.daemon():
        await world.diary.until(lambda: world.row(round_id).state is State.WITHHELD)
        # The daemon looks at a newer round later: by then it has also looked at the withheld one.
        other = await world.post()
        await world.diary.reaches(other, State.WAITING)
    journal = world.open_journal()
    kept = journal.get(round_id)
    assert kept is not None
    assert kept.state is State.WITHHELD
    journal.close()
    async with world.daemon(force=True):
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id, 0)
        await world.diary.reaches(round_id, State.UNREWARDED)
    assert world.executor.trained == 1
    submission = await world.submission(round_id)
    assert submission.gradient_cid == world.row(round_id).update_cid


async def test_a_start_deletes_only_the_folders_of_ended_rounds(world: World) -> None:
    round_id = await withhold(world)
    rounds, ended = world.home / "rounds", round_id + 1
    with world.open_journal() as journal:
        journal.save(dataclasses.replace(world.row(round_id), round_id=ended, state=State.CLAIMED))
    for name in (str(ended), str(ended + 1), "notes"):  # a kill left the first; no row has the others
        (rounds / name / "folder").mkdir(parents=True)
    async with world.daemon(only_round=round_id):
        await world.diary.looks(round_id, 1)
    assert (rounds / str(ended)).exists()
    async with world.daemon():
        await world.diary.looks(round_id, 1)
    assert {folder.name for folder in rounds.iterdir()} == {str(round_id), str(ended + 1), "notes"}
    assert (rounds / str(round_id) / "update.json").exists()


async def test_who_waits_for_it_alone_is_not_kept_waiting(world: World) -> None:
    round_id = await withhold(world)
    async with world.daemon(stop_after=1) as daemon:
        await world.diary.until(lambda: bool(daemon.ended))
    assert [(record.round_id, record.state) for record in daemon.ended] == [(round_id, State.WITHHELD)]
    assert (world.home / "rounds" / str(round_id) / "update.pt").exists()


async def test_other_settings_train_anew(world: World) -> None:
    round_id = await withhold(world)
    folder = world.home / "rounds" / str(round_id)
    plan = TrainingPlan.read(folder)
    dataclasses.replace(plan, round=dataclasses.replace(plan.round, convention="gradient")).write(folder)
    world.executor.withheld = ""
    async with world.daemon():
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.executor.trained == 2


async def test_the_next_training_does_not_show_the_results_of_the_withheld_update(world: World) -> None:
    round_id = await withhold(world)
    folder = world.home / "rounds" / str(round_id)
    plan = TrainingPlan.read(folder)
    dataclasses.replace(plan, round=dataclasses.replace(plan.round, convention="gradient")).write(folder)
    assert world.row(round_id).accuracy_after == 0.9
    world.diary.events.clear()
    world.executor.gate = asyncio.Event()
    async with world.daemon() as daemon:
        await world.diary.reaches(round_id, State.TRAINING)
        row = world.row(round_id)
        assert lines_of(row, None) == [f"Round {round_id}: training…"]
        (line,) = said_at_the_end(daemon.open_rounds(), 0)
        assert "its training starts from scratch" in line
        assert (row.update_size, row.accuracy_before, row.gain_low) == (None, None, None)


async def test_a_new_training_replaces_a_withheld_update_that_a_forced_run_published(world: World) -> None:
    round_id = await withhold(world)
    folder = world.home / "rounds" / str(round_id)
    plan = TrainingPlan.read(folder)
    dataclasses.replace(plan, round=dataclasses.replace(plan.round, convention="gradient")).write(folder)
    with world.open_journal() as journal:
        row = world.row(round_id)
        journal.save(dataclasses.replace(row, pinned_cid=row.model_cid, pinned_provider="flaky"))
    world.executor.withheld = ""
    async with world.daemon():
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert (world.executor.trained, world.store.puts) == (2, 1)
    assert (await world.submission(round_id)).gradient_cid == world.row(round_id).update_cid


async def test_a_validator_that_turns_out_to_read_updates_otherwise_gets_another_update(world: World) -> None:
    round_id = await withhold(world)
    world.executor.withheld = ""
    assert world.row(round_id).convention == "delta"
    with world.open_journal() as journal:
        store_reading(journal, Reading(77, str(world.other.address), "gradient", "its shares fit"))
    async with world.daemon():
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert (world.executor.trained, world.row(round_id).convention) == (2, "gradient")


async def test_a_gain_that_the_validator_does_not_see_is_a_warning(world: World) -> None:
    world.executor.gain = (0.55, 0.66)
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id, 0)
        await world.diary.reaches(round_id, State.UNREWARDED)
    (warning,) = (event.message for event in world.diary.events if isinstance(event, Trouble))
    assert "although held-out data predicted a gain of 55.0 to 66.0 points" in warning
    assert "another convention than delta" in warning


async def test_the_plan_has_the_reward_the_trainers_and_the_fee(world: World) -> None:
    world.planner = SettingsPlanner(compose(["trainer=cpu"]))
    world.executor.withheld = WHY
    async with world.daemon():
        round_id = await world.post(reward=10**6)
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.WITHHELD)
    payout = TrainingPlan.read(world.home / "rounds" / str(round_id)).round.payout
    assert payout == Payout((await world.round(round_id)).reward_of(10_000), trainers=1, fee=5_000)
    assert 0 < payout.pool < 10**6  # the validator's fee is deducted
    world.diary.events.clear()
    async with world.daemon():  # the reward is no setting, so the update is not trained again
        await world.diary.looks(round_id, 2)
    assert world.executor.trained == 1
