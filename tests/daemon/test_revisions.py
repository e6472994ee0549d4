"""A daemon detects the program's revision and follows an upgrade in place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain import dialects
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.revision import UNDECIDED, Revision, detect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import compose
from decloud_pl.data.catalog import Catalog
from decloud_pl.journal.findings import Reading, store_reading, store_revision, stored_revision
from decloud_pl.journal.record import State
from decloud_pl.rounds.connect import make_current_dialect
from decloud_pl.rounds.events import Noted, Trouble
from decloud_pl.rounds.gather import Evidences
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.rounds.revisions import Revisions
from decloud_pl.rounds.select import Criteria
from decloud_pl.rounds.steps import Steps
from tests.harness.parties import history
from tests.harness.proxy import Fault, FaultProxy
from tests.world import World

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
EVERY = ["v1.0", "v1.1", "v1.2"]
UPGRADES = [("v1.0", "v1.1"), ("v1.0", "v1.2"), ("v1.1", "v1.2")]


async def found(world: World) -> str:
    return (await detect(world.rpc, world.dialect.program_id, payer=None, now=0)).name


async def upgrade(world: World, dialect: str) -> None:
    await world.network.upgrade(dialect)
    world.dialect = get_dialect(dialect)


@pytest.mark.parametrize("world", EVERY, indirect=True)
async def test_it_is_never_wrong_whatever_the_chain_shows(world: World) -> None:
    name, me = world.network.dialect, world.wallet.address
    unclear = name if name == "v1.2" else UNDECIDED
    seen = [(await found(world), unclear)]
    number = await world.post(claim=False)
    seen.append((await found(world), unclear))  # without a validator no payment can be simulated
    await world.as_other(world.dialect.claim_round(number, validator=world.other.address))
    seen.append((await found(world), name))
    await world.as_other(world.dialect.join_round(number, trainer=me), world.wallet)
    seen.append((await found(world), name))
    await world.begin(number)
    seen.append((await found(world), name))
    await world.as_other(world.dialect.submit_gradients(number, trainer=me, gradient_cid=CID), world.wallet)
    world.clock.advance(4000)
    await world.as_other(world.dialect.check_round(number, creator=world.other.address))
    seen.append((await found(world), name))
    await world.complete(number)
    seen.append((await found(world), name))
    await world.as_other(world.dialect.claim_reward(number, trainer=me), world.wallet)
    seen.append((await found(world), name))
    for claim in (True, False, False):
        await world.post(claim=claim)
        seen.append((await found(world), name))
    assert [one for one, _ in seen] == [expected for _, expected in seen]


@pytest.mark.parametrize("world", EVERY, indirect=True)
async def test_a_trainer_who_sets_nothing_is_paid(world: World) -> None:
    number = await world.post()
    async with world.daemon(auto=True):
        await world.diary.reaches(number, State.WAITING)
        await world.begin(number)
        await world.diary.reaches(number, State.SUBMITTED)
        world.clock.advance(4000)
        await world.diary.reaches(number, State.SUBMITTED)
        await world.as_other(world.dialect.check_round(number, creator=world.other.address))
        await world.complete(number)
        await world.diary.reaches(number, State.CLAIMED)
    row = world.row(number)
    assert row.claimed_lamports == (900_000_000 if world.network.dialect == "v1.0" else 882_000_000)
    assert row.convention == ("delta" if world.network.dialect == "v1.2" else "gradient")
    assert row.validator == str(world.other.address)
    with world.open_journal() as journal:
        kept = stored_revision(journal)
    assert kept is not None
    assert (kept.name, kept.is_decided) == (world.network.dialect, True)


@pytest.mark.parametrize(("world", "after"), UPGRADES, indirect=["world"])
@pytest.mark.parametrize("moment", ["waiting", "submitted", "completed"])
async def test_an_upgrade_in_mid_round_costs_no_reward(world: World, after: str, moment: str) -> None:
    before, number = world.network.dialect, await world.post()
    async with world.daemon(auto=True, auto_claim=moment != "completed"):
        await world.diary.reaches(number, State.WAITING)
        if moment == "waiting":
            await upgrade(world, after)
        await world.begin(number)
        await world.diary.reaches(number, State.SUBMITTED)
        if moment == "submitted":
            await upgrade(world, after)
        world.clock.advance(4000)
        await world.as_other(world.dialect.check_round(number, creator=world.other.address))
        await world.complete(number)
        if moment != "completed":
            await world.diary.reaches(number, State.CLAIMED)
    if moment == "completed":
        await upgrade(world, after)
        async with world.daemon(auto=True):  # the journal stores the old revision, less than a day old
            await world.diary.reaches(number, State.CLAIMED)
    address = world.dialect.submission_address(number, world.wallet.address)
    assert history(world.network, address)[-1] == "ClaimReward"
    assert history(world.network, address).count("ClaimReward") == 1
    assert not [event for event in world.diary.events if isinstance(event, Trouble)]
    assert world.row(number).claimed_lamports == 882_000_000  # the new revision's treasury takes its fee
    with world.open_journal() as journal:
        kept = stored_revision(journal)
    assert kept is not None
    # v1.1 and v1.2 pay the same, so only the daily detection finds this upgrade.
    assert kept.name == (after if before == "v1.0" else before)


@pytest.mark.parametrize("world", ["v1.2"], indirect=True)
async def test_a_client_of_an_older_revision_cannot_claim_and_auto_can(world: World) -> None:
    newest, number = world.dialect, await world.post()
    world.dialect = get_dialect("v1.0")
    async with world.daemon():
        await world.diary.reaches(number, State.WAITING)
        await world.begin(number)
        await world.diary.reaches(number, State.SUBMITTED)
        world.clock.advance(4000)
        world.dialect = newest
        await world.as_other(newest.check_round(number, creator=world.other.address))
        await world.complete(number)
        await world.diary.until(
            lambda: any("Set network.dialect=auto" in e.message for e in world.diary.events if isinstance(e, Trouble))
        )
    assert world.row(number).state is State.CLAIMING
    async with world.daemon(auto=True):
        await world.diary.reaches(number, State.CLAIMED)


@pytest.mark.parametrize("world", ["v1.2"], indirect=True)
async def test_a_program_of_no_known_revision_is_named_and_not_joined(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await world.post()
    # A version of this package that supports only the first revision.
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "v1_0").symlink_to(Path(dialects.__path__[0]) / "v1_0")
    with monkeypatch.context() as old:
        old.setattr(dialects, "__path__", [str(tmp_path / "known")])
        async with world.daemon(auto=True):
            await world.diary.until(
                lambda: bool(world.diary.skipped(number, "the network runs unknown, not supported"))
            )
    said = [event.message for event in world.diary.events if isinstance(event, Noted)]
    assert any("unknown, not supported" in message for message in said)
    with world.open_journal() as journal:
        assert journal.rounds() == []
    async with world.daemon(auto=True):  # a newer version of this package is installed
        await world.diary.reaches(number, State.WAITING)


@pytest.mark.parametrize("world", ["v1.2"], indirect=True)
async def test_a_program_that_was_not_known_is_looked_at_again_while_the_daemon_runs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await world.post()
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "v1_0").symlink_to(Path(dialects.__path__[0]) / "v1_0")
    with monkeypatch.context() as old:
        old.setattr(dialects, "__path__", [str(tmp_path / "known")])
        async with world.daemon(auto=True, reconcile_interval=0.2):
            await world.diary.until(
                lambda: bool(world.diary.skipped(number, "the network runs unknown, not supported"))
            )
            old.undo()  # for this daemon, a supported program replaces the other one
            await world.diary.reaches(number, State.WAITING)


async def test_one_empty_answer_does_not_hide_the_program(world: World) -> None:
    address = world.dialect.program_id
    null = Fault("null", ["getAccountInfo"], times=0, about=str(address))
    endpoints = world.network.endpoints
    async with FaultProxy(endpoints.rpc_url, endpoints.ws_url, [null]) as proxy:
        rpc, dialect = RpcClient(proxy.url), make_current_dialect(compose(world.overrides()).network)
        with world.open_journal() as journal:
            revisions = Revisions(rpc, dialect, journal, world.diary, world.wallet.address)
            dialect.revision = Revision(world.network.dialect, "a transaction shows it", 1)
            null.times = 1
            await revisions.look()
            assert (null.times, revisions.is_decided, stored_revision(journal)) == (0, True, None)
            await revisions.look()
            null.times = 2
            for is_supported in (True, False):
                await revisions.look()
                assert revisions.is_supported is is_supported
        await rpc.aclose()


@pytest.mark.parametrize("world", ["v1.1"], indirect=True)
async def test_an_upgrade_that_changes_no_payment_is_noticed_while_the_daemon_runs(world: World) -> None:
    await world.post()
    async with world.daemon(auto=True, reconcile_interval=0.2):
        await world.diary.until(lambda: "v1.1" in named(world))
        await upgrade(world, "v1.2")
        await world.diary.until(lambda: "v1.2" in named(world))
    assert named(world) == ["v1.1", "v1.2"]  # each is reported once


def named(world: World) -> list[str]:
    """Return the revisions that the daemon has reported."""
    return [
        event.facts["program"] for event in world.diary.events if isinstance(event, Noted) and "program" in event.facts
    ]


async def test_each_round_is_trained_as_its_own_validator_reads_updates(world: World) -> None:
    second = Wallet(Keypair())
    world.network.vm.airdrop(second.address, 100 * 10**9)
    with world.open_journal() as journal:
        store_reading(journal, Reading(77, str(second.address), "gradient", "its shares fit"))
    numbers = [await world.post(), await world.post(claim=False)]
    await world.as_other(world.dialect.claim_round(numbers[1], validator=second.address), second)
    async with world.daemon(criteria=Criteria(max_concurrent_rounds=2)):
        for number in numbers:
            await world.diary.reaches(number, State.WAITING)
        await world.begin(numbers[0])
        start = world.dialect.start_training(numbers[1], validator=second.address, baseline_score=1000)
        await world.as_other(start, second)
        for number in numbers:
            await world.diary.reaches(number, State.SUBMITTED)
    assert [world.row(number).convention for number in numbers] == ["delta", "gradient"]


@pytest.mark.parametrize("world", ["v1.0"], indirect=True)
async def test_what_a_user_has_set_is_not_taken_for_found_out(world: World) -> None:
    with world.open_journal() as journal:
        store_revision(journal, Revision("v1.2", "set by network.dialect", 0))
    async with world.daemon(auto=True):
        await world.diary.until(lambda: any(isinstance(event, Noted) for event in world.diary.events))
    with world.open_journal() as journal:
        kept = stored_revision(journal)
    assert kept is not None
    assert kept.name == UNDECIDED


async def test_an_own_round_is_looked_at_for_its_validators_convention_though_no_event_came(world: World) -> None:
    looked: list[Catalog] = []

    def evidences(steps: Steps) -> Evidences:
        def catalog() -> Catalog:
            looked.append(make_catalog(compose([])))
            return looked[-1]

        return Evidences(
            steps.chain, steps.reader, catalog, steps.journal, steps.reporter, gradient_rate=0.1, max_bytes=1 << 20
        )

    number = await world.post()
    async with world.daemon(ws_url="ws://127.0.0.1:1", evidences=evidences):
        await world.diary.reaches(number, State.WAITING)
        await world.begin(number)
        await world.diary.reaches(number, State.SUBMITTED)
        world.clock.advance(4000)
        await world.as_other(world.dialect.check_round(number, creator=world.other.address))
        assert not looked
        await world.complete(number)
        await world.diary.reaches(number, State.CLAIMED)
        for _ in range(200):
            if looked:
                break
            await asyncio.sleep(0.05)
    assert len(looked) == 1
