"""All commands and pages show the same rows, while the daemon holds the journal and after it has stopped."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from decloud_pl.chain.revision import Revision
from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli import main
from decloud_pl.config import compose
from decloud_pl.config.values import hydra_text
from decloud_pl.daemon.account import WalletRounds
from decloud_pl.dashboard.views import Views
from decloud_pl.journal.findings import store_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.observe import EarningsReporter
from decloud_pl.observers.prometheus import exposition, health
from decloud_pl.rounds.events import DaemonEvent, Earnings
from tests.world import World

Command = Callable[..., Awaitable[str]]


class Last:
    """Keeps the last event."""

    event: DaemonEvent

    def report(self, event: DaemonEvent) -> None:
        self.event = event


@pytest.fixture
def key(world: World, tmp_path: Path) -> Path:
    """The key file of the world's wallet."""
    path = tmp_path / "id.json"
    world.wallet = create_wallet(path)
    world.network.vm.airdrop(world.wallet.address, 10**9)
    return path


@pytest.fixture
def settings(world: World, key: Path) -> list[str]:
    endpoints = world.network.endpoints
    return [
        "network=local",
        f"network.rpc_url={hydra_text(endpoints.rpc_url)}",
        f"network.gateways={hydra_text([endpoints.gateway_url])}",
        f"storage.path={hydra_text(str(Path(endpoints.home) / 'store'))}",
        f"home={hydra_text(str(world.home))}",
        f"wallet.keypair_path={hydra_text(str(key))}",
    ]


@pytest.fixture
def command(settings: list[str], capsys: pytest.CaptureFixture[str]) -> Command:
    async def run(*arguments: str) -> str:
        capsys.readouterr()
        assert await asyncio.to_thread(main, [*arguments, *settings]) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.slow
async def test_every_view_shows_what_was_written(world: World, settings: list[str], command: Command) -> None:
    claimed_round, working_round = await world.post(), await world.post()
    for number in (claimed_round, working_round):
        join = world.dialect.join_round(number, trainer=world.wallet.address)
        await world.as_other(join, signer=world.wallet)
    network = await world.rpc.check_same_network()
    owner = Owner(network, str(world.dialect.program_id), str(world.wallet.address))
    seen = RoundRecord(claimed_round, State.SEEN, "custom", "digits", "bafybase", 10**9)
    claimed = replace(
        seen,
        state=State.CLAIMED,
        update_cid="bafyupdate",
        accuracy_before=0.25,
        accuracy_after=0.75,
        gain_low=0.4,
        gain_high=0.6,
        contribution_bps=10_000,
        claimed_lamports=900_000_000,
        train_seconds=2.0,
        publish_seconds=1.0,
    )
    working = replace(seen, round_id=working_round, state=State.TRAINING, reason="trains")
    with Journal(world.home / JOURNAL_FILE, owner) as journal:
        for record in (seen, claimed, working):
            journal.save(record)
        log = JournalTransactionLog(journal)
        log.record(f"join:{claimed_round}", Attempt("a", "hash", 1, b"", fee=5_000, deposit=1_000))
        log.settle(f"join:{claimed_round}", "a", "landed")
        written = [record for _, record in journal.all_rounds()]
        assert written == [claimed, working]
        await _check(world, owner, written, settings, command)
    await _check(world, owner, written, settings, command)


@pytest.mark.parametrize("world", ["v1.0"], indirect=True)
async def test_amounts_are_those_of_the_revision_that_was_found_out(world: World, command: Command) -> None:
    number = await world.post()
    await world.as_other(world.dialect.join_round(number, trainer=world.wallet.address), signer=world.wallet)
    owner = Owner(await world.rpc.check_same_network(), str(world.dialect.program_id), str(world.wallet.address))
    with Journal(world.home / JOURNAL_FILE, owner) as journal:
        store_revision(journal, Revision("v1.0", "a claim takes 5 accounts", 1.0))
    (listed,) = json.loads(await command("list", "--json"))["rounds"]
    (mine,) = json.loads(await command("status", "--json"))["rounds"]
    one = json.loads(await command("status", str(number), "--json"))["round"]
    assert [listed["treasury_fee_bps"], mine["round"]["treasury_fee_bps"], one["treasury_fee_bps"]] == [0, 0, 0]
    checks = json.loads(await command("explain", str(number), "--json"))["checks"]
    assert any(check["detail"].startswith("1 SOL") for check in checks), checks


async def _check(world: World, owner: Owner, written: list[RoundRecord], settings: list[str], command: Command) -> None:
    claimed, working = written
    rows = [json.loads(json.dumps(dataclasses.asdict(record))) for record in written]

    history = json.loads(await command("history", "--json"))
    assert history["rounds"] == [{**owner._asdict(), **row} for row in rows]
    assert history["networks"] == [{"network": owner.network, "rounds": 2, "earned_lamports": claimed.earned}]
    table = await command("history")
    assert "25.0 → 75.0" in table
    assert table.endswith("2 rounds, 0.9 SOL earned\n")
    lines = list(csv.DictReader((await command("history", "--csv")).splitlines()))
    for line, record in zip(lines, written, strict=True):
        assert (line["network"], line["program"], line["wallet"]) == owner
        assert (line["round"], line["state"], line["reason"]) == (str(record.round_id), record.state, record.reason)
        assert line["earned_lamports"] == str(record.earned)
    assert [line["cost_lamports"] for line in lines] == ["6000", "0"]

    status = json.loads(await command("status", "--json"))
    assert [entry["journal"] for entry in status["rounds"]] == rows
    one = json.loads(await command("status", str(claimed.round_id), "--json"))
    assert one["journal"] == rows[0]
    assert [step["state"] for step in one["steps"]] == ["seen", "claimed"]
    checks = json.loads(await command("explain", str(working.round_id), "--json"))["checks"]
    assert {check["name"]: check["passed"] for check in checks}["slots"] is False

    account = WalletRounds(compose(settings), world.wallet, Last())
    account.owner = owner
    assert account.record(claimed.round_id) == claimed
    await account.aclose()

    views = Views(world.home)
    for record in written:
        page = views.round(owner.folder, record.round_id)
        assert page is not None
        assert (page.active.entry, page.active.entry.updated_at) == (record, record.updated_at)
    shown = views.rounds("", state="", text="", page=1, order="round_id", descending=True)
    assert shown.entries == [working, claimed]
    overview = views.overview("")
    assert overview.states == {State.CLAIMED: 1, State.TRAINING: 1}
    assert (overview.earned, overview.earned_today, overview.spent) == (claimed.earned, claimed.earned, 6_000)
    assert [entry.kind for entry in overview.entries] == ["training", "claimed", "seen"]
    assert [lamports for _, lamports in overview.earnings] == [claimed.earned]

    families = text_string_to_metric_families(exposition(world.home).decode())
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert (found["decloud_rounds", "claimed"], found["decloud_rounds", "training"]) == (1, 1)
    assert found["decloud_earned_lamports_total",] == claimed.earned
    assert found["decloud_spent_lamports_total",] == 6_000
    state = health(world.home)
    assert (state["rounds"], state["earned_lamports"]) == ({"claimed": 1, "training": 1}, claimed.earned)

    last = Last()
    EarningsReporter(world.home / JOURNAL_FILE, owner, last).tell()
    assert last.event == Earnings(claimed.earned, claimed.earned, 6_000)
    with JournalReader(world.home / JOURNAL_FILE) as reader:
        assert (reader.owner, reader.rounds()) == (owner, written)
