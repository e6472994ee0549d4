"""Print the daemon's events as lines for users."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from math import inf
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from decloud_pl.cli.ui.terminal import make_console
from decloud_pl.domain import format_sol
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.legible import legible
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Noted, Skipped, Training, Trouble, Uploading

_EPOCH_SECONDS = 30.0


class TerminalReporter:
    """Prints each event as a line, and on a terminal a progress bar while a round trains.

    Args:
        stderr: print to stderr, because stdout is for a JSON document.
        plain: print neither bars nor colours, even on a terminal.
        stamps: begin each line with the local time, and print the loss and accuracy of epochs.
        now: returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        plain: bool = False,
        stamps: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = make_console(stderr=stderr, plain=plain)
        self._stamps = stamps
        self.progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._bars: dict[int, TaskID] = {}
        self._last: dict[int, tuple[State, str]] = {}
        self._now = now
        self._epochs: dict[int, Training] = {}
        self._epoch_said: dict[int, float] = {}

    def __enter__(self) -> TerminalReporter:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Connected):
            self.say(f"Wallet {event.wallet} holds {format_sol(event.balance)}. Looking for rounds…")
        elif isinstance(event, Skipped):
            self.say(f"Round {event.round_id}: not joined, {event.reason}.", style="dim")
        elif isinstance(event, Training):
            self._train(event)
        elif isinstance(event, Uploading):
            self._upload(event)
        elif isinstance(event, (Noted, Trouble)):
            where = "" if event.round_id is None else f"Round {event.round_id}: "
            self.say(f"{where}{event.message}", style="yellow" if isinstance(event, Trouble) else None)
        elif isinstance(event, Changed):
            self._change(event)

    def stopping(self, words: str) -> None:
        """Print a sentence about what the daemon still does before it stops."""
        self.say(words)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line. Failing output, for example on a full disk, must not stop the daemon."""
        if self._stamps:
            text = f"{datetime.now().astimezone().isoformat(sep=' ', timespec='seconds')} {text}"
        with contextlib.suppress(OSError):
            self.console.print(legible(text), style=style, markup=False)

    def _change(self, event: Changed) -> None:
        record = event.record
        for line in lines_of(record, self._last.get(record.round_id)):
            self.say(line)
        self._last[record.round_id] = (record.state, record.reason)
        uploading = record.state is State.PUBLISHING and record.pinned_cid is None
        if not uploading and (record.state is not State.TRAINING or record.update_cid is not None):
            self._drop_bar(record.round_id)

    def _train(self, event: Training) -> None:
        if event.note:
            self.say(f"Round {event.round_id}: {event.note}")
        if event.stage == "evaluate":
            self._say_epoch(event)
        if event.stage != "fit" or not event.total_steps:
            return
        self._epochs[event.round_id] = event
        bar = self._bars.get(event.round_id)
        if bar is None:
            bar = self.progress.add_task(
                f"Round {event.round_id}: training", total=event.total_steps, loss="", unit="steps"
            )
            self._bars[event.round_id] = bar
        loss = "" if event.loss is None else f"loss {event.loss:.3f}"
        self.progress.update(bar, completed=event.step, total=event.total_steps, loss=loss)

    def _say_epoch(self, event: Training) -> None:
        """With ``stamps``, print an epoch's loss and accuracy, for each round at most once per `_EPOCH_SECONDS`."""
        fit, now = self._epochs.get(event.round_id), self._now()
        if not self._stamps or fit is None or now < self._epoch_said.get(event.round_id, -inf) + _EPOCH_SECONDS:
            return
        self._epoch_said[event.round_id] = now
        loss = "" if fit.loss is None else f", loss {fit.loss:.3f}"
        accuracy = "" if event.accuracy is None else f", accuracy {event.accuracy * 100:.1f} %"
        self.say(f"Round {event.round_id}: epoch {fit.epoch + 1}{loss}{accuracy}.")

    def _upload(self, event: Uploading) -> None:
        bar = self._bars.get(event.round_id)
        if bar is None:
            title = f"Round {event.round_id}: pinning with {event.store}"
            bar = self.progress.add_task(title, total=event.total, loss="", unit="bytes")
            self._bars[event.round_id] = bar
        self.progress.update(bar, completed=event.sent, total=event.total)

    def _drop_bar(self, round_id: int) -> None:
        self._epochs.pop(round_id, None)
        self._epoch_said.pop(round_id, None)
        bar = self._bars.pop(round_id, None)
        if bar is not None:
            self.progress.remove_task(bar)


def lines_of(record: RoundRecord, before: tuple[State, str] | None) -> list[str]:
    """Return the lines to print for a changed record; ``before`` is the state and reason that were printed last."""
    name = f"Round {record.round_id}"
    data = record.dataset
    if record.resolved_dataset != data:
        data = f"{data} (training on {record.resolved_dataset})"
    said_before = before is not None and before[0] is record.state
    if record.state is State.JOINING and not said_before:
        return [f"{name}: reward {format_sol(record.reward_amount)}, data set {data}. Joining…"]
    if record.state is State.WAITING and not said_before:
        signature = f" Signature {record.join_signature}." if record.join_signature else ""
        return [f"{name}: joined.{signature} Waiting for the validator to start the training…"]
    if record.state is State.TRAINING:
        return _training_lines(name, record, said_before=said_before)
    if record.state is State.WITHHELD:
        force = f"To submit it anyway, run `decloud-trainer train {record.round_id} --force`"
        return [f"{name}: withheld, {record.reason}. {force}."]
    if record.state is State.PUBLISHING:
        if record.pinned_cid:
            return [f"{name}: update {record.pinned_cid} is pinned and was read back. Submitting…"]
        return [] if said_before else [f"{name}: pinning the update ({record.update_size or 0:,} bytes)…"]
    if record.state is State.READY and not said_before:
        return [f"{name}: {record.reason}."]
    if record.state is State.SUBMITTED and not said_before:
        signature = f" Signature {record.submit_signature}." if record.submit_signature else ""
        return [f"{name}: submitted.{signature} Waiting for the validator's scores…"]
    if record.state is State.CLAIMING and not said_before:
        share = (record.contribution_bps or 0) / 100
        return [f"{name}: scored, share {share:g} %. Claiming {format_sol(record.claimed_lamports or 0)}…"]
    if record.state is State.CLAIMED:
        signature = f" Signature {record.claim_signature}." if record.claim_signature else ""
        return [f"{name}: claimed {format_sol(record.claimed_lamports or 0)}.{signature}"]
    if record.state.is_final:
        return [f"{name}: {record.state.value}, {record.reason}."]
    return []


def _training_lines(name: str, record: RoundRecord, *, said_before: bool) -> list[str]:
    if record.update_cid is None:
        return [] if said_before else [f"{name}: training…"]
    before, after = record.accuracy_before, record.accuracy_after
    if record.train_seconds is None:
        return []
    gain = "accuracy not measured"
    if before is not None and after is not None:
        gain = f"held-out accuracy {before * 100:.1f} % before, {after * 100:.1f} % after"
    return [f"{name}: trained in {record.train_seconds:.1f} s, {gain}."]
