"""The revision of the program, followed while the daemon runs: an upgrade in place must cost no reward."""

from __future__ import annotations

import time
from collections.abc import Callable

from solders.pubkey import Pubkey

from decloud_pl.chain.anchor import LAYOUT_ERRORS
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.revision import CurrentDialect, detect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.errors import ProgramError
from decloud_pl.journal.findings import store_revision, stored_revision
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Noted, Reporter
from decloud_pl.rounds.policy import DAY_SECONDS


def is_of_layout(error: BaseException) -> bool:
    """Whether a program refused the form of an instruction: another revision may run than the one assumed."""
    return isinstance(error, ProgramError) and error.code in LAYOUT_ERRORS


class Revisions:
    """Finds out the program's revision, keeps it in the journal, and makes it the current dialect.

    Args:
        rpc: the network.
        dialect: is changed to what is found.
        journal: keeps what is found.
        reporter: hears of every change.
        payer: the own wallet's address.
        now: Unix seconds.
    """

    def __init__(
        self,
        rpc: RpcClient,
        dialect: CurrentDialect,
        journal: Journal,
        reporter: Reporter,
        payer: Pubkey,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rpc = rpc
        self._dialect = dialect
        self._journal = journal
        self._reporter = reporter
        self._payer = payer
        self._now = now

    @property
    def is_decided(self) -> bool:
        """Whether it is known which revision runs."""
        return self._dialect.revision.is_decided

    @property
    def is_supported(self) -> bool:
        """Whether this program can work with the one on chain."""
        return self._dialect.revision.is_supported

    def candidates(self) -> list[Dialect]:
        """Every dialect, the most likely first."""
        return self._dialect.candidates()

    async def begin(self) -> None:
        """Takes what the journal holds, or finds it out where that is a day old or undecided.

        Raises:
            ChainError: no endpoint answers.
        """
        stored = stored_revision(self._journal)
        if stored is not None and not stored.at:
            stored = None  # a user had set it, and does so no longer
        if stored is not None:
            self._dialect.revision = stored
        if stored is None or not stored.is_decided or self._now() - stored.at >= DAY_SECONDS:
            await self._find()
        self._report()

    async def look(self) -> None:
        """Finds out which revision runs now.

        Raises:
            ChainError: no endpoint answers.
        """
        before = self._dialect.revision.name
        await self._find()
        if self._dialect.revision.name != before:
            self._report()

    async def _find(self) -> None:
        before = self._dialect.revision
        found = await detect(self._rpc, self._dialect.program_id, payer=self._payer, now=self._now())
        if before.is_decided and found.is_supported and not found.is_decided:
            return  # nothing on chain contradicts what was decided before
        store_revision(self._journal, found)
        self._dialect.revision = found

    def _report(self) -> None:
        revision = self._dialect.revision
        self._reporter.report(Noted(None, f"The network's program is {revision}.", {"program": revision.name}))
