"""The daemon earns rewards, retries temporary failures, gives up on permanent ones, and does no step twice."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import RewardsConfig
from decloud_pl.errors import (
    ContentNotFound,
    DatasetNotReady,
    ExecutorUnavailable,
    IntegrityError,
    MachineShortage,
    RoundError,
    StoreError,
    StoreRejected,
    StoreUnavailable,
    TrainingError,
    TrainingStopped,
    UntrustedFileRejected,
)
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Noted, Trouble
from decloud_pl.rounds.select import Criteria
from tests.harness.proxy import Fault, FaultProxy
from tests.world import PATIENCE, World

WHOLE_LIFE = [
    State.SEEN,
    State.JOINING,
    State.WAITING,
    State.TRAINING,
    State.PUBLISHING,
    State.SUBMITTING,
    State.SUBMITTED,
    State.CLAIMING,
    State.CLAIMED,
]
NOWHERE = "ws://127.0.0.1:9"


async def live(world: World, round_id: int) -> None:
    """Run the other parties' steps after the daemon has joined."""
    await world.diary.reaches(round_id, State.WAITING)
    await world.begin(round_id)
    await world.diary.reaches(round_id, State.SUBMITTED)
    await world.complete(round_id)
    await world.diary.reaches(round_id, State.CLAIMED)


@pytest.mark.parametrize("ws_url", [None, NOWHERE], ids=["websocket", "polling only"])
async def test_a_whole_life(world: World, ws_url: str | None) -> None:
    before = await world.rpc.balance(world.wallet.address)
    async with world.daemon(ws_url=ws_url) as daemon:
        round_id = await world.post()
        await live(world, round_id)
        assert world.diary.states(round_id) == WHOLE_LIFE
        assert [record.state for record in daemon.ended] == [State.CLAIMED]
    row = world.row(round_id)
    assert row.claimed_lamports == 882_000_000
    assert row.join_signature
    assert row.submit_signature
    assert row.claim_signature
    submission = await world.submission(round_id)
    assert submission.gradient_cid == row.pinned_cid == row.update_cid
    assert await world.rpc.balance(world.wallet.address) > before + 880_000_000
    assert not (world.home / "rounds" / str(round_id)).exists()


async def test_rounds_from_before_the_start_are_found(world: World) -> None:
    round_id = await world.post()
    async with world.daemon():
        await live(world, round_id)


@pytest.mark.slow  # it waits between its attempts, like a real daemon
async def test_a_store_that_is_down_delays_the_submission(world: World) -> None:
    world.store.failures = [StoreUnavailable("The store is down.", retry_after=0), ContentNotFound("Not yet.")]
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.store.puts == 3
    assert world.executor.trained == 1
    troubles = [event.message for event in world.diary.events if isinstance(event, Trouble)]
    assert any("The store is down. Retrying in 2 s." in message for message in troubles)


async def test_a_failed_step_says_when_it_is_retried_and_how_often(world: World) -> None:
    """The journal keeps only the failure, because there is no retry once the round is over."""
    world.executor.failures = [TrainingError("The training process ended with exit code 1.")]

    def troubles() -> list[Trouble]:
        return [event for event in world.diary.events if isinstance(event, Trouble)]

    async with world.daemon() as daemon:
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: bool(troubles()))
        (trouble,) = troubles()
        assert trouble.message == f"{trouble.cause} Retrying in 2 s (attempt 2 of 4)."
        assert world.row(round_id).reason == trouble.cause == "The training process ended with exit code 1."
        (left,) = daemon.open_rounds()
        assert (left.record.round_id, left.has_checkpoint) == (round_id, False)
        window = (await world.round(round_id)).submit_deadline - world.clock.now()
        assert left.deadline is not None
        assert window - 60 < left.deadline - time.time() <= window


async def test_a_retry_comes_before_the_deadline(world: World) -> None:
    world.store.failures = [StoreUnavailable("The store is down.")] * 9
    world.executor.gate = asyncio.Event()
    async with world.daemon() as daemon:
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.TRAINING)
        world.clock.advance((await world.round(round_id)).submit_deadline - 20.0 - world.clock.now())
        world.executor.gate.set()
        await world.diary.until(lambda: world.row(round_id).attempts == 1)
        for _ in range(6):  # the back-off exceeds 20 s by then
            daemon.driver.failed(round_id, StoreUnavailable("The store is down."))
        assert world.row(round_id).next_try_at - time.time() <= 10


async def test_a_store_that_lies_never_gets_on_chain(world: World) -> None:
    world.store.failures = [IntegrityError("The store gave another CID.")] * 10
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.store.puts >= 2)
    submission = await world.submission(round_id)
    assert not submission.submitted


@pytest.mark.parametrize(
    "trouble", [StoreUnavailable("The store is down.", retry_after=0), StoreRejected("The key is wrong.")]
)
async def test_an_update_that_no_store_takes_is_kept_until_the_deadline(world: World, trouble: StoreError) -> None:
    world.store.failures = [trouble] * 1000
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.store.puts >= 1)
        assert world.diary.states(round_id)[-1] is State.PUBLISHING
        world.clock.advance(3601)
        await world.diary.reaches(round_id, State.MISSED)
    assert State.SUBMITTING not in world.diary.states(round_id)
    assert world.executor.trained == 1


@pytest.mark.slow  # it waits between its attempts, like a real daemon
async def test_no_other_round_takes_the_slot_of_a_training_that_runs_again(world: World) -> None:
    world.executor.failures = [TrainingError("It diverged.")]
    world.executor.gate = asyncio.Event()
    async with world.daemon(criteria=Criteria(max_concurrent_rounds=1)):
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.executor.trained == 2)
        other = await world.post()
        await world.diary.until(lambda: bool(world.diary.skipped(other, "") or world.diary.states(other)))
        assert world.diary.states(other) == []
        assert world.diary.states(round_id)[-1] is State.TRAINING
        world.executor.gate.set()
        await world.diary.reaches(other, State.WAITING)


async def test_a_failed_training_is_tried_again(world: World) -> None:
    world.executor.failures = [TrainingError("It diverged.")]
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.executor.trained == 2


@pytest.mark.parametrize(
    "error",
    [
        ExecutorUnavailable("No machine."),
        TrainingStopped("Somebody stopped it."),
        MachineShortage("It was killed."),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        MemoryError(),
    ],
)
async def test_a_training_that_did_not_fail_keeps_its_tries_and_its_slot(world: World, error: Exception) -> None:
    world.executor.failures = [error]
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: any(isinstance(event, Trouble) for event in world.diary.events))
        row = world.row(round_id)
    assert (row.state, row.attempts, row.occupies_slot) == (State.TRAINING, 0, True)
    assert time.time() < row.next_try_at < time.time() + 20


@pytest.mark.parametrize("retry_after", [86_400, 60])
async def test_a_busy_store_is_asked_again_before_the_deadline(world: World, retry_after: float) -> None:
    world.store.failures = [StoreUnavailable("It is busy.", retry_after=retry_after)]
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.store.puts == 1 and world.row(round_id).attempts == 1)
        row = world.row(round_id)
    # An hour is left, including a minute for publishing.
    assert row.next_try_at == pytest.approx(time.time() + min(retry_after, 3540), abs=30)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "This machine has no file descriptors left."),
        (RuntimeError("can't start new thread"), "This machine cannot start more processes."),
        (KeyError("digits"), "Internal error (KeyError)."),
    ],
    ids=["files", "threads", "internal"],
)
async def test_a_poll_that_fails_does_not_end_the_daemon(error: Exception, message: str, world: World) -> None:
    failures = [error]

    def prepare(name: str) -> None:
        if failures:
            raise failures[0]

    def reported() -> list[str]:
        return [event.message for event in world.diary.events if isinstance(event, Trouble) and event.round_id is None]

    async with world.daemon(ws_url="ws://127.0.0.1:9", prepare=prepare):
        round_id = await world.post()
        await world.diary.until(lambda: bool(reported()))
        assert reported()[0].startswith(message)
        assert reported()[0].endswith("Retrying in 0.1 s.")
        failures.clear()
        await world.diary.reaches(round_id, State.WAITING)


async def test_rounds_that_wait_for_a_data_set_are_looked_at_when_it_is_here(world: World) -> None:
    calls: list[Callable[[], object]] = []
    missing = [True]

    def prepare(name: str) -> None:
        if missing:
            raise DatasetNotReady(f"the data set {name} is being downloaded")

    async with world.daemon(poll_interval=3600, prepare=prepare, on_downloaded=calls.append):
        round_id = await world.post()
        await world.diary.until(lambda: world.diary.skipped(round_id, "being downloaded") == 1)
        missing.clear()
        await asyncio.to_thread(calls[0])
        await world.diary.reaches(round_id, State.WAITING)
    calls[0]()  # a download that ends after the daemon


async def test_a_file_that_quarantine_refuses_ends_the_round_and_frees_its_slot(world: World) -> None:
    world.executor.failures = [UntrustedFileRejected("The file holds objects that are not tensors.")]
    async with world.daemon():
        first = await world.post()
        await world.diary.reaches(first, State.WAITING)
        second = await world.post()
        await world.begin(first)
        await world.diary.reaches(first, State.FAILED)
        assert "objects that are not tensors" in world.row(first).reason
        await world.diary.reaches(second, State.WAITING)


async def test_a_training_that_misses_the_deadline_is_not_submitted(world: World) -> None:
    world.executor.gate = asyncio.Event()
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.executor.trained == 1)
        world.clock.advance(3601)
        world.executor.gate.set()
        await world.diary.reaches(round_id, State.MISSED)
    assert State.SUBMITTING not in world.diary.states(round_id)


async def test_no_share_is_the_end(world: World) -> None:
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id, bps=0)
        await world.diary.reaches(round_id, State.UNREWARDED)


async def test_slots_are_kept_and_given_back(world: World) -> None:
    async with world.daemon():
        first = await world.post()
        await world.diary.reaches(first, State.WAITING)
        second = await world.post()
        await world.diary.until(lambda: world.diary.skipped(second, "all slots are busy") == 1)
        await world.begin(first)
        await world.diary.reaches(second, State.WAITING)
        assert world.diary.states(first)[-1] is State.SUBMITTED


async def test_that_no_validator_has_claimed_a_round_yet_is_told_only_where_it_lasts(world: World) -> None:
    why = "no validator has claimed it yet"
    async with world.daemon():
        round_id = await world.post()  # the two transactions land at different moments
        await world.diary.reaches(round_id, State.WAITING)
    assert world.diary.skipped(round_id, why) == 0
    async with world.daemon(patience=0.0):
        round_id = await world.post(claim=False)
        await world.diary.until(lambda: world.diary.skipped(round_id, why) == 1)


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        (Criteria(rewards=RewardsConfig(min="2")), "below your minimum"),
        (Criteria(rewards=RewardsConfig(max="0.000000001")), "above your maximum"),
        (Criteria(("mnist",)), "your settings exclude the data set"),
    ],
)
async def test_a_round_that_does_not_fit_is_named_once(world: World, criteria: Criteria, reason: str) -> None:
    async with world.daemon(criteria=criteria):
        round_id = await world.post()
        await world.diary.until(lambda: world.diary.skipped(round_id, reason) == 1)
        later = await world.post()
        await world.diary.until(lambda: world.diary.skipped(later, reason) == 1)
    assert world.diary.skipped(round_id, reason) == 1
    assert await world.chain.submission(round_id, world.wallet.address) is None


async def test_a_round_joined_by_other_means_is_recognised(world: World) -> None:
    round_id = await world.post()
    await world.as_other(world.dialect.join_round(round_id, trainer=world.wallet.address), world.wallet)
    async with world.daemon():
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.row(round_id).join_signature is None


async def test_stops_after_so_many_rounds_and_joins_no_more(world: World) -> None:
    first, second = await world.post(), await world.post()
    async with world.daemon(stop_after=1) as daemon:
        await live(world, first)
        assert [record.round_id for record in daemon.ended] == [first]
    assert await world.chain.submission(second, world.wallet.address) is None


async def test_one_round_alone(world: World) -> None:
    first, second = await world.post(), await world.post()
    async with world.daemon(only_round=second):
        await live(world, second)
    assert await world.chain.submission(first, world.wallet.address) is None


async def test_a_run_for_a_round_that_does_not_exist_ends(world: World) -> None:
    with pytest.raises(RoundError, match=r"Round 7 does not exist on this network\."):
        async with world.daemon(only_round=7):
            await asyncio.wait({world.running}, timeout=PATIENCE)


async def test_a_round_that_expired_while_the_daemon_was_away_ends(world: World) -> None:
    world.executor.gate = asyncio.Event()
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.executor.trained == 1)
    world.clock.advance(3601)
    await world.as_other(world.dialect.check_round(round_id, creator=world.other.address))
    async with world.daemon():
        await world.diary.reaches(round_id, State.EXPIRED)
    assert world.executor.trained == 1


def notes(world: World, round_id: int) -> list[str]:
    """Return the messages about a round that are not failures."""
    return [event.message for event in world.diary.events if isinstance(event, Noted) and event.round_id == round_id]


@pytest.mark.slow
async def test_no_train_and_no_claim_leave_that_to_the_user(world: World) -> None:
    async with world.daemon(auto_train=False):
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.looks(round_id, 2)  # the first one may have started earlier
        assert world.executor.trained == 0
        train = f"auto_train is off. To train, stop this daemon and run `decloud-trainer train {round_id}`."
        assert notes(world, round_id) == [f"The training phase has started; the submit deadline is in 60 min. {train}"]
    async with world.daemon(auto_claim=False):
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id)
        await world.diary.looks(round_id, 2)
        submission = await world.submission(round_id)
        assert not submission.reward_claimed
        claim = f"auto_claim is off. To claim, stop this daemon and run `decloud-trainer claim {round_id}`."
        assert notes(world, round_id)[-1] == f"Its reward of 0.882 SOL can be claimed. {claim}"
    async with world.daemon(auto_claim=False, only_round=round_id, stop_after=1) as daemon:
        await world.diary.until(lambda: len(daemon.ended) == 1)
    async with world.daemon():
        await world.diary.reaches(round_id, State.CLAIMED)


async def test_a_reward_that_another_program_claimed_counts(world: World) -> None:
    async with world.daemon(auto_claim=False):
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
    await world.complete(round_id)
    await world.as_other(world.dialect.claim_reward(round_id, trainer=world.wallet.address), world.wallet)
    async with world.daemon():
        await world.diary.reaches(round_id, State.CLAIMED)
    with world.open_journal() as journal:
        record = journal.get(round_id)
    assert record is not None
    assert (record.earned, record.contribution_bps) == (882_000_000, 10_000)


async def test_an_empty_wallet_waits_for_money_or_asks_the_faucet(world: World) -> None:
    world.wallet = Wallet(Keypair())
    round_id = await world.post()
    async with world.daemon():
        await world.diary.until(lambda: world.diary.skipped(round_id, "a join needs") == 1)
        world.network.vm.airdrop(world.wallet.address, 10**9)
        await world.diary.reaches(round_id, State.WAITING)
    world.wallet = Wallet(Keypair())
    other = await world.post()
    async with world.daemon(faucet=True, only_round=other):
        await world.diary.reaches(other, State.WAITING)


async def test_a_round_is_looked_at_again_if_the_first_answer_after_an_event_is_older_than_it(world: World) -> None:
    endpoints = world.network.endpoints
    seldom: dict[str, Any] = {"poll_interval": 5.0, "patience": 0.0}  # a poll every minute while events arrive
    async with FaultProxy(endpoints.rpc_url, endpoints.ws_url) as proxy, world.daemon(rpc_url=proxy.url, **seldom):
        round_id = await world.post(claim=False)
        await world.diary.until(lambda: world.diary.skipped(round_id, "validator") > 0)
        rpc = RpcClient(proxy.url)  # the proxy remembers the answer
        await ChainClient(rpc, world.dialect).view(round_id, world.wallet.address)
        await rpc.aclose()
        place = world.dialect.submission_address(round_id, world.wallet.address)
        proxy.faults.append(Fault("stale", ("getMultipleAccounts",), times=1, about=str(place)))
        await world.as_other(world.dialect.claim_round(round_id, validator=world.other.address))
        await world.diary.reaches(round_id, State.WAITING)
