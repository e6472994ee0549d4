"""From settings to stores and readers; top to bottom, no rules but one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from decloud_pl.addresses import is_loopback
from decloud_pl.build import build
from decloud_pl.config import NetworkConfig, Settings
from decloud_pl.errors import ConfigError
from decloud_pl.journal.owner import NOBODY
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.uploads import finished_cids
from decloud_pl.journal.writer import Journal
from decloud_pl.store import LocalStore, Store
from decloud_pl.store.fetch.cache import CachedReader
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.publish import StorePublisher
from decloud_pl.store.registry import Provider, StorageConfig, unknown


def make_stores(settings: Settings) -> list[Store]:
    """The store that ``storage`` names, then those of ``storage.fallback``.

    Raises:
        ConfigError: an unknown name, missing credentials, or a store of this machine on a public network.
    """
    return [make_store(kind, settings) for kind in dict.fromkeys([settings.storage.kind, *settings.storage.fallback])]


def make_store(kind: str, settings: Settings) -> Store:
    """One provider's store.

    Raises:
        ConfigError: as `make_stores`.
    """
    network, known = settings.network, settings.providers
    if kind not in known:
        raise unknown(kind, known)
    allowance = f"allow_{kind}"
    if not (known[kind].serves_others or getattr(settings.storage, allowance, False) or _is_local(network)):
        others = " or ".join(f"storage={name}" for name, one in known.items() if one.serves_others)
        own = (
            f"; or storage.{allowance}=true if your own gateway serves it"
            if hasattr(settings.storage, allowance)
            else ""
        )
        raise ConfigError(
            f"The {kind} store serves this machine only, so nobody on {network.name} could fetch your"
            " updates and no validator would pay for them.",
            fix=f"Set {others}{own}.",
        )
    return _built(known[kind], settings)


def _built(provider: Provider, settings: Settings) -> Store:
    """A provider's store, with its own secrets and no others."""
    values = {secret.name: settings.secrets.get(secret.name) for secret in provider.secrets}
    objects = {"secrets": {name: value for name, value in values.items() if value}} if provider.secrets else {}
    store = build(provider.store, packages=settings.allow_packages, **objects)
    # The journal tells stores apart by their names.
    if not isinstance(store, Store) or store.name != provider.name:
        raise ConfigError(
            f"{provider.store['_target_']} does not give a store named {provider.name!r}.",
            fix="See decloud_pl.store.Store for what a store has.",
        )
    return store


def _is_local(network: NetworkConfig) -> bool:
    return is_loopback(urlsplit(network.rpc_url).hostname or "")


def make_gateways(network: NetworkConfig, storage: StorageConfig) -> GatewayReader:
    """The network's gateways, to read back with: nothing of it comes from a cache."""
    return GatewayReader(network.gateways, timeout=storage.timeout)


def make_reader(network: NetworkConfig, storage: StorageConfig, home: Path) -> CachedReader:
    """The network's gateways behind the cache of this machine."""
    return CachedReader(make_gateways(network, storage), home / "cache")


def make_publisher(stores: Sequence[Store], storage: StorageConfig, network: NetworkConfig) -> StorePublisher:
    """Publishes through these stores, in this order, and reads back through the network's gateways."""
    reader = make_gateways(network, storage)
    return StorePublisher(stores, reader, read_back_seconds=storage.read_back_seconds)


def collect_garbage(store: LocalStore, journal: Journal) -> list[str]:
    """Removes the updates of finished rounds from a store on this machine; returns their CIDs.

    Files that the journal does not know are somebody else's, for example a creator's models, and stay. Nobody calls
    this but the user: a creator may want a finished round's updates.
    """
    return store.gc(set(store.cids()) - finished_cids(journal, store.name))


def collect_garbage_of_home(settings: Settings) -> list[str]:
    """`collect_garbage` for the journal in the user's folder and every store on this machine.

    Raises:
        JournalLocked: a daemon is at work.
    """
    path = settings.home_path / JOURNAL_FILE
    if not path.exists():
        return []
    with Journal(path, NOBODY) as journal:
        stores = [_built(one, settings) for one in settings.providers.values() if not one.serves_others]
        return [cid for store in stores if isinstance(store, LocalStore) for cid in collect_garbage(store, journal)]
