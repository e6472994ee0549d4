"""Build stores, readers and publishers from settings."""

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
    """Return the store that ``storage=…`` selects, then the stores listed in ``storage.fallback``.

    Raises:
        ConfigError: a name is unknown, credentials are missing, or validators could not download from a store.
    """
    return [make_store(kind, settings) for kind in dict.fromkeys([settings.storage.kind, *settings.storage.fallback])]


def make_store(kind: str, settings: Settings) -> Store:
    """Return the store of the provider ``kind``.

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
            f"The {kind} store serves only this machine: validators on {network.name} could not download your updates,"
            " and you would get no reward.",
            fix=f"Set {others}{own}.",
        )
    return _built(known[kind], settings)


def _built(provider: Provider, settings: Settings) -> Store:
    """Build a provider's store. Pass it only the secrets of this provider."""
    values = {secret.name: settings.secrets.get(secret.name) for secret in provider.secrets}
    objects = {"secrets": {name: value for name, value in values.items() if value}} if provider.secrets else {}
    store = build(provider.store, packages=settings.allow_packages, **objects)
    # The journal distinguishes stores by their names.
    if not isinstance(store, Store) or store.name != provider.name:
        raise ConfigError(
            f"{provider.store['_target_']} does not return a store with the name {provider.name!r}.",
            fix="Implement decloud_pl.store.Store and set its `name`.",
        )
    return store


def _is_local(network: NetworkConfig) -> bool:
    return is_loopback(urlsplit(network.rpc_url).hostname or "")


def make_gateways(network: NetworkConfig, storage: StorageConfig) -> GatewayReader:
    """Return a reader that downloads through the network's gateways. It has no cache, so it can verify uploads."""
    return GatewayReader(network.gateways, timeout=storage.timeout)


def make_reader(network: NetworkConfig, storage: StorageConfig, home: Path) -> CachedReader:
    """Return a reader that fetches through the network's gateways and caches the files in the home folder."""
    return CachedReader(make_gateways(network, storage), home / "cache")


def make_publisher(stores: Sequence[Store], storage: StorageConfig, network: NetworkConfig) -> StorePublisher:
    """Return a publisher that tries ``stores`` in order and reads each upload back through the network's gateways."""
    reader = make_gateways(network, storage)
    return StorePublisher(stores, reader, read_back_seconds=storage.read_back_seconds)


def collect_garbage_of_home(settings: Settings) -> list[str]:
    """Remove the updates of finished rounds from every store on this machine; return the CIDs of the removed files.

    Files that the journal in the home folder does not list stay, for example a creator's models. Call this only when
    the user requests it, because a creator may still want the updates of a finished round.

    Raises:
        JournalLocked: a daemon is running.
    """
    path = settings.home_path / JOURNAL_FILE
    if not path.exists():
        return []
    with Journal(path, NOBODY) as journal:
        stores = [_built(one, settings) for one in settings.providers.values() if not one.serves_others]
        local = [store for store in stores if isinstance(store, LocalStore)]
        return [cid for store in local for cid in store.gc(set(store.cids()) - finished_cids(journal, store.name))]
