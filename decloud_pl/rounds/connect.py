"""Build the dialect and the RPC client from settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from solders.pubkey import Pubkey

from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.network import AUTO, not_a_public_key
from decloud_pl.chain.revision import UNDECIDED, CurrentDialect, Revision
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.config import NetworkConfig
from decloud_pl.errors import ConfigError
from decloud_pl.journal.findings import stored_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import JournalReader


def make_current_dialect(network: NetworkConfig) -> CurrentDialect:
    """Return the object that always stands for the current revision's dialect, even after an upgrade of the program.

    With ``network.dialect=auto``, it stands for the revision `UNDECIDED` until the program's revision is known.

    Raises:
        ConfigError: ``network.dialect`` is not a revision, or the address of the program, the treasury or the referrer
            is not a public key.
    """
    if network.dialect == AUTO:
        known = Revision(UNDECIDED, "not determined yet", 0)
    else:
        known = Revision(network.dialect, "set by network.dialect", 0)
    return CurrentDialect(lambda name: make_dialect(replace(network, dialect=name)), known)


def known_dialect(network: NetworkConfig, journal: Path, genesis: str) -> Dialect:
    """Return the configured dialect.

    With ``network.dialect=auto``, return the dialect of the revision that is stored in the journal. If the journal has
    none, return the dialect of the latest revision.

    Args:
        network: the settings.
        journal: the journal's file, which may be missing.
        genesis: the network's genesis hash.

    Raises:
        ConfigError: see `make_dialect`.
        JournalError: the journal cannot be read.
    """
    if network.dialect == AUTO:
        with JournalReader(journal, Owner(genesis, network.program_id, "")) as reader:
            revision = stored_revision(reader)
        if revision is not None and revision.is_decided:
            return make_dialect(replace(network, dialect=revision.name))
    return make_dialect(network)


def make_dialect(network: NetworkConfig) -> Dialect:
    """Return the dialect with the configured program address, treasury and referrer.

    Raises:
        ConfigError: ``network.dialect`` is not a revision, or the address of the program, the treasury or the referrer
            is not a public key.
    """
    try:
        program_id = Pubkey.from_string(network.program_id)
    except ValueError as error:
        raise ConfigError(
            f"network.program_id {network.program_id!r} is not a Solana address.",
            fix="Copy it from the network's documentation.",
        ) from error
    return get_dialect(
        network.assumed_dialect,
        program_id,
        treasury=_account("network.treasury", network.treasury),
        referrer=_account("network.referrer", network.referrer),
    )


def _account(name: str, key: str) -> Pubkey | None:
    try:
        return Pubkey.from_string(key) if key else None
    except ValueError:
        raise not_a_public_key(name) from None


def make_rpc(network: NetworkConfig) -> RpcClient:
    """Return an RPC client with the configured fallbacks and request rate.

    Raises:
        ConfigError: an address is not an http or https URL.
    """
    return RpcClient(
        network.rpc_url,
        fallbacks=network.fallback_rpc_urls,
        requests_per_second=network.requests_per_second,
        genesis=network.genesis,
    )
