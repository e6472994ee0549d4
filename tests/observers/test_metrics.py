"""The pages for Prometheus and service monitors, from a running daemon, and the Grafana dashboard."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import decloud_pl.dashboard
from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.config.schema import MetricsConfig
from decloud_pl.errors import ConfigError
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.legible import legible
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.activity_reader import ActivityReader
from decloud_pl.observers.metrics_server import metrics_server
from decloud_pl.observers.prometheus import exposition
from decloud_pl.observers.reports import REPORTS_FOLDER, ReportWriter
from decloud_pl.rounds.events import Changed, Connected, Skipped, Training
from tests.harness.strangers import HOSTILE

OWNER = Owner("genesis-hash", "program", "wallet")


@pytest.fixture
async def activity(tmp_path: Path) -> Activity:
    """The activity of a daemon that has earned a reward, trains, has skipped a round and failed to publish."""
    journal = Journal(tmp_path / JOURNAL_FILE, OWNER)
    health = RpcHealth(requests=10, errors=3, heard_at=time.time() - 5)
    found = Activity(tmp_path / ACTIVITY_FILE, owner=OWNER, facts={"convention": "gradient, rate 0.1"}, health=health)
    journal.save(RoundRecord(0, State.CLAIMED, "custom", "digits", "x", 10, claimed_lamports=9))
    journal.save(RoundRecord(1, State.TRAINING, "custom", "digits", "x", 10))
    found.report(Connected("wallet", 1234))
    found.report(Skipped(2, "it is too late"))
    found.report(Changed(RoundRecord(1, State.PUBLISHING, "custom", "digits", "x", 10, attempts=1)))
    reports = ReportWriter(tmp_path / REPORTS_FOLDER / OWNER.folder, {})
    reports.report(Training(1, "fit", 0, 25, 100, 0.5, None))
    await reports.aclose()
    found.heartbeat()
    journal.close()
    return found


def test_the_exposition(tmp_path: Path, activity: Activity) -> None:
    families = text_string_to_metric_families(exposition(tmp_path).decode())
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    activity.close()
    assert found["decloud_rounds", "claimed"] == 1
    assert found["decloud_rounds", "failed"] == 0
    assert found["decloud_earned_lamports_total",] == 9
    assert found["decloud_spent_lamports_total",] == 0
    assert found["decloud_up",] == 1
    assert found["decloud_convention_info", "gradient, rate 0.1"] == 1
    assert found["decloud_rounds", "withheld"] == 0
    assert 5 <= found["decloud_chain_silence_seconds",] < 60
    assert found["decloud_wallet_lamports",] == 1234
    assert (found["decloud_rpc_requests_total",], found["decloud_rpc_errors_total",]) == (10, 3)
    assert found["decloud_publish_failures_total",] == 1
    assert found["decloud_skipped_rounds", "it is too late"] == 1
    assert found["decloud_training_progress_ratio", "1"] == 0.25
    assert found["decloud_training_loss", "1"] == 0.5


def test_strangers_words_are_labels_and_nothing_else(tmp_path: Path) -> None:
    texts = [text for text in HOSTILE.values() if "\ud800" not in text]  # SQLite cannot store a lone surrogate
    activity = Activity(
        tmp_path / ACTIVITY_FILE, owner=OWNER, facts={"convention": HOSTILE["label"]}, health=RpcHealth()
    )
    Journal(tmp_path / JOURNAL_FILE, OWNER).close()
    activity.report(Connected("wallet", 1234))
    for number, text in enumerate(texts):
        activity.report(Skipped(number, text))
    activity.heartbeat()
    shown = exposition(tmp_path)
    activity.close()
    assert all(line.isprintable() for line in shown.decode().split("\n"))
    assert len(shown) < len(texts) * 40_000
    found = [sample for family in text_string_to_metric_families(shown.decode()) for sample in family.samples]
    skipped = [sample for sample in found if sample.name == "decloud_skipped_rounds"]
    labels = {sample.labels["reason"] for sample in skipped}
    assert len(labels) == len(skipped)
    with ActivityReader(tmp_path, OWNER) as reader:
        assert labels == {legible(reason) for reason, _ in reader.skip_reasons()}
    assert sum(sample.value for sample in skipped) == len(texts)
    assert [sample.value for sample in found if sample.name == "decloud_up"] == [1]
    (convention,) = [sample for sample in found if sample.name == "decloud_convention_info"]
    assert convention.labels == {"convention": legible(HOSTILE["label"])}


def test_strangers_cannot_add_labels_without_end(tmp_path: Path) -> None:
    Journal(tmp_path / JOURNAL_FILE, OWNER).close()
    activity = Activity(tmp_path / ACTIVITY_FILE, owner=OWNER, facts={}, health=RpcHealth())
    for number in range(1000):
        activity.report(
            Skipped(number, f"your settings exclude the data set {'abcdefghij'[number % 10] * (number % 31)}")
        )
    shown = exposition(tmp_path).decode()
    activity.close()
    found = [sample for family in text_string_to_metric_families(shown) for sample in family.samples]
    skipped = {sample.labels["reason"]: sample.value for sample in found if sample.name == "decloud_skipped_rounds"}
    assert len(skipped) == 51
    assert sum(skipped.values()) == 1000
    assert skipped["other"] > 500


async def test_accumulated_gradients_begin_at_step_0(tmp_path: Path) -> None:
    with Journal(tmp_path / JOURNAL_FILE, OWNER) as journal:
        journal.save(RoundRecord(1, State.TRAINING, "custom", "digits", "x", 10))
    reports = ReportWriter(tmp_path / REPORTS_FOLDER / OWNER.folder, {})
    for step, loss in ((0, 2.3), (1, 2.0)):
        reports.report(Training(1, "fit", 0, step, 100, loss, None))
    await reports.aclose()
    shown = exposition(tmp_path).decode()
    assert 'decloud_training_progress_ratio{round="1"} 0.01' in shown
    assert 'decloud_training_loss{round="1"} 2.0' in shown


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert b"decloud_up 0.0" in exposition(tmp_path)


def test_the_board_asks_for_nothing_that_does_not_exist(tmp_path: Path, activity: Activity) -> None:
    names = set(re.findall(r"^(decloud_\w+)", exposition(tmp_path).decode(), re.MULTILINE))
    activity.close()
    board = json.loads((Path(decloud_pl.dashboard.__file__).parent / "grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for expression in asked for name in re.findall(r"decloud_\w+", expression)}
    assert used <= names
    assert len(used) >= 12
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


async def test_pages_of_other_sites_cannot_ask(tmp_path: Path) -> None:
    async with metrics_server(tmp_path, OWNER, MetricsConfig()) as port, aiohttp.ClientSession() as http:
        for host, status in (("rebound.example", 403), (f"rebound.example:{port}", 403), (f"localhost:{port}", 200)):
            async with http.get(f"http://127.0.0.1:{port}/metrics", headers={"Host": host}) as answer:
                assert answer.status == status


async def test_on_a_host_of_the_users_every_name_may_ask(tmp_path: Path) -> None:
    there = MetricsConfig(host="127.0.0.2")  # like 0.0.0.0 in a container, where the Host header has the service's name
    async with metrics_server(tmp_path, OWNER, there) as port, aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.2:{port}/metrics", headers={"Host": f"trainer:{port}"}) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"http://127.0.0.1:{port}/metrics")


async def test_a_host_of_another_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be served on metrics\.host=192\.0\.2\.1, port 9100"):
        async with metrics_server(tmp_path, OWNER, MetricsConfig(host="192.0.2.1", port=9100)):
            pass


async def test_the_daemon_serves_both_pages(tmp_path: Path, activity: Activity) -> None:
    async with (
        metrics_server(tmp_path, OWNER, MetricsConfig(), refresh=activity.heartbeat) as port,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"decloud_up 1.0" in await answer.read()
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
            state = await answer.json()
            assert state["ok"]
            assert state["rounds"] == {"claimed": 1, "training": 1}
            assert (state["earned_lamports"], state["rpc_errors"], state["publish_failures"]) == (9, 3, 1)
        activity.close()
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 503  # the daemon has stopped
        with pytest.raises(ConfigError, match=r"already in use\. Set metrics\.port"):
            async with metrics_server(tmp_path, OWNER, MetricsConfig(port=port)):
                pass
