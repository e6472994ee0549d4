"""The journal keeps its rows through crashes, locks and damage."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.errors import JournalError, JournalLocked
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.reader import Transition
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import daemon_process, lock
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal

PROGRAM, WALLET = "Program1111", "Wallet1111"


def record(round_id: int, state: State = State.JOINING, **fields: Any) -> RoundRecord:
    row = RoundRecord(
        round_id=round_id,
        state=state,
        dataset="custom",
        resolved_dataset="digits",
        model_cid="bafy",
        reward_amount=10**9,
    )
    return dataclasses.replace(row, **fields)


def open_journal(path: Path, wallet: str = WALLET) -> Journal:
    return Journal(path, Owner("", PROGRAM, wallet), now=lambda: 1000.0)


def test_a_row_comes_back_as_it_was_saved_after_reopening(tmp_path: Path) -> None:
    full = record(
        7,
        State.SUBMITTED,
        reason="waiting",
        attempts=2,
        update_cid="bafyupdate",
        accuracy_before=0.1,
        accuracy_after=0.9,
        join_signature="sig",
        claimed_lamports=None,
    )
    journal = open_journal(tmp_path / "journal.sqlite")
    journal.save(full)
    journal.close()
    journal = open_journal(tmp_path / "journal.sqlite")
    assert journal.get(7) == full
    assert journal.get(8) is None
    journal.close()


def test_unfinished_leaves_out_every_final_state(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    for number, state in enumerate(State):
        journal.save(record(number, state))
    unfinished = {row.state for row in journal.unfinished()}
    assert unfinished == {state for state in State if not state.is_final}
    assert len(journal.rounds()) == len(State)
    journal.close()


def test_transitions_are_kept_once_each_with_their_time(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    journal.save(record(1))
    journal.save(record(1, attempts=1))
    journal.save(record(1, State.WAITING, reason="joined"))
    assert journal.transitions(1) == [
        Transition(1000.0, State.JOINING, "", 1),
        Transition(1000.0, State.WAITING, "joined", 1),
    ]
    journal.close()


def test_wallets_share_a_file_without_seeing_each_other(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    journal.save(record(1))
    journal.close()
    other = open_journal(tmp_path / "journal.sqlite", wallet="Other1111")
    assert other.rounds() == []
    other.save(record(1, State.CLAIMED))
    other.close()
    journal = open_journal(tmp_path / "journal.sqlite")
    row = journal.get(1)
    assert row is not None
    assert row.state is State.JOINING
    journal.close()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = open_journal(path)
    with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
        open_journal(path)
    journal.close()
    open_journal(path).close()


def test_a_lock_that_is_only_looked_at_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    open_journal(path).close()
    looking = os.open(tmp_path / "journal.sqlite.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    held = lock(path, sleep=lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    assert daemon_process(path) == os.getpid()
    os.close(looking)
    os.close(held)


def test_what_save_returned_from_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from decloud_pl.journal.writer import Journal\n"
        "from decloud_pl.journal.owner import Owner\n"
        "from decloud_pl.journal.record import RoundRecord, State\n"
        "journal = Journal(Path(sys.argv[1]), Owner('', 'Program1111', 'Wallet1111'))\n"
        "for n in range(20):\n"
        "    journal.save(RoundRecord(n, State.JOINING, 'custom', 'digits', 'bafy', 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    journal = open_journal(path)
    assert [row.round_id for row in journal.rounds()] == list(range(20))
    journal.close()


def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(JournalError, match="not changed"):
        open_journal(path)
    assert path.read_bytes() == b"this is not a database" * 100
    path.unlink()
    open_journal(path).close()  # the lock was released


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    journal.save(record(1))

    def fail_half_way() -> None:
        with journal.transaction() as db:
            db.execute("DELETE FROM rounds")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert journal.get(1) == record(1)
    journal.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    open_journal(path).close()
    assert path.stat().st_mode & 0o077 == 0


def test_networks_share_a_file_without_seeing_each_other(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for network in ("GenesisA", "GenesisB"):
        journal = Journal(path, Owner(network, PROGRAM, WALLET))
        assert journal.states() == {}
        journal.save(record(1))
        journal.close()


def test_what_was_spent_counts_what_may_still_land_and_not_what_ran_out(tmp_path: Path) -> None:
    times = iter([100.0, 200.0, 300.0, 400.0])
    journal = Journal(tmp_path / "journal.sqlite", Owner("", PROGRAM, WALLET), now=lambda: next(times))
    log = JournalTransactionLog(journal)
    for name in ("old", "landed", "failed", "expired"):
        log.record("join:1", Attempt(name, "hash", 1, b"wire", fee=10, deposit=1000))
    log.settle("join:1", "landed", "landed")
    log.settle("join:1", "failed", "failed")
    log.settle("join:1", "expired", "expired")
    assert journal.spent_since(0) == 1010 + 1010 + 10
    assert journal.spent_since(200) == 1010 + 10
    assert journal.spent_since(1000) == 0
    journal.close()


def test_a_join_is_unsent_until_one_of_its_transactions_counts_as_spent(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    log = JournalTransactionLog(journal)
    for round_id, state in enumerate((State.SEEN, State.JOINING, State.WAITING, State.MISSED)):
        journal.save(record(round_id, state))
    assert journal.unsent_joins() == 2
    log.record("join:1", Attempt("first", "hash", 1, b"wire"))
    assert journal.unsent_joins() == 1
    log.settle("join:1", "first", "expired")
    assert journal.unsent_joins() == 2
    journal.close()


def test_speed_and_window_are_medians_of_the_last_few(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.sqlite")
    assert (journal.measured("digits"), journal.submit_window(), journal.join_seconds()) == (None, None, 0.0)
    for number, seconds in enumerate([1000.0, 1.0, 2.0, 3.0, 4.0, 50.0]):
        journal.save(
            record(number, State.CLAIMED, train_seconds=seconds, publish_seconds=1.0, submit_window=int(seconds))
        )
    journal.save(record(9, State.TRAINING, train_seconds=9.0))
    assert journal.measured("digits") == 4.0
    assert journal.measured("mnist") is None
    assert journal.submit_window() == 3
    journal.close()
