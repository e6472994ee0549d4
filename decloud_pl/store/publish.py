"""Publishing: a CID is handed on only after the store's copy was read back, byte for byte, by another way."""

from __future__ import annotations

from pathlib import Path

from decloud_pl.domain import PinnedUpdate, Update
from decloud_pl.errors import IntegrityError
from decloud_pl.store import Store
from decloud_pl.store.cid import Cid
from decloud_pl.store.gateway import GatewayReader
from decloud_pl.store.unixfs import profile_of


def publish(update: Update, *, store: Store, reader: GatewayReader, scratch: Path) -> PinnedUpdate:
    """Puts an update into a store and proves that others can fetch it.

    Args:
        update: the finished training on disk.
        store: keeps it.
        reader: fetches it back, as a validator would.
        scratch: a file name for what is read back; removed afterwards.

    Raises:
        IntegrityError: the store's CID names other bytes, or the bytes read back do.
        StoreUnavailable: try again later; nothing is lost.
        ContentNotFound: the store took it, but nobody can fetch it yet; try again later.
        StoreError: trying again will not help.
    """
    stored = store.put(update.path, update.profile)
    if stored.cid != update.cid and profile_of(update.path, Cid.parse(stored.cid)) is None:
        raise IntegrityError(
            f"The store {store.name} gave the CID {stored.cid}, which names other bytes than the update's.",
            fix="Nothing was submitted. Check the store, or use another one.",
        )
    try:
        fetched = reader.fetch(stored.cid, scratch, max_bytes=update.size)
    finally:
        scratch.unlink(missing_ok=True)
    return PinnedUpdate(stored.cid, store.name, fetched.gateway, fetched.size)
