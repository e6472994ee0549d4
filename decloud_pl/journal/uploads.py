"""The journal as the publisher's memory."""

from __future__ import annotations

from decloud_pl.journal.record import State
from decloud_pl.journal.writer import Journal
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


def finished_cids(journal: Journal, store: str) -> set[str]:
    """What one store was given for rounds that are over, whatever their network and wallet, and no other round needs.

    The CIDs of the updates, and those that the store gave them.
    """
    _make_table(journal)
    rows = journal.connection.execute(
        "SELECT u.update_cid, u.cid, r.state FROM uploads u LEFT JOIN rounds r"
        " ON r.network || '/' || r.program_id || '/' || r.wallet = u.owner AND r.round_id = u.round_id"
        " WHERE u.store = ?",
        (store,),
    ).fetchall()
    done: set[str] = set()
    needed: set[str] = set()
    for *cids, state in rows:
        over = state is not None and State(state).is_final
        (done if over else needed).update(cid for cid in cids if cid)
    return done - needed


def _owner(journal: Journal) -> str:
    return "/".join(journal.owner)


def _make_table(journal: Journal) -> None:
    with journal.transaction() as db:
        db.execute(_SCHEMA)
