"""Publish the update of a round, and make sure before its submission that the store still has it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from decloud_pl.domain import PinnedUpdate, Update
from decloud_pl.errors import StoreError
from decloud_pl.journal.record import RoundRecord
from decloud_pl.journal.uploads import JournalUploadLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Noted, Reporter, Uploading
from decloud_pl.store.publish import StorePublisher
from decloud_pl.store.upload import time_limit

_LOOK_AFTER = 300.0
"""Seconds since the publication after which `Publication.renew` asks the store whether it still has the update."""
_LOOK_SHARE, _MOST_TO_LOOK = 0.125, 60.0
"""The share of the time until the deadline, and the most seconds, that this may take with another upload."""


@dataclass(frozen=True)
class Publication:
    """Publishes updates with a `StorePublisher`, and keeps the state of each upload in the journal."""

    publisher: StorePublisher
    journal: Journal
    reporter: Reporter
    monotonic: Callable[[], float]
    # By round: when its update was last known to be published, on the monotonic clock.
    _published: dict[int, float] = field(default_factory=dict)

    async def publish(self, round_id: int, update: Update, folder: Path, *, seconds_left: float) -> PinnedUpdate:
        """Pin an update at a store within the given time. ``folder`` is the round's folder.

        Raises:
            StoreError: see `StorePublisher.pin`.
        """
        loop = asyncio.get_running_loop()

        def progress(store: str, sent: int, total: int) -> None:
            loop.call_soon_threadsafe(self.reporter.report, Uploading(round_id, store, sent, total))

        async with time_limit(seconds_left, "No store published the update"):
            pinned = await self.publisher.pin(
                update,
                log=JournalUploadLog(self.journal, round_id),
                scratch=_scratch(folder),
                progress=progress,
                seconds_left=seconds_left,
            )
        self._published[round_id] = self.monotonic()
        return pinned

    async def renew(self, record: RoundRecord, update: Update, folder: Path, *, seconds_left: float) -> None:
        """Upload an update that was published some time ago again if its store has lost it.

        A failure is only reported: it must not prevent the submission, and the CID stays the same.
        """
        now = self.monotonic()
        if record.pinned_cid is None or now - self._published.get(record.round_id, -math.inf) < _LOOK_AFTER:
            return
        self._published[record.round_id] = now
        try:
            async with time_limit(min(_MOST_TO_LOOK, _LOOK_SHARE * max(0, seconds_left)), "The store did not answer"):
                await self.publisher.renew(
                    update,
                    record.pinned_cid,
                    record.pinned_provider or "",
                    log=JournalUploadLog(self.journal, record.round_id),
                    scratch=_scratch(folder),
                )
        except StoreError as error:
            self.reporter.report(Noted(record.round_id, f"{error.message} The update is submitted nevertheless."))

    def forget(self, round_id: int) -> None:
        """Forget a round that is over."""
        self._published.pop(round_id, None)


def _scratch(folder: Path) -> Path:
    return folder / "read-back"
