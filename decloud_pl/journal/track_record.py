"""Store how the rounds of a network ended, and derive the track records of its validators and creators.

These facts belong to the network and the program, not to a wallet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from decloud_pl.domain import MOST_STORABLE
from decloud_pl.journal.audits import Audit, audits
from decloud_pl.journal.findings import readings
from decloud_pl.journal.owner import NOBODY, Owner
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.writer import Journal

Ending = Literal["open", "completed", "unscored", "cancelled", "empty"]
"""``unscored``: trainers joined, and the validator did not start, score or complete the round. ``cancelled``: by its
creator, before a validator claimed it. ``empty``: no validator, no trainer or no submission."""
Split = Literal["equal", "unequal"]
Role = Literal["validator", "creator"]

ROUNDS_KEPT = 20_000
"""The journal keeps at most this many rounds of a network and program: the latest rounds."""
_ABANDONED = {"validator": "ending = 'unscored'", "creator": "ending IN ('unscored', 'cancelled')"}
_OF_VALIDATOR = "AND validator IS NOT NULL"
_SAVE = """
INSERT INTO seen_rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    creator = excluded.creator,
    validator = excluded.validator,
    ending = excluded.ending,
    scoring_seconds = COALESCE(scoring_seconds, excluded.scoring_seconds),
    split = COALESCE(excluded.split, split),
    is_refused = MAX(excluded.is_refused, is_refused),
    at = excluded.at
"""
_PRUNE = """
DELETE FROM seen_rounds WHERE network = ? AND program_id = ? AND round_id <= (
    SELECT round_id FROM seen_rounds WHERE network = ? AND program_id = ? ORDER BY round_id DESC LIMIT 1 OFFSET ?
)
"""


@dataclass(frozen=True, slots=True)
class SeenRound:
    """How a round ended, as far as the daemon has seen.

    Attributes:
        round_id: the round.
        creator: the address of the round's creator, base58.
        validator: the address of the validator that claimed the round, base58; None if no validator claimed it.
        ending: see `Ending`.
        created_at: Unix seconds of its creation.
        scoring_seconds: seconds from the last submission, or from the submit deadline, to the end of the validation;
            None if not observed.
        split: whether the round's trainers got equal shares; None if not observed.
        is_refused: whether the quarantine refused the round's base model.
    """

    round_id: int
    creator: str
    validator: str | None
    ending: Ending
    created_at: int
    scoring_seconds: float | None = None
    split: Split | None = None
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """What the daemon has seen of one validator or creator.

    Attributes:
        address: base58.
        completed: the number of its rounds that were completed.
        abandoned: the number of its rounds that trainers had joined but that ended without scores. For a creator, the
            rounds that it cancelled are added.
        scoring_seconds: the median seconds until the scores; None if not observed. They count from the last submission
            if every trainer submitted, and otherwise from the submit deadline.
        convention: the validator's convention, from the latest round that shows it; None for a creator, or if no round
            shows the convention.
        fair: the number of the validator's rounds whose shares fit the updates; 0 for a creator.
        equal: the number of the validator's rounds with equal shares; 0 for a creator.
        unfair: the number of the validator's rounds whose shares do not fit the updates and are not equal; 0 for a
            creator.
        refused: the number of its rounds whose base model the quarantine refused.
        last_at: Unix seconds of the creation of its latest round.
    """

    address: str
    completed: int
    abandoned: int
    scoring_seconds: float | None
    convention: str | None
    fair: int
    equal: int
    unfair: int
    refused: int
    last_at: int


def endings(journal: JournalReader, numbers: range) -> dict[int, Ending]:
    """Map the number of each stored round in ``numbers`` to its ending."""
    first, last = numbers.start, min(numbers.stop - 1, MOST_STORABLE)
    if first > last:
        return {}
    rest = "AND round_id BETWEEN ? AND ?"
    return dict(journal.findings("round_id, ending", "seen_rounds", rest, (first, last)))


def store_rounds(journal: Journal, rounds: Iterable[SeenRound], *, most: int = ROUNDS_KEPT) -> None:
    """Store rounds. In the same transaction, delete the oldest rounds of the same network and program.

    ``most`` is the largest number of rounds to keep.

    A new row replaces the earlier row of the same round, but an earlier ``scoring_seconds`` stays. If the new ``split``
    is None, the earlier value stays. A round that was once refused stays refused. A round whose number is too large for
    SQLite is not stored.
    """
    place, at = journal.owner[:2], journal.now()
    rows = [
        (
            *place,
            one.round_id,
            one.creator,
            one.validator,
            one.ending,
            one.created_at,
            one.scoring_seconds,
            one.split,
            one.is_refused,
            at,
        )
        for one in rounds
        if one.round_id <= MOST_STORABLE
    ]
    if rows:
        with journal.transaction() as db:
            db.executemany(_SAVE, rows)
            db.execute(_PRUNE, (*place, *place, most))


def completion(journal: JournalReader) -> dict[str, tuple[int, int]]:
    """Map each validator to two counts: the rounds that it completed, and those that it completed or abandoned."""
    rest = "AND ending IN ('completed', 'unscored') AND validator IS NOT NULL GROUP BY validator"
    rows = journal.findings("validator, SUM(ending = 'completed'), COUNT(*)", "seen_rounds", rest)
    return {validator: (completed, ended) for validator, completed, ended in rows}


def track_records(journal: JournalReader, role: Role) -> list[TrackRecord]:
    """Return the track records of all validators or all creators, sorted by their number of rounds, largest first.

    Raises:
        JournalError: a row is damaged.
    """
    columns = f"{role}, SUM(ending = 'completed'), SUM({_ABANDONED[role]}), SUM(is_refused), MAX(created_at)"
    rest = f"AND {role} IS NOT NULL GROUP BY {role} ORDER BY COUNT(*) DESC, MAX(round_id) DESC"
    rows = journal.findings(columns, "seen_rounds", rest)
    if not all(isinstance(row[0], str) and all(isinstance(number, int) for number in row[1:]) for row in rows):
        raise journal.damaged("a row of seen_rounds is damaged")
    seconds: dict[str, list[float]] = {}
    shares: Counter[tuple[str, str]] = Counter()
    conventions: dict[str, str] = {}
    if role == "validator":
        audited = audits(journal)
        for address, took in _scored(journal, audited):
            seconds.setdefault(address, []).append(took)
        shares.update(_shares(journal, audited))
        conventions = {one.validator: one.convention for one in reversed(readings(journal)) if one.convention}
    return [
        TrackRecord(
            address,
            completed,
            abandoned,
            median(seconds[address]) if address in seconds else None,
            conventions.get(address),
            shares[address, "fair"],
            shares[address, "equal"],
            shares[address, "unfair"],
            refused,
            last_at,
        )
        for address, completed, abandoned, refused, last_at in rows
    ]


def latest_network(path: Path, program_id: str | None = None) -> Owner:
    """Return an `Owner` without a wallet: the network and the program of the round that was stored last.

    Return `NOBODY` if the journal has no such round.

    Args:
        path: the journal's file.
        program_id: consider only rounds of this program; None for rounds of any program.

    Raises:
        JournalError: the journal cannot be read.
    """
    question = "SELECT network, program_id FROM seen_rounds GROUP BY network, program_id ORDER BY MAX(at) DESC"
    with JournalReader(path) as journal:
        has_rounds = journal.ask("SELECT 1 FROM sqlite_master WHERE name = 'seen_rounds'")
        rows = journal.ask(question) if has_rounds else []
    found = [Owner(network, program, "") for network, program in rows if program_id in (None, program)]
    return found[0] if found else NOBODY


def _scored(journal: JournalReader, audited: Iterable[Audit]) -> Iterator[tuple[str, float]]:
    """For each round whose scoring time was observed, yield the validator and the time in seconds."""
    rest = f"{_OF_VALIDATOR} AND scoring_seconds IS NOT NULL"
    seen = journal.findings("round_id, validator, scoring_seconds", "seen_rounds", rest)
    durations = {one.round_id: (one.validator, one.score_seconds) for one in audited if one.score_seconds is not None}
    durations |= {round_id: (address, took) for round_id, address, took in seen}
    for address, took in durations.values():
        if not isinstance(took, (int, float)) or not math.isfinite(took):
            raise journal.damaged("the scoring_seconds of a row is not a number")
        yield address, took


def _shares(journal: JournalReader, audited: Iterable[Audit]) -> Iterator[tuple[str, str]]:
    """For each round whose split of the reward is known, yield the validator and ``fair``, ``equal`` or ``unfair``.

    If the round has an audit with another verdict than ``unknown``, yield this verdict. Otherwise yield ``equal`` if
    the daemon saw that all trainers got equal shares, and leave out the round if not.
    """
    rest = f"{_OF_VALIDATOR} AND split = 'equal'"
    seen = journal.findings("round_id, validator", "seen_rounds", rest)
    found = {round_id: (address, "equal") for round_id, address in seen}
    found |= {one.round_id: (one.validator, one.verdict) for one in audited if one.verdict != "unknown"}
    yield from found.values()
