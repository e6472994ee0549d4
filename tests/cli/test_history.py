"""`history` only reads the journal, even while a daemon uses it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import daemon_process
from decloud_pl.journal.writer import Journal
from decloud_pl.legible import spreadsheet_cell
from tests.harness.strangers import HOSTILE

MAINNET = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
PROGRAM, WALLET = "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC", "Cvjozd4tFSrr1wDs9UQe86gU1ePMEYPv26bcL5PYK2BZ"


def journal_in(home: Path, **options: Any) -> Journal:
    return Journal(home / "journal.sqlite", Owner("", PROGRAM, WALLET), **options)


def fill(journal: Journal) -> None:
    first = RoundRecord(3, State.JOINING, "custom", "digits", "bafy", 10**9)
    journal.save(first)
    journal.save(
        replace(
            first,
            state=State.CLAIMED,
            accuracy_before=0.1,
            accuracy_after=0.855,
            contribution_bps=10_000,
            claimed_lamports=9 * 10**8,
        )
    )
    journal.save(RoundRecord(4, State.FAILED, "mnist", "mnist", "bafy", 10**9, reason="no luck", claimed_lamports=5))


def test_one_round_is_singular(run: Any, home: Path) -> None:
    journal = journal_in(home)
    journal.save(RoundRecord(4, State.FAILED, "mnist", "mnist", "bafy", 10**9, reason="no luck"))
    journal.close()
    assert run("history").out.endswith("\n1 round, 0 SOL earned\n")


def test_rounds_and_their_earnings(run: Any, home: Path) -> None:
    assert "no rounds yet" in run("history").out
    assert run("history", "--json").document["rounds"] == []
    journal = journal_in(home)
    try:
        fill(journal)  # hold the lock as a daemon does
        ran = run("history")
        document = run("history", "--json").document
        last = run("history", "--last", "1", "--json").document
    finally:
        journal.close()
    assert "10.0 → 85.5" in ran.out
    assert ran.out.endswith("2 rounds, 0.9 SOL earned\n")
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    assert document["networks"] == [{"network": "", "rounds": 2, "earned_lamports": 900_000_000}]
    assert [(entry["round_id"], entry["state"], entry["wallet"]) for entry in document["rounds"]] == [
        (3, "claimed", WALLET),
        (4, "failed", WALLET),
    ]
    assert [entry["round_id"] for entry in last["rounds"]] == [4]
    assert last["networks"] == document["networks"]


def test_the_sol_of_networks_is_not_added(run: Any, home: Path, tmp_path: Path) -> None:
    claimed = RoundRecord(0, State.CLAIMED, "custom", "digits", "bafy", 10**9, contribution_bps=10_000)
    for network, lamports in (("a local one", 882_000_000), (MAINNET, 20_000_000)):
        journal = Journal(home / "journal.sqlite", Owner(network, PROGRAM, WALLET))
        journal.save(replace(claimed, claimed_lamports=lamports))
        journal.close()
    shown = run("history").out
    assert "1 round, 0.882 SOL earned on local\n1 round, 0.02 SOL earned on mainnet\n" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert run("history", "network=mainnet").out.endswith("\n1 round, 0.02 SOL earned\n")
    assert run("history", "network=local").out.endswith("\n1 round, 0.882 SOL earned\n")
    assert "no such rounds" in run("history", "network=devnet").out
    assert [total["earned_lamports"] for total in run("history", "--json").document["networks"]] == [
        882_000_000,
        20_000_000,
    ]
    plotted = run("history", "--plot", str(tmp_path / "earned.svg"))
    assert (plotted.code, "Add network=NAME: local, mainnet." in plotted.err) == (2, True)
    plotted = run("history", "--plot", str(tmp_path / "earned.svg"), "network=mainnet")
    assert plotted.out == f"{tmp_path / 'earned.svg'}: 0.02 SOL in 1 round\n"


def test_several_local_networks_count_as_one(run: Any, home: Path, tmp_path: Path) -> None:
    claimed = RoundRecord(0, State.CLAIMED, "custom", "digits", "bafy", 10**9, contribution_bps=10_000)
    for network in ("one", "another"):
        journal = Journal(home / "journal.sqlite", Owner(network, PROGRAM, WALLET))
        journal.save(replace(claimed, claimed_lamports=10**8))
        journal.close()
    assert run("history").out.endswith("\n2 rounds, 0.2 SOL earned\n")
    plotted = run("history", "--plot", str(tmp_path / "earned.svg"), "network=local")
    assert (plotted.code, plotted.err) == (0, "")
    (home / "conf" / "network").mkdir(parents=True)
    (home / "conf" / "network" / "mine.yaml").write_text("defaults:\n  - local\n  - _self_\nname: mine\n")
    refused = run("history", "network=mine")
    assert (refused.code, "it has no fixed genesis hash" in refused.err) == (2, True)


def test_a_damaged_file_of_another_network_does_not_matter(run: Any, home: Path) -> None:
    journal = journal_in(home)
    fill(journal)
    journal.close()
    folder = home / "conf" / "network"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("a: [")
    (folder / "listed.yaml").write_text("genesis: [1]\n")
    assert run("history").out.endswith("2 rounds, 0.9 SOL earned\n")


def test_one_form_of_output_at_a_time(run: Any) -> None:
    refused = run("history", "--csv", "--json")
    assert (refused.code, "exclude each other" in refused.err) == (2, True)
    assert "--last must be at least 0" in run("history", "--last", "-3").err


def test_a_process_that_holds_the_journal(home: Path) -> None:
    import os

    assert daemon_process(home / "journal.sqlite") is None
    journal = journal_in(home)
    assert daemon_process(home / "journal.sqlite") == os.getpid()
    journal.close()
    assert daemon_process(home / "journal.sqlite") is None


def test_a_journal_that_cannot_be_read(run: Any, home: Path) -> None:
    home.mkdir()
    (home / "journal.sqlite").write_bytes(b"no database at all" * 100)
    ran = run("history")
    assert ran.code == 11
    assert "cannot be read: file is not a database." in ran.err
    assert (home / "journal.sqlite").read_bytes().startswith(b"no database")


def test_a_newer_journal_is_refused(run: Any, home: Path) -> None:
    journal = journal_in(home)
    journal.connection.execute("PRAGMA user_version = 99")
    journal.close()
    ran = run("history")
    assert ran.code == 11
    assert "has format 99" in ran.err


def test_as_comma_separated_values(run: Any, home: Path) -> None:
    journal = journal_in(home, now=lambda: 1_700_000_000.0)
    fill(journal)
    with journal.transaction() as db:
        for key, outcome, fee, deposit in (
            ("join:3", "landed", 5_000, 1_700_000),
            ("submit:3", "expired", 5_000, 0),
            ("check:3:TRAINING", "failed", 7_000, 9),
        ):
            values = (*journal.owner, key, key, "hash", 1, b"", outcome, fee, deposit, 1.0)
            db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    journal.close()
    rows = list(csv.DictReader(run("history", "--csv").out.splitlines()))
    assert [(row["round"], row["state"]) for row in rows] == [("3", "claimed"), ("4", "failed")]
    assert (rows[0]["earned_lamports"], rows[0]["cost_lamports"], rows[0]["gain"]) == ("900000000", "1712000", "0.755")
    assert (rows[1]["earned_lamports"], rows[1]["cost_lamports"], rows[1]["gain"]) == ("0", "0", "")
    assert rows[1]["reason"] == "no luck"
    assert rows[0]["changed"] == "2023-11-14T22:13:20+00:00"


def test_earnings_are_drawn(run: Any, home: Path, tmp_path: Path) -> None:
    picture = tmp_path / "earnings.png"
    empty = run("history", "--plot", str(picture))
    assert (empty.code, picture.exists()) == (2, False)
    assert "no earnings to plot" in empty.err
    journal = journal_in(home)
    fill(journal)
    journal.close()
    assert "0.9 SOL in 1 round" in run("history", "--plot", str(picture)).out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_strangers_words_reach_no_terminal_and_no_spreadsheet_as_they_are(run: Any, home: Path) -> None:
    # No journal can hold half a character.
    texts = [text[:20_000] for text in HOSTILE.values() if "\ud800" not in text]
    journal = journal_in(home)
    for number, text in enumerate(texts):
        journal.save(RoundRecord(number, State.FAILED, text, text, "bafy", 10, reason=text))
    journal.close()
    shown = run("history", "--csv").out
    # Quoted or not, a cell may have no line break of its own.
    assert len(shown.splitlines()) == len(texts) + 1
    rows = list(csv.DictReader(shown.splitlines()))
    assert [row["dataset"] for row in rows] == [spreadsheet_cell(text) for text in texts]
    assert [row["reason"] for row in rows] == [spreadsheet_cell(text) for text in texts]
    assert not [row for row in rows if row["reason"].startswith(("=", "+", "-", "@", "＝"))]
    for options in ([], ["--csv"], ["--json"]):
        output = run("history", *options).out
        assert all(line.isprintable() for line in output.splitlines()), options
        assert "\r" not in output
