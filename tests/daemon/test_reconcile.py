"""The daemon finds rounds that the journal lacks, moves stalled rounds forward, and reports rivals."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import TrainingError, UntrustedFileRejected
from decloud_pl.journal.record import State
from decloud_pl.journal.writer import Journal
from decloud_pl.localnet.vm import BLOCKHASH_WINDOW, SLOT_SECONDS
from decloud_pl.rounds.events import Connected, Trouble
from decloud_pl.rounds.life import CHECK_AFTER, OVERDUE_AFTER
from decloud_pl.rounds.select import WALLET_MINIMUM, Criteria
from tests.harness.proxy import Fault, FaultProxy
from tests.world import World

NOWHERE = "ws://127.0.0.1:9"


def troubles(world: World) -> list[str]:
    return [event.message for event in world.diary.events if isinstance(event, Trouble)]


async def by_hand(world: World, round_id: int, *, bps: int = 10_000) -> None:
    """Take a whole round with this wallet by other means, up to the claim."""
    base = world.home / "base"
    cid = world.network.store.put(base).cid
    me = world.wallet.address
    await world.as_other(world.dialect.join_round(round_id, trainer=me), world.wallet)
    await world.begin(round_id)
    await world.as_other(world.dialect.submit_gradients(round_id, trainer=me, gradient_cid=cid), world.wallet)
    await world.complete(round_id, bps)


async def test_rewards_of_the_past_are_claimed(world: World) -> None:
    earned, unpaid = await world.post(), await world.post()
    await by_hand(world, earned)
    await by_hand(world, unpaid, bps=0)
    async with world.daemon():
        await world.diary.reaches(earned, State.CLAIMED)
    assert world.diary.states(earned) == [State.WAITING, State.CLAIMING, State.CLAIMED]
    assert world.diary.states(unpaid) == []
    assert world.executor.trained == 0


async def test_a_round_given_up_here_and_finished_elsewhere_is_claimed_at_the_next_look(world: World) -> None:
    world.executor.failures = [UntrustedFileRejected("The file holds objects that are not tensors.")]
    async with world.daemon(reconcile_interval=0.2):
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.FAILED)
        cid = world.network.store.put(world.home / "base").cid
        await world.as_other(
            world.dialect.submit_gradients(round_id, trainer=world.wallet.address, gradient_cid=cid), world.wallet
        )
        await world.complete(round_id)
        await world.diary.reaches(round_id, State.CLAIMED)
    assert any("Another machine or program is using this wallet: it submitted" in line for line in troubles(world))


async def test_another_machine_that_joins_is_named(world: World) -> None:
    async with world.daemon(criteria=Criteria(("mnist",))):
        round_id = await world.post()
        await world.diary.until(lambda: world.diary.skipped(round_id, "your settings exclude the data set") == 1)
        await world.as_other(world.dialect.join_round(round_id, trainer=world.wallet.address), world.wallet)
        await world.diary.reaches(round_id, State.WAITING)
    (line,) = [line for line in troubles(world) if "Another machine" in line]
    assert f"it joined round {round_id}" in line


async def test_its_own_steps_are_no_rivals(world: World) -> None:
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
        await world.complete(round_id)
        await world.diary.reaches(round_id, State.CLAIMED)
    assert troubles(world) == []


async def test_a_round_that_hangs_past_its_deadline_is_moved_on(world: World) -> None:
    """Another trainer never submits and the validator sleeps: this wallet sends check_round itself."""
    idle = Wallet(Keypair())
    world.network.vm.airdrop(idle.address, 10**9)
    async with world.daemon():
        round_id = await world.post()
        await world.as_other(world.dialect.join_round(round_id, trainer=idle.address), idle)
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
        world.clock.advance(3600 + CHECK_AFTER + 1)
        await world.diary.until(lambda: "moved past its deadline" in world.row(round_id).reason)
        round_ = await world.round(round_id)
        assert round_.status is RoundStatus.VALIDATING
        await world.complete(round_id)
        await world.diary.reaches(round_id, State.CLAIMED)


async def test_a_validator_that_never_starts_blocks_no_slot(world: World) -> None:
    async with world.daemon():
        first = await world.post()
        await world.diary.reaches(first, State.WAITING)
        world.clock.advance(600 + OVERDUE_AFTER + 1)
        second = await world.post()
        await world.diary.reaches(first, State.OVERDUE)
        await world.diary.reaches(second, State.WAITING)
        await world.begin(first)
        await world.diary.reaches(first, State.SUBMITTED)


async def test_rounds_that_no_validator_scores_cost_few_requests_and_a_late_reward_is_claimed(world: World) -> None:
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: "waiting for the validator's scores" in world.row(round_id).reason)
    repeat(world, round_id, 100)
    async with world.daemon(ws_url=NOWHERE, poll_interval=3600.0, reconcile_interval=3600.0) as daemon:
        await world.diary.looks(round_id, 1)
        health = daemon.steps.chain.rpc.health
        before = health.requests
        assert await daemon.discovery.catch_up() == []
        assert health.requests - before <= 4
        await world.complete(round_id)
        assert await daemon.discovery.catch_up() == [round_id]
    async with world.daemon(ws_url=NOWHERE, auto_claim=False) as daemon:
        await world.diary.until(lambda: any("auto_claim is off" in str(event) for event in world.diary.events))
        assert await daemon.discovery.catch_up() == []
    async with world.daemon(ws_url=NOWHERE):
        await world.diary.reaches(round_id, State.CLAIMED)


def repeat(world: World, round_id: int, times: int) -> None:
    """Put copies of a joined round on chain and in the journal."""
    vm, dialect, me = world.network.vm, world.dialect, world.wallet.address
    round_, place = vm.account(dialect.round_address(round_id)), vm.account(dialect.submission_address(round_id, me))
    assert round_ is not None
    assert place is not None
    with world.open_journal() as journal:
        row = journal.get(round_id)
        assert row is not None
        for number in range(1000, 1000 + times):
            for address, original in (
                (dialect.round_address(number), round_),
                (dialect.submission_address(number, me), place),
            ):
                data = original.data[:8] + number.to_bytes(8, "little") + original.data[16:]
                vm.set_account(address, Account(original.lamports, data, original.owner))
            journal.save(replace(row, round_id=number))


@pytest.mark.slow  # it waits between its attempts, like a real daemon
async def test_a_failed_training_frees_its_slot_and_is_bounded(world: World) -> None:
    world.executor.failures = [TrainingError(f"It diverged ({number}).") for number in range(9)]
    async with world.daemon():
        first = await world.post()
        await world.diary.reaches(first, State.WAITING)
        await world.begin(first)
        await world.diary.until(lambda: world.row(first).attempts == 1)
        second = await world.post()
        await world.diary.reaches(second, State.WAITING)
        await world.diary.reaches(first, State.FAILED)
    assert world.executor.trained == 4
    assert "It diverged (3)." in world.row(first).reason


async def test_no_more_trainings_at_a_time_than_slots(world: World) -> None:
    """There may be more rounds joined by other means than slots. Their trainings still run in turn."""
    world.executor.gate = asyncio.Event()
    rounds = [await world.post() for _ in range(3)]
    for round_id in rounds:
        await world.as_other(world.dialect.join_round(round_id, trainer=world.wallet.address), world.wallet)
        await world.begin(round_id)
    async with world.daemon():
        for round_id in rounds:
            await world.diary.reaches(round_id, State.TRAINING)
        await world.diary.until(lambda: world.executor.trained == 1)
        world.executor.gate.set()
        for round_id in rounds:
            await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.executor.most_at_once == 1


async def test_the_daily_cap_holds_joins_and_nothing_else(world: World) -> None:
    async with world.daemon(criteria=Criteria(max_concurrent_rounds=5, join_cost=3_000_000, daily_cap=4_000_000)):
        first = await world.post()
        await world.diary.reaches(first, State.WAITING)
        second = await world.post()
        await world.diary.until(lambda: world.diary.skipped(second, "daily cap") >= 1)
        await world.begin(first)
        await world.diary.reaches(first, State.SUBMITTED)
        await world.complete(first)
        await world.diary.reaches(first, State.CLAIMED)
    assert await world.chain.submission(second, world.wallet.address) is None


@pytest.mark.parametrize(("cap", "funds", "short"), [(4_000_000, 10**9, "daily cap"), (0, 4_000_000, "a join needs")])
async def test_rounds_chosen_together_stay_within_the_cap_and_the_wallet(
    world: World, cap: int, funds: int, short: str
) -> None:
    place = Account(WALLET_MINIMUM + funds, b"", Pubkey.default())
    world.network.vm.set_account(world.wallet.address, place)
    rounds = [await world.post() for _ in range(4)]
    async with world.daemon(criteria=Criteria(max_concurrent_rounds=5, join_cost=3_000_000, daily_cap=cap)):

        def is_decided(round_id: int) -> bool:
            return State.WAITING in world.diary.states(round_id) or world.diary.skipped(round_id, short) > 0

        await world.diary.until(lambda: all(map(is_decided, rounds)))
    joined = [await world.chain.submission(round_id, world.wallet.address) for round_id in rounds]
    assert sum(submission is not None for submission in joined) == 1


async def test_what_is_spent_is_what_the_wallet_lost(world: World) -> None:
    before = await world.rpc.balance(world.wallet.address)
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
    lost = before - await world.rpc.balance(world.wallet.address)
    journal = world.open_journal()
    assert journal.spent_since(0) == lost > 0
    journal.close()


async def test_a_join_that_loses_the_race_for_a_round_costs_nothing(world: World) -> None:
    """The training begins after this wallet has signed its join. The preflight refuses the join."""
    faster = Wallet(Keypair())
    world.network.vm.airdrop(faster.address, 10**9)
    endpoints, send = world.network.endpoints, Fault("held", ["sendTransaction"], times=1)
    async with (
        FaultProxy(endpoints.rpc_url, endpoints.ws_url, [send]) as proxy,
        world.daemon(rpc_url=proxy.url) as daemon,
    ):
        round_id = await world.post()
        await send.began.wait()
        await world.as_other(world.dialect.join_round(round_id, trainer=faster.address), faster)
        await world.begin(round_id)
        send.go.set()
        await world.diary.reaches(round_id, State.MISSED)
        journal = daemon.steps.journal
        await daemon.discovery.reconcile()
        assert journal.spent_since(0) > world.dialect.submission_deposit  # the transaction can still land
        world.clock.advance((BLOCKHASH_WINDOW + 1) * SLOT_SECONDS)
        await daemon.discovery.reconcile()
        assert journal.spent_since(0) == 0


async def test_a_stop_finishes_what_is_being_sent_and_begins_nothing(world: World) -> None:
    async with world.daemon() as daemon:
        round_id = await world.post()
        await world.diary.reaches(round_id, State.JOINING)
        daemon.stop()
    journal: Journal = world.open_journal()
    record = journal.get(round_id)
    journal.close()
    assert record is not None
    assert record.state is State.WAITING
    assert record.join_signature is not None


@pytest.mark.parametrize("stage", [State.TRAINING])
async def test_a_stop_ends_a_training_and_the_next_start_goes_on(world: World, stage: State) -> None:
    world.executor.gate = asyncio.Event()
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.until(lambda: world.executor.trained == 1)
    assert world.executor.cancelled == 1
    world.executor.gate.set()
    async with world.daemon():
        await world.diary.reaches(round_id, State.SUBMITTED)


async def test_a_counter_that_is_wrong_for_a_while_hides_no_round(world: World) -> None:
    await world.post(claim=False)
    place = world.dialect.round_counter_address()
    right = world.network.vm.account(place)
    assert right is not None
    data = bytearray(right.data)
    data[8:16] = (3_000_000).to_bytes(8, "little")
    world.network.vm.set_account(place, Account(right.lamports, bytes(data), right.owner))
    async with world.daemon(ws_url=NOWHERE):
        await world.diary.until(lambda: any(isinstance(event, Connected) for event in world.diary.events))
        world.network.vm.set_account(place, right)
        number = await world.post()
        await world.diary.reaches(number, State.WAITING)
