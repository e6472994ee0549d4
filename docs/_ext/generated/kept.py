"""The reference of files on disk: the journal and the results of experiments."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from generated.markdown import attributes, code, summary, table, type_name

_WHOSE = {
    "network": "The chain's genesis hash.",
    "program_id": "The program, base58.",
    "wallet": "The wallet's address, base58.",
    "round_id": "The round on chain.",
}
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "transitions": {
        "at": "Unix seconds.",
        "state": "The state that the round entered.",
        "reason": "The reason, as a text for users.",
    },
    "transactions": {
        "key": "The step, for example `join:42`. The daemon sends one transaction for each step.",
        "signature": "The transaction's signature.",
        "blockhash": "The blockhash in the transaction.",
        "last_valid_block_height": "After this block, the transaction can no longer land.",
        "wire": "The signed bytes, which the daemon may send again.",
        "outcome": "Whether the transaction landed.",
        "fee": "Lamports.",
        "deposit": "The rent in lamports of the account that the transaction created.",
        "recorded_at": "Unix seconds.",
    },
    "uploads": {
        "store": "The storage.",
        "update_cid": "CID of the update on disk.",
        "state": "The state of the upload.",
        "cid": "The CID that the storage returned.",
    },
    "revisions": {
        "name": "The detected revision of the program.",
        "evidence": "The evidence for the revision.",
        "at": "Unix seconds.",
    },
    "readings": {
        "validator": "The address of the round's validator, base58.",
        "convention": "The convention that the shares show; empty if they do not show one.",
        "note": "Why the shares do not show a convention, or how much better one fits.",
        "at": "Unix seconds.",
    },
    "audits": {
        "validator": "Who scored the round, base58.",
        "creator": "Who created the round, base58.",
        "verdict": "`fair`, `equal` (all valid updates got the same share), `unfair` or `unknown`.",
        "convention": "How the updates were applied; empty without scores.",
        "trainer": "The wallet of this machine that submitted an update; empty for a round of others.",
        "fair_bps": "Its share by the validator's documented rule, in basis points.",
        "paid_bps": "The share that the validator gave it, in basis points.",
        "noise_bps": "The difference that the size of the test split explains, in basis points.",
        "score_seconds": "Seconds from the last submission to the end of the validation; empty if unknown.",
        "is_late": "1 if the validation took much longer than usual.",
        "note": "What the audit found, or why the verdict is unknown.",
        "tries_left": "How often the daemon tries to score the round again; 0 with a verdict.",
        "at": "Unix seconds.",
    },
    "seen_rounds": {
        "creator": "Who posted the round, base58.",
        "validator": "Who claimed it, base58; empty where nobody did.",
        "ending": "`open`, `completed`, `unscored` (trainers joined, and the validator gave no scores), `cancelled`"
        " (by its creator) or `empty` (no validator, trainer or submission).",
        "created_at": "Unix seconds.",
        "scoring_seconds": "From the last submission, or the submit deadline, to the scores; empty if not observed.",
        "split": "`equal` or `unequal` shares; empty if not read.",
        "is_refused": "Whether the quarantine refused the base model.",
        "at": "Unix seconds of the last change of the row.",
    },
}
"""The columns that are not attributes of `RoundRecord`."""


def journal() -> str:
    """Return the journal's tables with their columns."""
    from decloud_pl.journal.record import RoundRecord
    from decloud_pl.journal.schema import open_to_read

    db = open_to_read(Path("no-journal-here"))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    parts = [f"### {name}\n\n{table(('column', 'meaning'), _columns(db, name, RoundRecord))}" for name in tables]
    db.close()
    return "\n".join(parts)


def _columns(db: sqlite3.Connection, name: str, record: type) -> Iterator[tuple[str, str]]:
    own = (
        _COLUMNS[name]
        if name in _COLUMNS
        else attributes(record) | {"state": "[The state of the round](#states-of-a-round)."}
    )
    columns = [column for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (name,))]
    if wrong := (set(columns) - _WHOSE.keys()) ^ (own.keys() - _WHOSE.keys()):
        raise ValueError(f"The descriptions of the table {name} do not fit its columns: {wrong}.")
    for column in columns:
        yield code(column), {**own, **_WHOSE}[column]


def states() -> str:
    """Return a table of a round's states."""
    from decloud_pl.journal.record import State

    if missing := {state.value for state in State} ^ _STATES.keys():
        raise ValueError(f"_STATES in {Path(__file__).name} does not fit `State`: {missing}.")
    return table(
        ("state", "meaning", "final", "counts against `max_concurrent_rounds`"),
        (
            (code(state.value), _STATES[state.value], "yes" if state.is_final else "", "yes" * state.occupies_slot)
            for state in State
        ),
    )


_STATES = {
    "seen": "The round meets the criteria. The daemon has sent no transaction for it.",
    "joining": "The daemon is sending the transaction that joins.",
    "waiting": "Joined. The validator has not started the training.",
    "overdue": "Joined, and the validator has not started the training by the join deadline.",
    "training": "The training runs, or waits for its next attempt.",
    "withheld": "The update is finished. It is misread, or expected to earn less than the fee, so it is not submitted.",
    "publishing": "The daemon is pinning the update and reading it back.",
    "ready": "The update is published. The daemon submits it shortly before the deadline (`submit.when=late`).",
    "submitting": "The daemon is sending the transaction that submits the CID.",
    "submitted": "The CID is on chain. The validator has not completed the round.",
    "claiming": "The daemon is sending the transaction that claims the reward.",
    "claimed": "The reward is in the wallet.",
    "unrewarded": "The round is completed, and this update has no share.",
    "missed": "A deadline passed.",
    "expired": "The program ended the round because it had no validator, no trainers or no submissions.",
    "cancelled": "The creator cancelled the round.",
    "aborted": "The validator gave the round up (v1.2).",
    "failed": "This trainer cannot finish the round.",
}


def result() -> str:
    """Return a table of the keys of an experiment's ``result.json``."""
    from decloud_pl.experiment.results import Result

    known = attributes(Result) | {
        "gain": summary(Result.gain),
        "format": "The version of this document.",
    }
    keys = [entry.name for entry in dataclasses.fields(Result)]
    types_ = {entry.name: type_name(entry.type) for entry in dataclasses.fields(Result)}
    rows = [(code(key), known[key], code(types_.get(key, "float | None"))) for key in [*keys, "gain"]]
    return table(("key", "meaning", "type"), rows)
