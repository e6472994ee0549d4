"""The data of the pages: sorting, paging and the choice of wallet."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from decloud_pl.dashboard.views import PAGE_SIZE, Views, thinned
from decloud_pl.journal.audits import Audit, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.track_record import SeenRound, store_rounds
from decloud_pl.journal.writer import Journal
from tests.dashboard.conftest import record


@pytest.fixture
def views(tmp_path: Path) -> Views:
    """Three claimed rounds with different gains, and an active one."""
    journal = Journal(tmp_path / JOURNAL_FILE, Owner("net", "program", "wallet"), now=lambda: 5.0)
    for number, (before, after, lamports) in enumerate([(0.1, 0.9, 30), (0.5, 0.95, 10), (0.6, 0.7, 20)]):
        row = record(number, State.CLAIMED, claimed_lamports=lamports, accuracy_before=before, accuracy_after=after)
        journal.save(row)
    journal.save(record(3, State.WAITING))
    journal.close()
    return Views(tmp_path)


def numbers(views: Views, **asked: object) -> list[int]:
    given = {"state": "", "text": "", "page": 1, "order": "round_id", "descending": True, **asked}
    return [entry.round_id for entry in views.rounds("", **given).entries]  # type: ignore[arg-type]


def test_rounds_are_sorted_by_a_column_or_a_difference(views: Views) -> None:
    assert numbers(views) == [3, 2, 1, 0]
    assert numbers(views, descending=False) == [0, 1, 2, 3]
    assert numbers(views, order="gain") == [0, 1, 2, 3]
    assert numbers(views, order="gain", descending=False) == [
        2,
        1,
        0,
        3,
    ]  # rounds without a value come last in both orders
    assert numbers(views, order="earned", descending=False, state="earned") == [1, 2, 0]
    assert numbers(views, order="model_cid; DROP TABLE rounds") == [3, 2, 1, 0]


def test_a_page_that_is_not_there_is_the_nearest(views: Views) -> None:
    shown = views.rounds("", state="", text="", page=99, order="round_id", descending=True)
    assert (shown.page, shown.count) == (1, 4)


def test_no_entry_of_the_log_is_lost_between_two_pages(tmp_path: Path) -> None:
    times = (float(number // 3) for number in itertools.count())  # always three entries with the same time
    journal = Journal(tmp_path / JOURNAL_FILE, Owner("net", "program", "wallet"), now=lambda: next(times))
    for number in range(2 * PAGE_SIZE):
        journal.save(record(number, State.SEEN))
    journal.close()
    views, shown, before = Views(tmp_path), list[int | None](), None
    while True:
        page = views.log("", round_id=None, kind="", text="", before=before)
        shown += [entry.round_id for entry in page.entries]
        before = page.older
        if before is None:
            break
    assert sorted(shown, key=str) == sorted(range(2 * PAGE_SIZE), key=str)


def test_a_round_shows_its_audit_but_not_the_shares_of_another_wallet(tmp_path: Path, views: Views) -> None:
    audit = Audit(0, "v", "c", "unfair", "delta", "wallet", 6_000, 1_000, 100, note="Half of the pool is kept.")
    other = replace(audit, round_id=1, trainer="another")
    with Journal(tmp_path / JOURNAL_FILE, Owner("net", "program", "wallet")) as journal:
        store_audit(journal, audit)
        store_audit(journal, other)
    shown = {number: views.round("", number) for number in (0, 1, 2)}
    found = [one.audit for one in shown.values() if one is not None]
    hidden = replace(other, trainer=None, fair_bps=None, paid_bps=None, noise_bps=None)
    assert found == [audit, hidden, None]


def test_the_overview_shows_a_page_of_active_rounds_and_their_trainings_first(tmp_path: Path, views: Views) -> None:
    with closing(Journal(tmp_path / JOURNAL_FILE, Owner("net", "program", "wallet"))) as journal:
        journal.save(record(4, State.TRAINING))
        for number in range(5, 5 + PAGE_SIZE):
            journal.save(record(number, State.SUBMITTED))
    now = views.overview("")
    assert [one.entry.round_id for one in now.active[:2]] == [4, 4 + PAGE_SIZE]
    assert (len(now.active), now.more_active) == (PAGE_SIZE, 2)


def test_a_wallet_that_is_not_there_is_the_latest(views: Views) -> None:
    assert views.frame("../../etc").wallet == "wallet"
    assert views.frame("").wallets == {"net-program-wallet": "wallet · net"}


def test_an_empty_home_is_empty(tmp_path: Path) -> None:
    nothing = Views(tmp_path / "not" / "there")
    assert nothing.frame("").wallet is None
    assert nothing.overview("").states == {}
    assert nothing.skipped("", text="", page=1, order="at", descending=True).count == 0
    assert nothing.round("", 1) is None
    assert nothing.track_records("").validators == []


def test_track_records_need_no_wallet_and_belong_to_the_network_of_the_chosen_one(views: Views, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    for network in ("net", "other"):
        for folder in (tmp_path, home):
            with Journal(folder / JOURNAL_FILE, Owner(network, "program", ""), now=lambda: 6.0) as journal:
                store_rounds(journal, [SeenRound(number, "c", network, "completed", 1) for number in range(2)])
    assert [one.address for one in views.track_records("").validators] == ["net"]
    with Journal(home / JOURNAL_FILE, Owner("other", "program", ""), now=lambda: 7.0) as journal:
        store_rounds(journal, [SeenRound(number, f"c{number}", "other", "completed", 1) for number in range(60)])
    shown = Views(home).track_records("")
    assert [one.address for one in shown.validators] == ["other"]
    assert len(shown.creators) == PAGE_SIZE


def test_many_points_are_thinned(views: Views) -> None:
    points = [(float(number), 0.0) for number in range(10 * PAGE_SIZE * PAGE_SIZE)]
    assert thinned(points)[0] == points[0]
    assert thinned(points)[-1] == points[-1]
    assert len(thinned(points)) < 1000
