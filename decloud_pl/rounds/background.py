"""Background work that scores completed rounds: once a day, and when a round is completed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from decloud_pl.chain.refusals import LASTING
from decloud_pl.errors import DecloudError, IntegrityError, JournalError, RpcRejected, SizeLimitExceeded
from decloud_pl.rounds.events import Noted, Reporter
from decloud_pl.rounds.policy import DAY_SECONDS
from decloud_pl.shortage import shortage
from decloud_pl.store.fetch.fetcher import FROM_CACHE, NEVER, Fetched, Fetcher

logger = logging.getLogger(__name__)

MOST_BYTES = 512 << 20
"""The download limit per day."""
_FILE_SHARE = 4
"""One file may use at most 1/4 of the remaining bytes, so that a file that is too large leaves enough for others."""
_MOST_SECONDS = 1800.0


class Background(ABC):
    """Scores completed rounds in the background. It limits the downloads per day, in bytes, and the time of each run.

    Args:
        reader: downloads files by CID.
        reporter: receives an event when the work stops early.
        what: names the work, as the first words of a message.
        turn: a lock that this object holds while it works. Objects that share a lock work one at a time.
    """

    def __init__(self, reader: Fetcher, reporter: Reporter, *, what: str, turn: asyncio.Lock | None = None) -> None:
        self._reader = Metered(reader, MOST_BYTES)
        self._reporter = reporter
        self._what = what
        self._turn = turn or asyncio.Lock()
        self._asked: asyncio.Queue[int] = asyncio.Queue()
        # Rounds that could not be scored. The daemon retries them on another day.
        self._later: set[int] = set()
        self._is_refused = False  # the endpoints refuse a request that this work needs

    def ask(self, round_id: int) -> None:
        """Queue a round that has just been completed, so that `gather` scores its updates."""
        self._asked.put_nowait(round_id)

    async def gather(self) -> None:
        """Score the latest completed rounds once a day, and each round passed to `ask`, until cancelled.

        Raises:
            JournalError: the journal cannot be written.
        """
        while True:
            self._reader.bytes_left = MOST_BYTES
            self._later.clear()
            self._is_refused = False
            await self._quietly(self._look_back)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DAY_SECONDS):
                    await self._look_at_asked()

    @abstractmethod
    async def _look_back(self) -> None:
        """Score the latest completed rounds that are not scored yet."""

    @abstractmethod
    async def _look_at(self, round_id: int) -> None:
        """Score one round, if it is completed and not scored yet."""

    def _may_look(self, round_id: int) -> bool:
        """Return whether to score a round now. After returning True, return False for it until the next daily search.

        Also return False if the day's bytes are used up.
        """
        if round_id in self._later or self._reader.bytes_left <= 0:
            return False
        self._later.add(round_id)  # before the scoring, so that a cancelled one also waits
        return True

    async def _look_at_asked(self) -> None:
        while True:
            round_id = await self._asked.get()
            if not self._is_refused:
                await self._quietly(partial(self._look_at, round_id))

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` with a time limit. Report a failure and continue, because the results can wait for another day.

        Raises:
            JournalError: the journal cannot be written.
        """
        try:
            async with self._turn, asyncio.timeout(_MOST_SECONDS):
                await work()
        except JournalError:
            raise
        except TimeoutError:
            self._ended_early(f"it took longer than {_MOST_SECONDS / 60:.0f} min.")
        except RpcRejected as error:
            self._is_refused = error.code in LASTING  # until the next day: each round would fail in the same way
            self._ended_early(str(error))
        except DecloudError as error:
            self._ended_early(str(error))
        except OSError as error:
            self._ended_early(str(shortage(error) or f"{error.strerror or error}."))
        except Exception as error:  # a failure of this background work must not end a daemon that earns
            logger.exception("Internal error during background work: %s", self._what)
            self._ended_early(f"internal error ({type(error).__name__}); see logs/daemon.log and please report it.")

    def _ended_early(self, why: str) -> None:
        self._reporter.report(Noted(None, f"{self._what} stopped: {why} It resumes within a day."))


class DailyLimitExceeded(SizeLimitExceeded):
    """A file is larger than what may still be downloaded today. It may be downloaded on another day."""


@dataclass
class Metered:
    """A fetcher that limits each download to a part of ``bytes_left``, and reduces ``bytes_left`` after the download.

    Attributes:
        inner: downloads the files.
        bytes_left: the bytes that may still be downloaded today.
    """

    inner: Fetcher
    bytes_left: int

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        most = max(1, min(max_bytes, self.bytes_left // _FILE_SHARE))
        try:
            fetched = self.inner.fetch(cid, destination, max_bytes=most, cancel=cancel)
        except (SizeLimitExceeded, IntegrityError) as error:
            self.bytes_left -= most  # the failed download may have transferred this many bytes
            could_fit = most < min(max_bytes, MOST_BYTES // _FILE_SHARE)  # on a day without other downloads
            if could_fit and isinstance(error, SizeLimitExceeded):
                what = f"{cid} is larger than the {most:,} bytes that background work may still download for one file"
                raise DailyLimitExceeded(f"{what} today.") from error
            raise
        if fetched.gateway != FROM_CACHE:
            self.bytes_left -= fetched.size
        return fetched

    @property
    def is_fresh(self) -> bool:
        """Whether at least three quarters of the day's bytes are left."""
        return self.bytes_left >= MOST_BYTES * 3 // 4
