"""The journal as the publisher's memory."""

from __future__ import annotations

from decloud_pl.daemon.journal import Journal
from decloud_pl.store.uploads import Upload, UploadState

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    owner TEXT NOT NULL,
    round_id INTEGER NOT NULL,
    store TEXT NOT NULL,
    update_cid TEXT NOT NULL,
    state TEXT NOT NULL,
    cid TEXT,
    PRIMARY KEY (owner, round_id, store)
)
"""


class JournalUploadLog:
    """The `UploadLog` of one round in the journal's file: on disk before the first byte is sent."""

    def __init__(self, journal: Journal, round_id: int) -> None:
        self._journal = journal
        self._key = (_owner(journal), round_id)
        _make_table(journal)

    def get(self, store: str) -> Upload | None:
        row = self._journal.connection.execute(
            "SELECT store, update_cid, state, cid FROM uploads WHERE owner = ? AND round_id = ? AND store = ?",
            (*self._key, store),
        ).fetchone()
        return None if row is None else Upload(row[0], row[1], UploadState(row[2]), row[3])

    def save(self, upload: Upload) -> None:
        with self._journal.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)",
                (*self._key, upload.store, upload.update_cid, upload.state.value, upload.cid),
            )


def uploaded_cids(journal: Journal, store: str) -> dict[int, set[str]]:
    """What one store was given, by round: the CIDs of the updates, and those that the store gave them."""
    _make_table(journal)
    found: dict[int, set[str]] = {}
    rows = journal.connection.execute(
        "SELECT round_id, update_cid, cid FROM uploads WHERE owner = ? AND store = ?", (_owner(journal), store)
    )
    for round_id, *cids in rows:
        found.setdefault(round_id, set()).update(cid for cid in cids if cid)
    return found


def _owner(journal: Journal) -> str:
    return "/".join(journal.owner)


def _make_table(journal: Journal) -> None:
    with journal.transaction() as db:
        db.execute(_SCHEMA)
