"""A damaged journal, or one with an unknown state, causes a one-sentence error in every command and view."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.cli import main
from decloud_pl.dashboard.views import Views
from decloud_pl.errors import JournalError
from decloud_pl.journal.findings import readings, stored_revision
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.uploads import JournalUploadLog, finished_cids
from decloud_pl.journal.writer import Journal
from decloud_pl.store.uploads import Upload, UploadState

OWNER = Owner("net", "program", "wallet")
PAGES = ("rounds", "transitions", "transactions", "uploads", "revisions", "readings")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several pages."""
    path = tmp_path_factory.mktemp("intact") / JOURNAL_FILE
    with Journal(path, OWNER) as journal:
        log = JournalTransactionLog(journal)
        for number in range(100):
            seen = RoundRecord(number, State.SEEN, "custom", "digits", "bafy" * 15, 10**9)
            journal.save(seen)
            journal.save(replace(seen, state=State.CLAIMED, claimed_lamports=5, reason="r" * 50))
            log.record(f"join:{number}", Attempt(f"signature {number}", "hash", 1, b"wire" * 50))
        journal.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def home(intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a copy of the journal."""
    folder = tmp_path / "trainer"
    folder.mkdir(mode=0o700)
    shutil.copy2(intact, folder / JOURNAL_FILE)
    monkeypatch.setenv("DECLOUD_HOME", str(folder))
    return folder


def roots(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))


def overwrite(home: Path, which: Callable[[str, int], bool]) -> None:
    """Overwrite the first pages of some tables and indexes with random bytes."""
    path = home / JOURNAL_FILE
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        pages = [page for name, page in roots(db).items() if which(name, page)]
    assert pages
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(os.urandom(size))


def of_table(home: Path, table: str) -> None:
    overwrite(home, lambda name, _: name == table)


def of_indexes(home: Path) -> None:
    overwrite(home, lambda name, _: name not in PAGES)


def of_all(home: Path) -> None:
    overwrite(home, lambda _, page: page > 1)


def cut(home: Path) -> None:
    path = home / JOURNAL_FILE
    os.truncate(path, path.stat().st_size // 2)


def say(statement: str, home: Path) -> None:
    with closing(sqlite3.connect(home / JOURNAL_FILE)) as db:
        db.execute(statement)
        db.commit()


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{f"the pages of {table}": partial(of_table, table=table) for table in PAGES},
    "the pages of the indexes": of_indexes,
    "every page": of_all,
    "cut off": cut,
    "an unknown state": partial(say, "UPDATE rounds SET state = 'dancing' WHERE round_id = 3"),
    "a state that is not text": partial(say, "UPDATE rounds SET state = x'ff' WHERE round_id = 3"),
    "an unknown state in a transition": partial(say, "UPDATE transitions SET state = 'dancing' WHERE round_id = 3"),
    "bytes for a text": partial(say, "UPDATE rounds SET reason = x'fffe' WHERE round_id = 3"),
    "bytes for a text in a transition": partial(say, "UPDATE transitions SET reason = x'fffe' WHERE round_id = 3"),
    "a text for a number": partial(say, "UPDATE rounds SET claimed_lamports = 'many' WHERE round_id = 3"),
    "a missing table": partial(say, "DROP TABLE transitions"),
    "another table": partial(say, "ALTER TABLE rounds RENAME COLUMN network TO other"),
}


def apply(damage: str, home: Path) -> None:
    make = DAMAGES[damage]
    if isinstance(make, partial) and make.func is say:
        say(make.args[0], home)
    else:
        make(home)


def work(home: Path) -> list[Callable[[Journal], object]]:
    """Return the daemon's operations on its journal."""
    return [
        lambda journal: journal.unfinished(),
        lambda journal: journal.states(),
        lambda journal: journal.rounds(),
        lambda journal: journal.latest_transitions(),
        lambda journal: journal.transitions(3),
        lambda journal: journal.save(RoundRecord(3, State.TRAINING, "custom", "digits", "bafy", 1)),
        lambda journal: JournalTransactionLog(journal).attempts("join:1"),
        lambda journal: JournalUploadLog(journal, 3).get("store"),
        lambda journal: finished_cids(journal, "store"),
        readings,
        stored_revision,
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_one_sentence(damage: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apply(damage, home)
    before = (home / JOURNAL_FILE).read_bytes()
    for arguments in (["history"], ["history", "--json"], ["history", "--csv"]):
        capsys.readouterr()
        code = main(arguments)  # damage in a part that it does not read has no effect
        said = capsys.readouterr().err
        assert (code, said.count("\n")) in ((0, 0), (11, 1)), said
        assert code == 0 or said.startswith(f"decloud-trainer: The journal {home / JOURNAL_FILE} cannot be read: ")
        if code:
            break  # the other formats read the same rows first
    views = Views(home)
    for show in (
        lambda: views.overview(""),
        lambda: views.round(OWNER.folder, 3),
        lambda: views.rounds("", state="", text="", page=1, order="round_id", descending=True),
    ):
        with suppress(JournalError):
            show()
    assert (home / JOURNAL_FILE).read_bytes() == before
    with suppress(JournalError), Journal(home / JOURNAL_FILE, OWNER) as journal:
        for step in work(home):
            with suppress(JournalError):
                step(journal)


def test_an_upload_in_an_unknown_state_is_one_sentence(home: Path) -> None:
    with Journal(home / JOURNAL_FILE, OWNER) as journal:
        log = JournalUploadLog(journal, 3)
        log.save(Upload("store", "bafy", UploadState.BEGUN))
        journal.connection.execute("UPDATE uploads SET state = 'dancing'")
        with pytest.raises(JournalError, match="a row has the unknown state 'dancing'"):
            log.get("store")


@pytest.mark.parametrize(
    ("damage", "options"), [("an unknown state", []), ("every page", ["--json"]), ("bytes for a text", ["--csv"])]
)
def test_what_it_is_about_is_named(
    damage: str, options: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(damage, home)
    assert main(["history", *options]) == 11
    words = {
        "an unknown state": "a row has the unknown state 'dancing'. The file was not changed. Use the version of",
        "every page": "malformed. The file was not changed. Try again, or restore it from a copy.",
        "bytes for a text": "the reason of a row is not valid. The file was not changed.",
    }
    assert words[damage] in capsys.readouterr().err
