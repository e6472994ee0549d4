"""Build the auditor of completed rounds from settings."""

from __future__ import annotations

from decloud_pl.audit.look import Auditor
from decloud_pl.chain.client import ChainClient
from decloud_pl.config import Settings
from decloud_pl.journal.reader import JournalReader
from decloud_pl.rounds.conventions import Conventions
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.store.fetch.fetcher import Fetcher


def make_auditor(
    settings: Settings, chain: ChainClient, reader: Fetcher, journal: JournalReader, network: str, *, max_bytes: int
) -> Auditor:
    """Return the auditor of a network's rounds for these settings.

    Args:
        settings: validated settings.
        chain: the network.
        reader: downloads files by CID.
        journal: contains the validators' conventions, derived from earlier rounds.
        network: the chain's genesis hash.
        max_bytes: the limit of one download.
    """
    conventions = Conventions(settings.network, chain.dialect, journal)
    return Auditor(
        network=network,
        chain=chain,
        reader=reader,
        catalog=lambda: make_catalog(settings),
        convention=lambda round_: conventions.of(round_.validator).convention,
        gradient_rate=settings.network.gradient_rate,
        max_bytes=max_bytes,
    )
