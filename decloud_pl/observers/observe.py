"""Assembles the observers of a running daemon: activity file, reports, earnings, notifications and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from decloud_pl.chain.endpoints import RpcHealth
from decloud_pl.config.schema import MetricsConfig, NotifyConfig
from decloud_pl.errors import JournalError
from decloud_pl.executors.shares import visible_gpus
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader, midnight
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.observers.activity import ACTIVITY_FILE, Activity
from decloud_pl.observers.metrics_server import metrics_server
from decloud_pl.observers.notify import notifying
from decloud_pl.observers.reports import REPORTS_FOLDER, ReportWriter
from decloud_pl.rounds.events import Changed, DaemonEvent, Earnings, Reporter
from decloud_pl.train.fit.hardware import cpu_has_bf16

_HEARTBEAT_SECONDS = 5.0
_AFTER_A_FEE = (State.WAITING, State.SUBMITTED)
"""The states, besides the final ones, that follow a confirmed transaction."""


class Observers:
    """A `Reporter` that passes every event to several reporters, in order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def report(self, event: DaemonEvent) -> None:
        for reporter in self._reporters:
            reporter.report(event)


class EarningsReporter:
    """A `Reporter` that reports the total earnings and costs to another reporter after events that may change them."""

    def __init__(self, path: Path, owner: Owner, to: Reporter) -> None:
        self._path = path
        self._owner = owner
        self._to = to

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Changed) and (event.record.state.is_final or event.record.state in _AFTER_A_FEE):
            self.tell()

    def tell(self) -> None:
        with contextlib.suppress(JournalError), JournalReader(self._path, self._owner) as journal:
            today = journal.earned_since(midnight(time.time()))
            self._to.report(Earnings(today, journal.earned_since(0), journal.spent_since(0)))


@asynccontextmanager
async def observed(
    home: Path,
    owner: Owner,
    health: RpcHealth,
    reporter: Reporter,
    *,
    facts: Mapping[str, str],
    settings: Mapping[str, Any],
    notify: NotifyConfig,
    notify_urls: str | None,
    metrics: MetricsConfig,
) -> AsyncIterator[Reporter]:
    """Yield the daemon's reporter. It passes every event to ``reporter`` and to all other observers.

    Args:
        home: the daemon's home folder.
        owner: the owner of the rounds.
        health: the state of the RPC endpoints.
        reporter: receives every event, and the wallet's earnings when they change.
        facts: information about this run that the dashboard shows.
        settings: the settings to write into the reports, without secrets.
        notify: which events send a notification.
        notify_urls: the addresses for notifications; None for no notifications.
        metrics: host and port of the metrics server.

    Raises:
        ConfigError: the metrics server cannot listen on its port, or notifications are set up incorrectly.
    """
    async with AsyncExitStack() as stack:
        activity = Activity(home / ACTIVITY_FILE, owner=owner, facts=facts, health=health)
        stack.callback(activity.close)
        reports = ReportWriter(home / REPORTS_FOLDER / owner.folder, settings)
        stack.push_async_callback(reports.aclose)
        notifier = await stack.enter_async_context(notifying(notify, notify_urls, health))
        earnings = EarningsReporter(home / JOURNAL_FILE, owner, reporter)
        if metrics.port:
            await stack.enter_async_context(metrics_server(home, owner, metrics, refresh=activity.heartbeat))
        stack.push_async_callback(_cancel, asyncio.create_task(_heartbeats(activity)))
        earnings.tell()
        yield Observers([activity, reports, *notifier, reporter, earnings])


def device(trainer: Mapping[str, Any]) -> str:
    """Return the device that the node ``trainer`` selects, such as ``2 GPUs``. Torch is not imported."""
    accelerator = str(trainer.get("accelerator", "auto"))
    gpus = visible_gpus(os.environ)
    if accelerator in ("auto", "gpu", "cuda") and gpus:
        return f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
    return "CPU" if accelerator in ("auto", "cpu") else accelerator


def precision(trainer: Mapping[str, Any]) -> str:
    """Return the precision of trainings.

    On a CPU, resolve ``auto`` if the processor's instructions are known. Otherwise return ``auto`` unchanged; on a GPU,
    its meaning depends on the driver.
    """
    wanted = str(trainer.get("precision", "32-true"))
    if wanted != "auto" or device(trainer) != "CPU":
        return wanted
    has_bf16 = cpu_has_bf16()
    return wanted if has_bf16 is None else "bf16-mixed" if has_bf16 else "32-true"


async def _heartbeats(activity: Activity) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(_HEARTBEAT_SECONDS)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
