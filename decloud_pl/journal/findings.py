"""Facts about a network in the journal: the program's revision, and the validators' conventions.

The facts belong to the network and the program, not to a wallet.
"""

from __future__ import annotations

from dataclasses import dataclass

from decloud_pl.chain.revision import Revision
from decloud_pl.domain import Convention
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal

_READINGS_KEPT = 64
"""The most readings of one validator that `readings` returns."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one completed round shows about its validator's convention.

    Attributes:
        round_id: the round.
        validator: the address of the validator that scored the round.
        convention: the validator's convention, or None if the round does not show it.
        note: why the round does not show it, or how well each convention predicts the shares of the reward.
    """

    round_id: int
    validator: str
    convention: Convention | None
    note: str


def stored_revision(journal: JournalReader) -> Revision | None:
    """Return the stored revision of the program, or None before the first `store_revision`."""
    rows = journal.findings("name, evidence, at", "revisions")
    return Revision(*rows[0]) if rows else None


def store_revision(journal: Journal, revision: Revision) -> None:
    """Store the program's revision, in place of the previous one."""
    with journal.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?)",
            (*journal.owner[:2], revision.name, revision.evidence, revision.at),
        )


def readings(journal: JournalReader, validator: str | None = None) -> list[Reading]:
    """Return the readings of one validator, at most 64, or all readings if ``validator`` is None.

    The reading of the latest round comes first.
    """
    rest = "ORDER BY round_id DESC LIMIT ?"
    if validator is None:
        rows = journal.findings("round_id, validator, convention, note", "readings", rest, (-1,))
    else:
        rest = f"AND validator = ? {rest}"
        rows = journal.findings("round_id, validator, convention, note", "readings", rest, (validator, _READINGS_KEPT))
    return [Reading(*row) for row in rows]


def store_reading(journal: Journal, reading: Reading) -> None:
    """Store a reading. It replaces an earlier reading of the same round.

    The background search does not score a round that has a stored reading.
    """
    with journal.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*journal.owner[:2], reading.round_id, reading.validator, reading.convention, reading.note, journal.now()),
        )
