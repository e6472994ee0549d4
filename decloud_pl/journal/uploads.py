"""Record the publisher's uploads in the journal."""

from __future__ import annotations

from decloud_pl.journal.writer import Journal
from decloud_pl.store.uploads import Upload, UploadState


class JournalUploadLog:
    """An `UploadLog` that keeps one round's uploads in the journal's file. `save` returns once the row is on disk."""

    def __init__(self, journal: Journal, round_id: int) -> None:
        self._journal = journal
        self._round_id = round_id

    def get(self, store: str) -> Upload | None:
        rest = "AND round_id = ? AND store = ?"
        rows = self._journal.select("store, update_cid, state, cid", "uploads", rest, (self._round_id, store))
        if not rows:
            return None
        store, update_cid, state, cid = rows[0]
        try:
            return Upload(store, update_cid, UploadState(state), cid)
        except ValueError:
            raise self._journal.unknown_state(state) from None

    def save(self, upload: Upload) -> None:
        with self._journal.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*self._journal.owner, self._round_id, upload.store, upload.update_cid, upload.state, upload.cid),
            )


def finished_cids(journal: Journal, store: str) -> set[str]:
    """Return the CIDs of all uploads to a store by finished rounds, without the CIDs that an unfinished round needs.

    An upload has up to two CIDs: the update's own CID and the CID that the store reported. The result covers the rounds
    of all networks and wallets in the journal.
    """
    rows = journal.ask(
        "SELECT uploads.update_cid, uploads.cid, rounds.state FROM uploads"
        " LEFT JOIN rounds USING (network, program_id, wallet, round_id) WHERE store = ?",
        (store,),
    )
    done: set[str] = set()
    needed: set[str] = set()
    for *cids, state in rows:
        over = state is not None and journal.state(state).is_final
        (done if over else needed).update(cid for cid in cids if cid)
    return done - needed
