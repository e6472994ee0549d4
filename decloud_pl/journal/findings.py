"""What was found out about a network, in the journal: the program's revision, and what rounds show of their validators.

It belongs to the network and the program, whichever wallet found it.
"""

from __future__ import annotations

from dataclasses import dataclass

from decloud_pl.chain.revision import Revision
from decloud_pl.domain import Convention
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal

_READINGS_KEPT = 64
"""Readings of one validator that are looked at."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one completed round shows of how its validator reads updates.

    Attributes:
        round_id: the round.
        validator: who scored it.
        convention: how the validator read the updates, None where the shares do not tell.
        note: why they do not tell, or by how much one convention fits better.
    """

    round_id: int
    validator: str
    convention: Convention | None
    note: str


def stored_revision(journal: JournalReader) -> Revision | None:
    """The revision that was found last."""
    rows = journal.findings("name, evidence, at", "revisions")
    return Revision(*rows[0]) if rows else None


def store_revision(journal: Journal, revision: Revision) -> None:
    """Keeps a revision in place of the one before."""
    with journal.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?)",
            (*journal.owner[:2], revision.name, revision.evidence, revision.at),
        )


def readings(journal: JournalReader, validator: str | None = None) -> list[Reading]:
    """What rounds show, the latest round first; of one validator, or of all."""
    rest = "ORDER BY round_id DESC LIMIT ?"
    if validator is None:
        rows = journal.findings("round_id, validator, convention, note", "readings", rest, (-1,))
    else:
        rest = f"AND validator = ? {rest}"
        rows = journal.findings("round_id, validator, convention, note", "readings", rest, (validator, _READINGS_KEPT))
    return [Reading(*row) for row in rows]


def store_reading(journal: Journal, reading: Reading) -> None:
    """Keeps what a round shows, so that it is not looked at again."""
    with journal.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*journal.owner[:2], reading.round_id, reading.validator, reading.convention, reading.note, journal.now()),
        )
