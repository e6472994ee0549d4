"""Find out in the background by which conventions validators read updates, from completed rounds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decloud_pl.chain.client import ChainClient
from decloud_pl.data.catalog import Catalog
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import (
    DatasetError,
    DecloudError,
    IntegrityError,
    JournalError,
    MachineShortage,
    SizeLimitExceeded,
    StoreError,
    TrainingError,
)
from decloud_pl.journal.findings import Reading, readings, store_reading
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Noted, Reporter, Trouble
from decloud_pl.rounds.evidence import Evidence, look
from decloud_pl.rounds.policy import DAY_SECONDS
from decloud_pl.shortage import shortage
from decloud_pl.store.fetch.fetcher import NEVER, Fetched, Fetcher

logger = logging.getLogger(__name__)

_LOOKED_THROUGH = 1000
"""The number of latest rounds to search, of any status."""
_LOOKED_AT_ONCE = 16
"""The most completed rounds to score in one daily search."""
_PER_VALIDATOR = 4
"""After this many inconclusive rounds of a validator, its older rounds are not scored."""
_MOST_BYTES = 512 << 20
"""The download limit per day."""
_FILE_SHARE = 4
"""One file may use at most 1/4 of the remaining bytes, so that a file that is too large leaves enough for others."""
_MOST_SECONDS = 1800.0


class Evidences:
    """Scores completed rounds in the background to find their validators' conventions. It scores each round once.

    Args:
        chain: the network.
        reader: downloads files by CID.
        catalog: finds the data sets. A round waits while its data set is not on this machine.
        journal: stores the results.
        reporter: receives an event for each new result.
        gradient_rate: η of the ``gradient`` convention.
        max_bytes: the limit of one download.
    """

    def __init__(
        self,
        chain: ChainClient,
        reader: Fetcher,
        catalog: Callable[[], Catalog],
        journal: Journal,
        reporter: Reporter,
        *,
        gradient_rate: float,
        max_bytes: int,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._catalog = catalog
        self._journal = journal
        self._reporter = reporter
        self._rate = gradient_rate
        self._max_bytes = max_bytes
        self._asked: asyncio.Queue[int] = asyncio.Queue()
        self._budget = _Budget(_MOST_BYTES)
        # Rounds that could not be scored. The daemon retries them on another day.
        self._later: set[int] = set()

    def ask(self, round_id: int) -> None:
        """Request the scoring of a round that has just been completed."""
        self._asked.put_nowait(round_id)

    async def gather(self) -> None:
        """Score the latest completed rounds once a day, and each round passed to `ask`, until cancelled.

        Raises:
            JournalError: the journal cannot be written.
        """
        while True:
            self._budget.left = _MOST_BYTES
            self._later.clear()
            await self._quietly(self._look_back)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DAY_SECONDS):
                    await self._look_at_asked()

    async def _look_at_asked(self) -> None:
        while True:
            await self._quietly(partial(self._look_at, await self._asked.get()))

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` with a time limit. Report its failures and continue: these results can wait for another day.

        Raises:
            JournalError: the journal cannot be written.
        """
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                await work()
        except JournalError:
            raise
        except TimeoutError:
            self._ended_early(f"it took longer than {_MOST_SECONDS / 60:.0f} min.")
        except DecloudError as error:
            self._ended_early(str(error))
        except OSError as error:
            self._ended_early(str(shortage(error) or f"{error.strerror or error}."))
        except Exception as error:  # a failure of this background work must not end a daemon that earns
            logger.exception("Internal error during the search of completed rounds")
            self._ended_early(f"internal error ({type(error).__name__}); see logs/daemon.log and please report it.")

    def _ended_early(self, why: str) -> None:
        message = f"The search of completed rounds for validators' conventions stopped: {why} It resumes within a day."
        self._reporter.report(Noted(None, message))

    async def _look_back(self) -> None:
        known = {reading.round_id: reading for reading in readings(self._journal)}
        inconclusive: dict[str, int] = {}
        decided: set[str] = set()
        wanted = 0
        async for round_ in self._chain.latest_rounds(_LOOKED_THROUGH):
            if round_.status is not RoundStatus.COMPLETED:
                continue
            validator = str(round_.validator)
            if validator in decided or inconclusive.get(validator, 0) >= _PER_VALIDATOR:
                continue
            reading = known.get(round_.id)
            if reading is None:
                if wanted >= _LOOKED_AT_ONCE:
                    break
                wanted += 1
                reading = await self._look(round_)
            if reading is not None and reading.convention is not None:
                decided.add(validator)
            else:
                inconclusive[validator] = inconclusive.get(validator, 0) + 1

    async def _look_at(self, round_id: int) -> None:
        round_ = await self._chain.round(round_id)
        known = {reading.round_id for reading in readings(self._journal)}
        if round_ is not None and round_.status is RoundStatus.COMPLETED and round_id not in known:
            await self._look(round_)

    async def _look(self, round_: Round) -> Reading | None:
        """Score a round and store the result in the journal; return None if a later attempt may succeed."""
        if round_.id in self._later or self._budget.left <= 0:
            return None
        self._later.add(round_.id)  # before the scoring, so that a cancelled one also waits
        reader = _Metered(self._reader, self._budget)
        try:
            with tempfile.TemporaryDirectory(prefix="decloud-evidence-") as folder:
                evidence = await look(
                    self._chain,
                    reader,
                    self._catalog(),
                    Path(folder),
                    round_,
                    gradient_rate=self._rate,
                    max_bytes=self._max_bytes,
                    background=True,
                )
        except TimeoutError:
            return None  # another day may bring more time
        except (StoreError, DatasetError, MachineShortage, OSError) as error:
            missing, then = shortage(error), "Its updates were not scored. Retrying on another day."
            if missing is not None:
                self._reporter.report(Trouble.then(round_.id, missing, then))
            elif isinstance(error, OSError):
                self._reporter.report(Noted(round_.id, f"{error} {then}"))
            return None  # another day may bring the files
        except TrainingError as error:
            reading = Reading(round_.id, str(round_.validator), None, error.message)
        else:
            reading = Reading(round_.id, evidence.validator, evidence.convention, _note(evidence))
        before = [one.convention for one in readings(self._journal, reading.validator) if one.convention is not None]
        store_reading(self._journal, reading)
        if reading.convention is not None and before[:1] != [reading.convention]:
            now = f"Validator {reading.validator} reads updates as {reading.convention}"
            self._reporter.report(Noted(reading.round_id, f"{now}: {reading.note}."))
        return reading


def _note(evidence: Evidence) -> str:
    delta, gradient = evidence.missed["delta"], evidence.missed["gradient"]
    return f"its shares differ from delta's prediction by {delta:.0%} of the pool, from gradient's by {gradient:.0%}"


@dataclass
class _Budget:
    left: int


@dataclass(frozen=True)
class _Metered:
    """A fetcher that shares a limit on the total number of bytes."""

    inner: Fetcher
    budget: _Budget

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        most = max(1, min(max_bytes, self.budget.left // _FILE_SHARE))
        try:
            fetched = self.inner.fetch(cid, destination, max_bytes=most, cancel=cancel)
        except (SizeLimitExceeded, IntegrityError):
            self.budget.left -= most  # the failed download may have transferred this many bytes
            raise
        self.budget.left -= fetched.size
        return fetched
