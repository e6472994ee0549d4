"""A home with a journal and an activity file, the dashboard command, and a browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.track_record import SeenRound, store_rounds
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.reports import REPORTS_FOLDER, ReportWriter
from decloud_pl.rounds.events import Changed, Connected, Looked, Skipped, Training, Trouble

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

OWNER = Owner("5zU3esoUnetwork", "HvQ8program", "FfMYwallet")
VALIDATOR, CREATOR = "3JF3sEqM796hk5WFqA6EtmEwJQ9quALszsfJyvXNQKy3", "4Ss5JMkXAD9Z7cktFEdrqeMuT6jGMF1pVozTyPHZ6zT4"
FACTS = {"network": "local", "preset": "quick-test", "filters": "digits", "convention": "delta", "device": "CPU"}


def record(round_id: int, state: State, **changes: object) -> RoundRecord:
    """A round of one SOL."""
    row = RoundRecord(round_id, state, "custom", "digits", "bafybase", 10**9)
    return replace(row, **changes)  # type: ignore[arg-type]


class Home:
    """The files that a running daemon would write."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self.journal = Journal(path / JOURNAL_FILE, OWNER, now=clock)
        self.health = RpcHealth(requests=40, errors=2, heard_at=clock() - 5)
        self.activity = Activity(path / ACTIVITY_FILE, owner=OWNER, facts=FACTS, health=self.health, now=clock)
        self.reports = ReportWriter(path / REPORTS_FOLDER / OWNER.folder, {"epochs": 1}, now=clock)

    def save(self, row: RoundRecord) -> None:
        self.journal.save(row)
        self.activity.report(Changed(row))

    def train(self, round_id: int, step: int, loss: float, *, total: int = 100) -> None:
        self.reports.report(Training(round_id, "fit", 0, step, total, loss, None))

    def close(self) -> None:
        self.activity.close()
        self.journal.close()
        asyncio.run(self.reports.aclose())


@pytest.fixture
def now() -> list[float]:
    """Unix seconds that tests advance. They are near the real time, because pages compare them with the clock."""
    import time

    return [time.time() - 3600]


@pytest.fixture
def home(dashboard: tuple[Path, str], now: list[float]) -> Iterator[Home]:
    """A home with a claimed, a failed and a training round, two skipped rounds and a trouble."""

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    found = Home(dashboard[0], clock)
    found.activity.report(Connected(OWNER.wallet, 2_000_000_000))
    for state in (State.SEEN, State.JOINING, State.TRAINING):
        found.save(record(0, state))
    found.save(record(0, State.CLAIMED, claimed_lamports=900_000_000, accuracy_before=0.1, accuracy_after=0.9))
    found.save(record(1, State.TRAINING, attempts=1))
    found.save(record(1, State.FAILED, reason="the data set <digits> is empty"))
    found.activity.report(Skipped(7, "its reward of 0.01 SOL is below your minimum of 0.05 SOL"))
    found.activity.report(Skipped(8, "its reward of 0.02 SOL is below your minimum of 0.05 SOL"))
    found.activity.report(Trouble(None, "The RPC endpoint did not answer. Trying again."))
    found.save(record(2, State.TRAINING))
    found.activity.report(Looked(2, 1_000_600, 1_000_000, 1_990_000_000))
    done = SeenRound(10, CREATOR, VALIDATOR, "completed", int(now[0]) - 7_200, 95.0, "equal")
    others = [replace(done, round_id=11, ending="unscored", is_refused=True), replace(done, round_id=12, split=None)]
    store_rounds(found.journal, [done, replace(others[0], scoring_seconds=None, split=None), others[1]])
    for step in range(1, 41):
        found.train(2, step, 2.3 / step)
    now[0] += 3590
    found.activity.heartbeat()
    yield found
    found.close()
    shutil.rmtree(found.path)


@contextmanager
def running(home: Path, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the dashboard command on a home, and yield the process and its address with the token."""
    command = [sys.executable, "-m", "decloud_pl.cli", "dashboard", "--port", "0", "--home", str(home), "--json"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environ
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line, process.stderr.read() if process.stderr else ""
            yield process, json.loads(line)["url"]
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The path of a home that tests fill and empty, and the address of a dashboard that shows it."""
    folder = tmp_path_factory.mktemp("dashboard")
    with running(folder / "home", folder) as (_, address):
        yield folder / "home", address


@pytest.fixture
def url(home: Home, dashboard: tuple[Path, str]) -> str:
    """The address of the dashboard, with its token."""
    return dashboard[1]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """A headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    environ = {**os.environ, "HOME": str(profile)}
    found = webdriver.Chrome(options, Service(driver, env=environ))
    try:
        yield found
    finally:
        found.quit()
