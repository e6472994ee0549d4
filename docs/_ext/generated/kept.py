"""What is kept on disk: the journal and the results of experiments."""

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
        "reason": "Why, for people.",
    },
    "transactions": {
        "key": "What it is for, for example `join:42`: a step is not sent twice.",
        "signature": "The transaction's.",
        "blockhash": "The block that it refers to.",
        "last_valid_block_height": "After this block it can no longer land.",
        "wire": "The signed bytes, which may be sent again.",
        "outcome": "Whether it landed.",
        "fee": "Lamports.",
        "deposit": "Lamports of the rent of an account that it made.",
        "recorded_at": "Unix seconds.",
    },
    "uploads": {
        "store": "The storage.",
        "update_cid": "CID of the update on disk.",
        "state": "How far the upload is.",
        "cid": "The CID that the storage gave.",
    },
    "revisions": {
        "name": "The revision of the program that was found.",
        "evidence": "What shows it.",
        "at": "Unix seconds.",
    },
    "readings": {
        "validator": "Who scored the round, base58.",
        "convention": "How it read the updates; empty where the shares do not tell.",
        "note": "Why they do not tell, or by how much one convention fits better.",
        "at": "Unix seconds.",
    },
}
"""The columns that are no `RoundRecord`'s."""


def journal() -> str:
    """Every table of the journal with its columns."""
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
        else attributes(record) | {"state": "[How far the trainer is](#states-of-a-round)."}
    )
    columns = [column for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (name,))]
    if wrong := (set(columns) - _WHOSE.keys()) ^ (own.keys() - _WHOSE.keys()):
        raise ValueError(f"The descriptions of the table {name} do not fit its columns: {wrong}.")
    for column in columns:
        yield code(column), {**own, **_WHOSE}[column]


def states() -> str:
    """Every state of a round."""
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
    "seen": "The round fits; nothing has been sent for it.",
    "joining": "The transaction that joins is being sent.",
    "waiting": "Joined. The validator has not started the training.",
    "overdue": "Joined, and the validator has not started the training by the join deadline.",
    "training": "The training runs, or waits for its next attempt.",
    "withheld": "The update is finished, but misread or expected to earn less than the fee, so it was not published.",
    "publishing": "The update is being pinned and read back.",
    "submitting": "The transaction that submits the CID is being sent.",
    "submitted": "The CID is on chain. The validator has not completed the round.",
    "claiming": "The transaction that claims the reward is being sent.",
    "claimed": "The reward is in the wallet.",
    "unrewarded": "The round is completed, and this update's share is nothing.",
    "missed": "A deadline passed.",
    "expired": "The program ended the round for want of a validator, of trainers or of submissions.",
    "cancelled": "The creator cancelled the round.",
    "aborted": "The validator gave the round up (v1.2).",
    "failed": "The round cannot be finished by this trainer.",
}


def result() -> str:
    """Every key of an experiment's ``result.json``."""
    from decloud_pl.experiment.results import Result

    known = attributes(Result) | {
        "gain": summary(Result.gain),
        "format": "The version of this document.",
    }
    keys = [entry.name for entry in dataclasses.fields(Result)]
    types_ = {entry.name: type_name(entry.type) for entry in dataclasses.fields(Result)}
    rows = [(code(key), known[key], code(types_.get(key, "float | None"))) for key in [*keys, "gain"]]
    return table(("key", "meaning", "type"), rows)
