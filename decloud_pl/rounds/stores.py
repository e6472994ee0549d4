"""From settings to stores and readers; top to bottom, no rules but one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from decloud_pl.errors import ConfigError
from decloud_pl.journal.owner import NOBODY
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.uploads import finished_cids
from decloud_pl.journal.writer import Journal
from decloud_pl.settings import NetworkConfig, Secrets, StorageConfig
from decloud_pl.store import Store
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.fetch.cache import CachedReader
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.publish import ReadBack, StorePublisher

KINDS = ("embedded", "kubo", "pinata")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def make_stores(storage: StorageConfig, network: NetworkConfig, secrets: Secrets, home: Path) -> list[Store]:
    """The store that ``storage`` names, then those of ``storage.fallback``.

    Args:
        storage: where to pin.
        network: who must be able to fetch what is pinned.
        secrets: the logins.
        home: the user's folder; a store may keep the state of its uploads there.

    Raises:
        ConfigError: an unknown kind, missing credentials, or the embedded store on a public network.
    """
    kinds = dict.fromkeys([storage.kind, *storage.fallback])
    return [make_store(kind, storage, network, secrets, home) for kind in kinds]


def make_store(kind: str, storage: StorageConfig, network: NetworkConfig, secrets: Secrets, home: Path) -> Store:
    """One store of a kind; see `make_stores` for the arguments.

    Raises:
        ConfigError: as `make_stores`.
    """
    if kind == "embedded":
        if not (storage.allow_embedded or _is_local(network)):
            raise ConfigError(
                f"The embedded store serves this machine only, so nobody on {network.name} could fetch your"
                " updates and no validator would pay for them.",
                fix="Set storage=pinata or storage=kubo; or storage.allow_embedded=true if your own gateway serves it.",
            )
        return EmbeddedStore(Path(storage.path).expanduser())
    if kind == "kubo":
        from decloud_pl.store.kubo import KuboStore

        return KuboStore(storage.kubo_address, timeout=storage.timeout)
    if kind == "pinata":
        from decloud_pl.store.pinata import PinataCredentials, PinataStore

        names = ("pinata_api_key", "pinata_secret_key", "pinata_jwt")
        credentials = PinataCredentials(*(secrets.get(name) or "" for name in names))
        return PinataStore(
            credentials,
            api_url=storage.pinata_api_url,
            upload_url=storage.pinata_upload_url,
            timeout=storage.timeout,
            state=home / "uploads",
        )
    raise ConfigError(f"There is no storage {kind!r}.", fix=f"Known: {', '.join(KINDS)}.")


def _is_local(network: NetworkConfig) -> bool:
    return urlsplit(network.rpc_url).hostname in _LOOPBACK


def make_gateways(network: NetworkConfig, storage: StorageConfig) -> GatewayReader:
    """The network's gateways, to read back with: nothing of it comes from a cache."""
    return GatewayReader(network.gateways, timeout=storage.timeout)


def make_reader(network: NetworkConfig, storage: StorageConfig, home: Path) -> CachedReader:
    """The network's gateways behind the cache of this machine."""
    return CachedReader(make_gateways(network, storage), home / "cache")


def make_publisher(stores: Sequence[Store], storage: StorageConfig, network: NetworkConfig) -> StorePublisher:
    """Publishes through these stores, in this order, and reads back through the network's gateways."""
    read_back = ReadBack(seconds=storage.read_back_seconds)
    return StorePublisher(stores, make_gateways(network, storage), read_back=read_back)


def collect_garbage(store: EmbeddedStore, journal: Journal) -> list[str]:
    """Removes the updates of finished rounds from the embedded store; returns their CIDs.

    Files that the journal does not know are somebody else's, for example a creator's models, and stay. Nobody calls
    this but the user: a creator may want a finished round's updates.
    """
    return store.gc(set(store.cids()) - finished_cids(journal, store.name))


def collect_garbage_of_home(home: Path, store: Path) -> list[str]:
    """`collect_garbage` for the journal in the user's folder and the embedded store in another.

    Raises:
        JournalLocked: a daemon is at work.
    """
    path = home / JOURNAL_FILE
    if not path.exists():
        return []
    with Journal(path, NOBODY) as journal:
        return collect_garbage(EmbeddedStore(store), journal)
