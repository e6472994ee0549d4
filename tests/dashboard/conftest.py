"""A home with a journal and an activity file, a dashboard on it, and a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.dashboard.app import serve
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.reports import REPORTS_FOLDER, ReportWriter
from decloud_pl.rounds.events import Changed, Connected, Looked, Skipped, Training, Trouble

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

TOKEN = "a-token-of-tests"
OWNER = Owner("5zU3esoUnetwork", "HvQ8program", "FfMYwallet")
FACTS = {"network": "local", "preset": "quick-test", "filters": "digits", "convention": "delta", "device": "CPU"}


def record(round_id: int, state: State, **changes: object) -> RoundRecord:
    """A round of one SOL."""
    row = RoundRecord(round_id, state, "custom", "digits", "bafybase", 10**9)
    return replace(row, **changes)  # type: ignore[arg-type]


class Home:
    """What a daemon would have left, and goes on leaving."""

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
    """Unix seconds; tests move them. Real ones, for the pages compare them with the machine's clock."""
    import time

    return [time.time() - 3600]


@pytest.fixture
def home(tmp_path: Path, now: list[float]) -> Iterator[Home]:
    """Three rounds: one earned, one failed, one in training; one skipped; one trouble."""

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    found = Home(tmp_path / "home", clock)
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
    for step in range(1, 41):
        found.train(2, step, 2.3 / step)
    now[0] += 3590
    found.activity.heartbeat()
    yield found
    found.close()


@pytest.fixture
def url(home: Home) -> Iterator[str]:
    """The address of a dashboard, with its token; it runs in a thread of its own."""
    ready: list[str] = []
    started, stop = threading.Event(), threading.Event()

    async def work() -> None:
        async with serve(home.path, TOKEN, port=0) as address:
            ready.append(address)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert started.wait(30)
    try:
        yield ready[0]
    finally:
        stop.set()
        thread.join()


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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environ = {**os.environ, "HOME": str(profile)}
    found = webdriver.Chrome(options, Service(driver, env=environ))
    try:
        yield found
    finally:
        found.quit()
