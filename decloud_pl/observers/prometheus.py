"""Read Prometheus metrics from the journal and the activity file. This also works while no daemon runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from decloud_pl import __version__
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.legible import legible
from decloud_pl.observers.activity_reader import ActivityReader
from decloud_pl.observers.reports import METRICS_FILE, REPORTS_FOLDER, read_metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SILENT_AFTER = 300.0
"""Seconds without an answer from the chain after which a daemon is unhealthy: five of its slowest polls."""


class TrainerCollector(Collector):
    """Collects the metrics from the journal and the activity file at every scrape.

    Args:
        home: the daemon's home folder.
        owner: the owner of the rounds; None for the owner whose rounds changed last.
    """

    def __init__(self, home: Path, owner: Owner | None) -> None:
        self._home = home
        self._owner = owner

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics.

        Raises:
            JournalError: the journal cannot be read.
        """
        with (
            JournalReader(self._home / JOURNAL_FILE, self._owner) as journal,
            ActivityReader(self._home, journal.owner) as activity,
        ):
            yield _gauge("decloud_build_info", "The program's version.", {__version__: 1}, "version")
            yield from self._rounds(journal, activity)
            yield from self._daemon(activity)
            yield from self._trainings(journal)

    def _rounds(self, journal: JournalReader, activity: ActivityReader) -> Iterator[Metric]:
        counts = journal.state_counts()
        known = {state.value: counts.get(state, 0) for state in State}
        yield _gauge("decloud_rounds", "Rounds by their state in this trainer.", known, "state")
        earned, spent = journal.earned_since(0), journal.spent_since(0)
        yield CounterMetricFamily("decloud_earned_lamports", "Lamports claimed as rewards.", value=earned)
        yield CounterMetricFamily("decloud_spent_lamports", "Lamports spent on fees and deposits.", value=spent)
        skipped = dict(activity.skip_reasons())
        help_text = "Rounds that were not joined, by the most frequent reasons. `other` counts the rest."
        yield _gauge("decloud_skipped_rounds", help_text, skipped, "reason")

    def _daemon(self, activity: ActivityReader) -> Iterator[Metric]:
        now = time.time()
        status = activity.daemon(now)
        yield GaugeMetricFamily("decloud_up", "Whether the daemon runs.", value=bool(status and status.alive))
        if status is None:
            return
        if "convention" in status.facts:
            reading = {status.facts["convention"]: 1}
            yield _gauge("decloud_convention_info", "The convention for updates.", reading, "convention")
        if status.heard_at is not None:
            yield GaugeMetricFamily(
                "decloud_chain_silence_seconds",
                "Seconds since the last answer from the chain.",
                value=max(0.0, now - status.heard_at),
            )
        if status.balance is not None:
            yield GaugeMetricFamily("decloud_wallet_lamports", "Lamports in the wallet.", value=status.balance)
        yield CounterMetricFamily("decloud_rpc_requests", "Requests to RPC endpoints.", value=status.rpc_requests)
        yield CounterMetricFamily(
            "decloud_rpc_errors", "Requests to RPC endpoints without a usable answer.", value=status.rpc_errors
        )
        yield CounterMetricFamily(
            "decloud_publish_failures", "Failed attempts to publish an update.", value=status.publish_failures
        )

    def _trainings(self, journal: JournalReader) -> Iterator[Metric]:
        progress: dict[str, float] = {}
        losses: dict[str, float] = {}
        if journal.owner is not None:
            folder = self._home / REPORTS_FOLDER / journal.owner.folder
            for record in journal.rounds(states=[State.TRAINING]):
                steps = [m for m in read_metrics(folder / str(record.round_id) / METRICS_FILE) if m.stage == "fit"]
                if steps and steps[-1].total_steps:
                    label = str(record.round_id)
                    progress[label] = steps[-1].step / steps[-1].total_steps
                    if steps[-1].loss is not None:
                        losses[label] = steps[-1].loss
        help_text = "Completed fraction of a training, 0 to 1."
        yield _gauge("decloud_training_progress_ratio", help_text, progress, "round")
        yield _gauge("decloud_training_loss", "Loss of a training's last step.", losses, "round")


def exposition(home: Path, owner: Owner | None = None) -> bytes:
    """Return the page that Prometheus scrapes.

    Raises:
        JournalError: the journal cannot be read.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TrainerCollector(home, owner))
    return generate_latest(registry)


def health(home: Path, owner: Owner | None = None) -> dict[str, Any]:
    """Return the state of the trainer for ``/healthz``. ``ok`` means that the daemon runs and the chain answers.

    Raises:
        JournalError: the journal cannot be read.
    """
    with JournalReader(home / JOURNAL_FILE, owner) as journal, ActivityReader(home, journal.owner) as activity:
        now = time.time()
        status = activity.daemon(now)
        silence = None if status is None or status.heard_at is None else max(0.0, now - status.heard_at)
        return {
            "ok": bool(status and status.alive and silence is not None and silence < _SILENT_AFTER),
            "daemon_running": bool(status and status.alive),
            "chain_silence_seconds": None if silence is None else round(silence, 1),
            "rounds": journal.state_counts(),
            "earned_lamports": journal.earned_since(0),
            "spent_lamports": journal.spent_since(0),
            "rpc_requests": status.rpc_requests if status else 0,
            "rpc_errors": status.rpc_errors if status else 0,
            "publish_failures": status.publish_failures if status else 0,
        }


def _gauge(name: str, text: str, values: Mapping[str, float], label: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    shown: dict[str, float] = {}
    for labelled, value in values.items():
        # Merge values whose labels look the same: Prometheus rejects a page with a duplicate label.
        shown[legible(labelled)] = shown.get(legible(labelled), 0) + value
    for labelled, value in shown.items():
        family.add_metric([labelled], value)
    return family
