"""The report folder of each trained round, with metrics, settings, notes and curves.

::

    reports/<network, program and wallet>/<round>/
        metrics.csv     one line per message of the worker with a measurement, appended during the training
        config.json     the settings of the training, without secrets
        notes.txt       the notes of the worker, each with its time
        curves.png      loss and accuracy; a child process plots them, so the daemon imports no plotting library
"""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from decloud_pl.children import output_of
from decloud_pl.durable import make_private, private, write_atomically
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Changed, DaemonEvent, Noted, Training
from decloud_pl.shortage import killed, shortage

logger = logging.getLogger(__name__)

REPORTS_FOLDER = "reports"
METRICS_FILE = "metrics.csv"
CONFIG_FILE = "config.json"
CURVES_FILE = "curves.png"
NOTES_FILE = "notes.txt"
COLUMNS = ("time", "stage", "epoch", "step", "total_steps", "loss", "accuracy")
_LONGEST_DRAWING = 60.0
_LONGEST_LINE = 1000
"""The most characters of a line of ``metrics.csv``. Python's reader of CSV raises an error for a very long field."""
_MOST_STEPS = 2**53


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """One line of ``metrics.csv``. ``time`` is in Unix seconds, steps are optimizer steps, ``accuracy`` is 0 to 1."""

    time: float
    stage: str
    epoch: int
    step: int
    total_steps: int
    loss: float | None
    accuracy: float | None


class ReportWriter:
    """A `Reporter` that writes the report folders. A failed write is logged once and does not stop the daemon.

    Args:
        folder: the folder for the reports of one `Owner`.
        config: the settings without secrets.
        now: returns Unix seconds.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._config = config
        self._now = now
        self._files: dict[int, TextIO] = {}
        self._drawings: set[asyncio.Task[None]] = set()
        self._has_warned = False

    def report(self, event: DaemonEvent) -> None:
        try:
            if isinstance(event, Training):
                self._append(event)
            elif isinstance(event, Noted) and event.round_id is not None:
                self._note(event.round_id, event.message)
            elif isinstance(event, Changed):
                self._change(event)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning("Reports cannot be written to %s: %s", self._folder, error.strerror)

    async def aclose(self) -> None:
        """Close the files and wait for the running plots."""
        for round_id in list(self._files):
            self._close(round_id)
        if self._drawings:
            await asyncio.gather(*self._drawings, return_exceptions=True)

    def _append(self, event: Training) -> None:
        file = self._files.get(event.round_id)
        if file is None:
            file = self._files[event.round_id] = self._open(event.round_id)
        # A message with only a note or a stage has no line.
        if event.step or event.loss is not None or event.accuracy is not None:
            loss, accuracy = (None if value is None else f"{value:.6g}" for value in (event.loss, event.accuracy))
            row = (f"{self._now():.3f}", event.stage, event.epoch, event.step, event.total_steps, loss, accuracy)
            csv.writer(file, lineterminator="\n").writerow(row)
            file.flush()  # the dashboard reads the file during the training
        if event.note:
            self._note(event.round_id, event.note)

    def _note(self, round_id: int, note: str) -> None:
        folder = self._folder / str(round_id)
        make_private(folder)
        at = datetime.fromtimestamp(self._now(), tz=UTC).isoformat(timespec="seconds")
        with open(folder / NOTES_FILE, "a", encoding="utf-8", opener=private) as notes:
            notes.write(f"{at} {note}\n")

    def _open(self, round_id: int) -> TextIO:
        folder = self._folder / str(round_id)
        make_private(folder)
        write_atomically(folder / CONFIG_FILE, (json.dumps(self._config, indent=2, ensure_ascii=False) + "\n").encode())
        file = open(folder / METRICS_FILE, "a", encoding="utf-8", newline="", opener=private)  # noqa: SIM115
        if file.tell() == 0:
            file.write(",".join(COLUMNS) + "\n")
        return file

    def _change(self, event: Changed) -> None:
        record = event.record
        trained = record.state is State.TRAINING and record.update_cid is not None
        if (trained or record.state.is_final) and record.round_id in self._files:
            self._close(record.round_id)
            task = asyncio.get_running_loop().create_task(draw_curves(self._folder / str(record.round_id)))
            self._drawings.add(task)
            task.add_done_callback(self._drawings.discard)

    def _close(self, round_id: int) -> None:
        file = self._files.pop(round_id)
        try:
            file.close()
        except OSError as error:
            logger.warning("The last metrics of round %d could not be written: %s", round_id, error.strerror)


async def draw_curves(folder: Path) -> None:
    """Plot ``curves.png`` of a report folder in a child process. A failure is logged."""
    command = (sys.executable, "-m", "decloud_pl.observers.plots", str(folder))
    try:
        output = await output_of(command, seconds=_LONGEST_DRAWING)
    except TimeoutError:
        logger.warning("%s could not be plotted within %.0f s", folder / CURVES_FILE, _LONGEST_DRAWING)
    except OSError as error:
        logger.warning("%s could not be plotted: %s", folder / CURVES_FILE, shortage(error) or error.strerror)
    else:
        if output.code != 0:
            outside = killed("The plotting process", output.code)
            logger.warning("%s could not be plotted: %s", folder / CURVES_FILE, outside or output.last_line)


def read_metrics(path: Path) -> list[MetricsRow]:
    """Return the lines of a ``metrics.csv``; an empty list if the file does not exist.

    An interrupted training resumes from its checkpoint and repeats some steps. Of a repeated step, only the latest line
    is returned. Lines that are incomplete or malformed are ignored, and so are lines of a fit before its first step.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    kept: list[MetricsRow] = []
    reached = 0
    lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if len(line) <= _LONGEST_LINE]
    for line in csv.DictReader(lines, quoting=csv.QUOTE_NONE):  # so that a stray quote affects only its own line
        metric = _metric(line)
        if metric is None:
            continue
        if metric.stage == "fit":
            if not metric.step:
                continue
            if metric.step <= reached:
                cut = next(index for index, row in enumerate(kept) if row.stage == "fit" and row.step >= metric.step)
                kept[cut:] = [row for row in kept[cut:] if row.stage == "baseline"]
            reached = metric.step
        kept.append(metric)
    return kept


def _metric(row: Mapping[str, str | None]) -> MetricsRow | None:
    try:
        metric = MetricsRow(
            float(row["time"] or ""),
            str(row["stage"]),
            int(row["epoch"] or 0),
            int(row["step"] or 0),
            int(row["total_steps"] or 0),
            float(row["loss"]) if row["loss"] else None,
            float(row["accuracy"]) if row["accuracy"] else None,
        )
    except (KeyError, ValueError, TypeError):
        return None
    counts = (metric.epoch, metric.step, metric.total_steps)
    return metric if all(0 <= count <= _MOST_STEPS for count in counts) else None
