"""The live view shows events in any width, and only on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console

from decloud_pl.cli.ui.live import LiveReporter, countdown, picture
from decloud_pl.cli.ui.live_state import LiveState
from decloud_pl.cli.ui.report import TerminalReporter
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import (
    Changed,
    Connected,
    DaemonEvent,
    Earnings,
    Looked,
    Skipped,
    Training,
    Trouble,
    Uploading,
)

NOW = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))
WALLET = "FfMY27AW74AUAv4nsgqaZJ6sZJD5t4M4BPU5h8Vj78HS"
FACTS = {
    "network": "local",
    "preset": "quick-test",
    "filters": "digits, from 0.05 SOL",
    "rounds": "2 at a time, epochs: 3",
    "automatic": "join, claim",
    "convention": "gradient",
    "device": "CPU",
    "precision": "bf16-mixed",
}
ROW = RoundRecord(12, State.TRAINING, "custom", "digits", "bafybase", 10**9)


def state_after(*events: DaemonEvent) -> LiveState:
    state = LiveState(FACTS)
    for event in events:
        state.apply(event, NOW)
    return state


def painted(state: LiveState, *, width: int = 80, height: int = 24, now: float = NOW) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    with console.capture() as capture:
        console.print(picture(state, now, width=width, height=height))
    text = capture.get()
    lines = [line.plain.rstrip() for line in AnsiDecoder().decode(text)]
    assert max(map(cell_len, lines)) <= width
    return "\n".join(lines)


def busy() -> LiveState:
    return state_after(
        Connected(WALLET, 1_500_000_000),
        Changed(ROW),
        Looked(12, deadline=5_090, chain_now=5_000, balance=1_400_000_000),
        Training(12, "baseline", 0, 0, 0, None, 0.097),
        Training(12, "fit", 0, 50, 200, 0.4321, None),
        Earnings(today=900_000_000, total=1_800_000_000, spent=3_000_000),
    )


def test_everything_is_there() -> None:
    text = painted(busy())
    facts = ("local", "quick-test", "digits, from 0.05 SOL", "2 at a time", "join, claim", "gradient", "bf16-mixed")
    for words in ("FfMY…78HS holds 1.4 SOL", *facts):
        assert words in text
    row = next(line for line in text.splitlines() if line.strip().startswith("12 "))
    for words in ("training", "1:30", "50/200", "0.432", "9.7 %", "1 SOL"):
        assert words in row
    assert "Earned 0.9 SOL today, 1.8 SOL in all; fees and deposits 0.003 SOL" in text
    assert "12:00:00  Round 12: training…" in text


def test_the_time_left_runs_down() -> None:
    assert "1:00 " in painted(busy(), now=NOW + 30)
    assert "past" in painted(busy(), now=NOW + 100)
    assert [countdown(seconds) for seconds in (3600, 59, -1)] == ["1:00:00", "0:59", "past"]


def test_today_begins_at_midnight() -> None:
    assert "Earned 0 SOL today, 1.8 SOL in all" in painted(busy(), now=NOW + 86_400)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (20, 10), (200, 60), (80, 8)])
def test_it_fits(width: int, height: int) -> None:
    state = busy()
    for number in range(40):
        state.apply(Trouble(number, "The RPC endpoint did not answer. Retrying in 60 seconds. " * 3), NOW)
    text = painted(state, width=width, height=height)
    if height >= 24:
        assert len(text.splitlines()) < height


@pytest.mark.parametrize(("width", "height", "shown"), [(80, 24, 9), (40, 24, 5), (200, 60, 40), (80, 8, 1)])
def test_the_newest_rounds_are_shown_if_not_all_fit(width: int, height: int, shown: int) -> None:
    state = busy()
    for number in range(100, 139):
        state.apply(Changed(replace(ROW, round_id=number, state=State.WAITING, reason="joined")), NOW)
    lines = painted(state, width=width, height=height).splitlines()
    rounds = [line.split()[0] for line in lines if "waiting" in line and "Round" not in line]
    assert rounds == [str(number) for number in range(100, 139)][-shown:]
    more = [line for line in lines if line.startswith("and ")]
    assert more == ([] if shown == 40 else [f"and {40 - shown} more"])
    if height >= 24:
        assert len(lines) < height
        assert any("Earned" in line for line in lines[-2:])


def test_a_round_that_is_over_leaves_the_table() -> None:
    state = busy()
    state.apply(Changed(replace(ROW, state=State.PUBLISHING, update_cid="bafyupdate", update_size=10)), NOW)
    state.apply(Uploading(12, "pinata", 25, 100), NOW)
    assert "25 % uploaded" in painted(state)
    state.apply(Changed(replace(ROW, state=State.CLAIMED, claimed_lamports=9 * 10**8)), NOW)
    assert "No round is active." in painted(state)
    assert "Round 12: claimed 0.9 SOL." in painted(state)


def test_a_late_message_of_an_ended_round_changes_nothing() -> None:
    state = state_after(Training(3, "fit", 0, 1, 2, 0.1, None), Looked(3, 1, 1, 5), Uploading(3, "x", 1, 2))
    assert state.rounds == {}


def test_what_a_training_has_to_say_is_an_event() -> None:
    note = "Stopped after 10 of 20 steps to meet the round's deadline."
    state = state_after(Changed(ROW), Training(12, "fit", 0, 10, 20, 1.0, None, note))
    assert f"12:00:00  Round 12: {note}" in painted(state, width=100)


def test_words_from_outside_are_no_markup() -> None:
    state = state_after(Skipped(1, "[red]no[/red]"), Changed(replace(ROW, state=State.WAITING, reason="[/] wait")))
    text = painted(state)
    assert "[red]no[/red]" in text
    assert "[/] wait" in text


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with console.capture() as capture:
        console.print(picture(state_after(Trouble(1, "x")), NOW, width=80, height=24))
    assert "\x1b[33m" not in capture.get()


def test_what_was_shown_last_stays(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=sys.stdout, width=80, height=24, force_terminal=True, no_color=True)
    with LiveReporter(FACTS, console=console, now=lambda: NOW) as reporter:
        reporter.report(Connected(WALLET, 10**9))
        reporter.stopping("Stopping. The training of round 12 is cut off at a checkpoint.")
    text = capsys.readouterr().out
    assert "FfMY…78HS holds 1 SOL" in text
    assert "The training of round 12 is cut off at a checkpoint." in text


def test_lines_bear_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter(plain=True, stamps=True) as reporter:
        reporter.report(Connected(WALLET, 10**9))
        reporter.report(Looked(1, None, 0, 5))
        reporter.report(Earnings(1, 2, 3))
        reporter.report(Training(1, "fit", 0, 1, 2, 0.5, None))
        reporter.report(Skipped(4, "it is too late"))
    lines = capsys.readouterr().out.splitlines()
    assert [line[26:] for line in lines] == [
        f"Wallet {WALLET} holds 1 SOL. Looking for rounds…",
        "Round 4: not joined, it is too late.",
    ]
    assert all(line[4] == line[7] == "-" and line[13] == line[16] == ":" for line in lines)


def test_a_log_shows_the_accuracy_of_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    """At most twice a minute, regardless of the length of an epoch."""
    at = 0.0
    with TerminalReporter(plain=True, stamps=True, now=lambda: at) as reporter:
        for epoch in range(4):
            reporter.report(Training(1, "fit", epoch, 10 * epoch + 10, 40, 0.5, None))
            reporter.report(Training(1, "evaluate", 0, 0, 0, None, 0.25 * epoch))
            at += 20.0
    lines = [line[26:] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Round 1: epoch 1, loss 0.500, accuracy 0.0 %.", "Round 1: epoch 3, loss 0.500, accuracy 50.0 %."]


SCRIPT = """
import sys
from decloud_pl.cli.ui.live import LiveReporter
from decloud_pl.rounds.events import Connected
with LiveReporter({}) as reporter:
    reporter.report(Connected("WALLET", 10**9))
    print("a library talks", file=sys.stderr)
"""


def test_on_a_real_terminal(tmp_path: Path) -> None:
    """Output of other code appears above the view and does not damage it."""
    script = tmp_path / "live.py"
    script.write_text(SCRIPT)
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen([sys.executable, str(script)], stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 65_536)
            except OSError:
                break
    os.close(ours)
    assert process.returncode == 0
    assert b"a library talks" in text
    assert text.rindex(b"decloud-trainer") > text.rindex(b"a library talks")
