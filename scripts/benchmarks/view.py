"""Measure the cost of watching a daemon, and the dashboard's speed: scripts/bench view [--json].

A training runs in a worker, as in the daemon. For a few seconds at a time, it is watched (live view on a terminal,
activity file, report, scraped metrics) or not watched, in alternation. The benchmark compares the steps per second of
both: a machine that becomes slower or busier affects both alike. The dashboard starts on a journal with many rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.cli.ui.live import LiveReporter
from decloud_pl.config import compose
from decloud_pl.executors.process import ProcessExecutor
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.writer import Journal
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.observe import Observers
from decloud_pl.observers.prometheus import exposition
from decloud_pl.observers.reports import REPORTS_FOLDER, ReportWriter
from decloud_pl.rounds.events import Changed, Connected, Looked, Skipped, training_event
from decloud_pl.rounds.planner import training_plan

MOST_COST = 0.02
MOST_SECONDS = 0.3
MOST_BYTES = 200_000_000
OWNER = Owner("genesis-hash-of-a-bench", "program", "wallet")
_MESSAGES_PER_TURN = 10
_STATES = (State.SEEN, State.JOINING, State.WAITING, State.TRAINING, State.PUBLISHING, State.SUBMITTED, State.CLAIMING)


@dataclass
class Turn:
    """A part of the training, either watched or not: its steps, its wall-clock seconds and its CPU seconds."""

    watched: bool
    steps: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0


@contextlib.contextmanager
def terminal() -> Iterator[Console]:
    """Open a console on a pseudo-terminal of 80 × 24. A thread reads its output."""
    ours, theirs = pty.openpty()

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(ours, 65_536):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with os.fdopen(theirs, "w") as file:
        yield Console(file=file, width=80, height=24, force_terminal=True)
    reader.join(5)
    os.close(ours)


class Watch:
    """All observers of a daemon, which can be switched on and off."""

    def __init__(self, home: Path, console: Console) -> None:
        self._home = home
        self._console = console
        self._activity = Activity(home / ACTIVITY_FILE, owner=OWNER, facts={}, health=RpcHealth(heard_at=0.0))
        self.reports = ReportWriter(home / REPORTS_FOLDER / OWNER.folder, {})
        self._row = RoundRecord(0, State.TRAINING, "custom", "digits", "bafybase", 10**9)
        self._live: LiveReporter | None = None
        self._all = Observers(())

    def switch(self, *, on: bool) -> None:
        if on and self._live is None:
            self._live = LiveReporter({"network": "local"}, console=self._console)
            self._live.__enter__()
            self._all = Observers([self._activity, self.reports, self._live])
            self._all.report(Connected("wallet", 10**9))
            self._all.report(Changed(self._row))
            self._all.report(Looked(0, 3600, 0, 10**9))
        elif not on and self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None
            self._all = Observers(())

    def tell(self, message: Mapping[str, object]) -> None:
        event = training_event(0, message)
        if event is not None:
            self._all.report(event)

    def scrape(self) -> None:
        exposition(self._home)


def make_plan(folder: Path, epochs: int) -> None:
    """Write the plan of a training of the smallest model on the digits, with default settings."""
    import torch

    from decloud_pl.models.registry import build

    base = folder / "base-model"
    torch.save(build("simple_cnn", {"num_classes": 10}).state_dict(), base)
    settings = compose(["trainer=cpu", f"epochs={epochs}"])
    threads = max(1, (os.cpu_count() or 2) - 1)
    training_plan(settings, dataset=settings.dataset, base_model=base, folder=folder, name="0", threads=threads).write(
        folder
    )


async def train(folder: Path, home: Path, epochs: int) -> list[Turn]:
    """Train once, watched in every other turn."""
    make_plan(folder, epochs)
    turns = [Turn(watched=False)]
    journal = Journal(home / JOURNAL_FILE, OWNER)
    journal.save(RoundRecord(0, State.TRAINING, "custom", "digits", "bafybase", 10**9))
    with terminal() as console:
        watch = Watch(home, console)
        last: list[tuple[float, float, int]] = []

        def on_progress(message: Mapping[str, object]) -> None:
            watch.tell(message)
            step = message.get("step")
            if message.get("stage") != "fit" or not isinstance(step, int) or not step:
                return
            turn = turns[-1]
            now = (time.perf_counter(), time.process_time(), step)
            if last:
                begun = last.pop()
                turn.seconds += now[0] - begun[0]
                turn.processor_seconds += now[1] - begun[1]
                turn.steps += now[2] - begun[2]
            if turn.steps and len(counted) + 1 >= _MESSAGES_PER_TURN:
                counted.clear()
                turns.append(Turn(watched=not turn.watched))
                watch.switch(on=turns[-1].watched)
                if turns[-1].watched:
                    watch.scrape()
                now = (time.perf_counter(), time.process_time(), step)
            else:
                counted.append(step)
            last.append(now)

        counted: list[int] = []
        await ProcessExecutor().train(folder, on_progress, environment={})
        watch.switch(on=False)
        await watch.reports.aclose()
    journal.close()
    return [turn for turn in turns[1:-1] if turn.steps]  # the first turn is the warm-up, the last is incomplete


def speed(turn: Turn) -> float:
    """Return the steps per second."""
    return turn.steps / turn.seconds


def cost_of_watching(turns: list[Turn]) -> dict[str, float]:
    """Return the median speed of both kinds of turns, and the cost of watching as a share of speed and of one CPU."""
    speeds = {on: [speed(turn) for turn in turns if turn.watched is on] for on in (True, False)}
    # Compare neighboring turns: a temporarily slow machine slows both.
    pairs = [
        1 - speed(one if one.watched else two) / speed(two if one.watched else one)
        for one, two in itertools.pairwise(turns)
    ]
    busy = {
        on: sum(turn.processor_seconds for turn in turns if turn.watched is on)
        / sum(turn.seconds for turn in turns if turn.watched is on)
        for on in (True, False)
    }
    return {
        "turns": len(turns),
        "watched_steps_per_s": statistics.median(speeds[True]),
        "unwatched_steps_per_s": statistics.median(speeds[False]),
        "cost": statistics.median(pairs),
        "processor_share": busy[True] - busy[False],
    }


def fill(home: Path, rounds: int) -> None:
    """Write a journal with this many finished rounds, like that of a long-lived daemon."""
    begun = time.time() - rounds * 60
    journal = Journal(home / JOURNAL_FILE, OWNER)
    journal.connection.execute("PRAGMA synchronous = OFF")
    owner = journal.owner
    for number in range(rounds):
        at = begun + number * 60
        journal._now = lambda at=at: at  # type: ignore[misc]  # noqa: SLF001
        row = RoundRecord(number, State.SEEN, "custom", "digits", f"bafybase{number}", 10**9, accuracy_before=0.1)
        for state in _STATES:
            journal.save(replace(row, state=state, reason="joined, waiting for the validator"))
        end = State.CLAIMED if number % 5 else State.FAILED
        journal.save(replace(row, state=end, claimed_lamports=900_000_000, accuracy_after=0.9, contribution_bps=10_000))
        with journal.transaction() as db:
            db.executemany(
                "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*owner, f"{step}:{number}", f"{step}{number}", "hash", 1, b"x" * 300, "landed", 5_000, 0, at)
                    for step in ("join", "submit", "claim")
                ],
            )
    journal.close()
    activity = Activity(home / ACTIVITY_FILE, owner=OWNER, facts={}, health=RpcHealth())
    for number in range(rounds):
        activity.report(Skipped(rounds + number, f"its reward of 0.{number:05} SOL is below your minimum of 1 SOL"))
    activity.close()


def dashboard(home: Path, rounds: int) -> dict[str, float]:
    """Return the seconds of the first page and of the slowest later page, and the process's resident megabytes."""
    fill(home, rounds)
    command = [sys.executable, "-m", "decloud_pl.cli", "dashboard", "--port", "0", "--home", str(home), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = urlsplit(json.loads(process.stdout.readline() if process.stdout else "")["url"])
            cookie, _ = ask(url.port or 0, f"/?{url.query}", "")
            _, first = ask(url.port or 0, "/", cookie)
            paths = ("/", "/rounds", f"/rounds?page={rounds // 50}", "/rounds?q=bafybase77", "/log", "/log?q=waiting")
            further = [ask(url.port or 0, path, cookie)[1] for path in (*paths, "/skipped", "/metrics")]
            resident = psutil.Process(process.pid).memory_info().rss
        finally:
            process.terminate()
    return {"rounds": rounds, "first_page_s": first, "slowest_page_s": max(further), "resident_mb": resident / 1e6}


def ask(port: int, path: str, cookie: str) -> tuple[str, float]:
    """Request a page; return its cookie, and the seconds it took."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - begun
    connection.close()
    if answer.status not in (200, 303):
        raise SystemExit(f"{path} returned status {answer.status}")
    return (answer.getheader("Set-Cookie") or "").split(";")[0], seconds


def main() -> int:
    """Print the figures; return 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(prog="scripts/bench view", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--epochs", type=int, default=40, metavar="N", help="epochs of the training")
    parser.add_argument("--rounds", type=int, default=10_000, metavar="N", help="rounds in the dashboard's journal")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for part in ("training", "home", "many"):
            (Path(name) / part).mkdir()
        page = dashboard(Path(name) / "many", arguments.rounds)
        turns = asyncio.run(train(Path(name) / "training", Path(name) / "home", arguments.epochs))
        watching = cost_of_watching(turns)
    good = {
        "cost": watching["cost"] < MOST_COST,
        "first_page": page["first_page_s"] < MOST_SECONDS,
        "memory": page["resident_mb"] * 1e6 < MOST_BYTES,
    }
    if arguments.json:
        print(json.dumps({"watching": watching, "dashboard": page, "ok": good}))
    else:
        print(
            f"watching: {watching['watched_steps_per_s']:.1f} steps/s, "
            f"{watching['unwatched_steps_per_s']:.1f} without; "
            f"it costs {watching['cost'] * 100:.1f} % (goal {MOST_COST * 100:.0f} %), "
            f"{watching['processor_share'] * 100:.1f} % of one processor"
        )
        print(
            f"dashboard with {arguments.rounds} rounds: first page {page['first_page_s'] * 1000:.0f} ms (goal 300), "
            f"slowest {page['slowest_page_s'] * 1000:.0f} ms, {page['resident_mb']:.0f} MB (goal 200)"
        )
    return 0 if all(good.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
