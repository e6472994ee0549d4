"""Invalid journals, and files of other programs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.writer import Journal
from tests.hostile.conftest import Meet


def _journal(path: Path) -> None:
    with Journal(path, Owner("net", "program", "wallet")) as journal:
        for number in range(200):
            journal.save(RoundRecord(number, State.SEEN, "custom", "digits", "bafybase", 10**9, reason="x" * 300))


def _cut(path: Path) -> None:
    _journal(path)
    path.write_bytes(path.read_bytes()[:1000])


def _without_tables(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 5")
        db.execute("CREATE TABLE rounds (x)")


def _of_version(version: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x)")
            db.execute(f"PRAGMA user_version = {version}")

    return make


def _big(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + bytes(84))
    os.truncate(path, 4 << 30)


INPUTS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_bytes(b"not a journal" * 100),
    "noise": lambda path: path.write_bytes(os.urandom(1 << 20)),
    "a header alone": lambda path: path.write_bytes(b"SQLite format 3\x00"),
    "cut off": _cut,
    "of another program": _without_tables,
    "of version 1": _of_version(1),
    "of version 99": _of_version(99),
    "of a negative version": _of_version(-5),
    "four gigabytes of zeros": _big,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_invalid_journal(name: str, run: Meet, home: Path) -> None:
    INPUTS[name](home / "journal.sqlite")
    run("history").in_one_sentence(code=11)
