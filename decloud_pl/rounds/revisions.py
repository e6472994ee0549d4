"""Detect the revision of the network's program while the daemon runs, so that no reward is lost after an upgrade."""

from __future__ import annotations

import time

from solders.pubkey import Pubkey

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.revision import UNKNOWN, CurrentDialect, detect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.journal.findings import store_revision, stored_revision
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Noted, Reporter
from decloud_pl.rounds.policy import DAY_SECONDS


class Revisions:
    """Detects the program's revision, stores it in the journal and sets the current dialect.

    Args:
        rpc: the network's RPC client.
        dialect: the dialect that is switched to the detected revision.
        journal: stores the detected revision.
        reporter: receives an event at the start and for every change of the revision.
        payer: the address of the daemon's wallet, for simulated transactions.
    """

    def __init__(
        self,
        rpc: RpcClient,
        dialect: CurrentDialect,
        journal: Journal,
        reporter: Reporter,
        payer: Pubkey,
    ) -> None:
        self._rpc = rpc
        self._dialect = dialect
        self._journal = journal
        self._reporter = reporter
        self._payer = payer
        self._missing = False

    @property
    def is_decided(self) -> bool:
        """Whether it is certain which revision the network runs."""
        return self._dialect.revision.is_decided

    @property
    def is_supported(self) -> bool:
        """Whether the daemon supports the revision that the network runs."""
        return self._dialect.revision.is_supported

    def candidates(self) -> list[Dialect]:
        """Return every dialect, the most likely dialect first."""
        return self._dialect.candidates()

    async def begin(self) -> None:
        """Use the revision from the journal. If it is missing, not certain or a day old, detect the revision on chain.

        Raises:
            ChainError: no endpoint answers.
        """
        stored = stored_revision(self._journal)
        if stored is not None and not stored.at:
            stored = None  # it came from network.dialect, which is now auto
        if stored is not None:
            self._dialect.revision = stored
        if stored is None or not stored.is_decided or time.time() - stored.at >= DAY_SECONDS:
            await self._find()
        self._report()

    async def look(self) -> None:
        """Detect the program's current revision, and report a change.

        Raises:
            ChainError: no endpoint answers.
        """
        before = self._dialect.revision.name
        await self._find()
        if self._dialect.revision.name != before:
            self._report()

    async def _find(self) -> None:
        before = self._dialect.revision
        found = await detect(self._rpc, self._dialect.program_id, payer=self._payer, now=time.time())
        was_missing, self._missing = self._missing, found.name == UNKNOWN
        if before.is_decided and found.is_supported and not found.is_decided:
            return  # the chain does not contradict the earlier result
        if before.is_decided and self._missing and not was_missing:
            return  # one empty answer of an endpoint must not stop all joins
        store_revision(self._journal, found)
        self._dialect.revision = found

    def _report(self) -> None:
        revision = self._dialect.revision
        self._reporter.report(Noted(None, f"The network's program is {revision}.", {"program": revision.name}))
