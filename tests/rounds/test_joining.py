"""The one place that decides whether to join a round."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.config.schema import JoinConfig
from decloud_pl.domain import Round
from decloud_pl.errors import ContentNotFound, DatasetNotReady, DatasetNotSupported
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import Criteria
from decloud_pl.store.fetch.fetcher import NEVER, Fetched
from tests.rounds.test_select import ENOUGH, NOW, ROUND, to_digits


class Failing:
    """A store without files."""

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        raise ContentNotFound(f"{cid} is not here.")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", Owner("network", "program", "wallet")) as opened:
        yield opened


def test_a_data_set_on_its_way_may_be_here_later(journal: Journal) -> None:
    asked: list[str] = []

    def later(name: str) -> None:
        raise DatasetNotReady(f"the data set {name} is being downloaded")

    def never(name: str) -> None:
        raise DatasetNotSupported(f"The data set {name} is gone.")

    policy = Policy(Criteria(), resolve=to_digits, prepare=asked.append)
    assert Joining(policy, journal).decide(ROUND, now=NOW, balance=ENOUGH).resolved_dataset == "digits"
    waits = Joining(dataclasses.replace(policy, prepare=later), journal).decide(ROUND, now=NOW, balance=ENOUGH)
    assert (waits.accept, waits.settled, waits.unready) == (False, False, True)
    assert waits.reason == "the data set digits is being downloaded"
    assert Joining(dataclasses.replace(policy, prepare=never), journal).decide(ROUND, now=NOW, balance=ENOUGH).settled
    # A round that does not fit starts no download.
    full = dataclasses.replace(ROUND, trainers_count=10)
    assert not Joining(policy, journal).decide(full, now=NOW, balance=ENOUGH).accept
    assert asked == ["digits"]


@pytest.mark.parametrize(("faucet", "joins"), [(False, False), (True, True)])
def test_a_faucet_fills_an_empty_wallet(faucet: bool, joins: bool, journal: Journal) -> None:
    joining = Joining(Policy(Criteria(), resolve=to_digits, faucet=faucet), journal)
    assert joining.decide(ROUND, now=NOW, balance=0).accept is joins
    (balance,) = (check for check in joining.checks(ROUND, now=NOW, balance=0) if check.name == "balance")
    assert ("the network's faucet fills" in balance.detail) is faucet


def test_many_rounds_are_decided_as_each_alone(journal: Journal) -> None:
    joining = Joining(Policy(Criteria(datasets={"digits"}), resolve=to_digits), journal)
    rounds = [ROUND, dataclasses.replace(ROUND, dataset="other"), dataclasses.replace(ROUND, trainers_count=10)]
    together = list(joining.decide_all(rounds, now=NOW, balance=ENOUGH))
    assert together == [joining.decide(round_, now=NOW, balance=ENOUGH) for round_ in rounds]
    assert [decision.accept for decision in together] == [True, False, False]


def test_the_data_folder_is_searched_once_per_data_set(journal: Journal, tmp_path: Path) -> None:
    searches: Counter[str] = Counter()

    def resolve(name: str) -> str:
        searches[f"resolve {name}"] += 1
        return to_digits(name)

    def entry(name: str) -> None:
        searches[f"entry {name}"] += 1

    def prepare(name: str) -> None:
        searches[f"prepare {name}"] += 1

    looks = BaseModels(Failing(), tmp_path, JoinConfig(), 1 << 20)
    joining = Joining(Policy(Criteria(), resolve=resolve, entry=entry, prepare=prepare), journal, looks)
    rounds = [
        dataclasses.replace(ROUND, id=number, dataset=name) for number in range(9) for name in ("custom", "other")
    ]
    accepted = [decision.accept for decision in joining.decide_all(rounds, now=NOW, balance=ENOUGH)]
    assert accepted == [True, False] * 9
    assert searches == {"resolve custom": 1, "resolve other": 1, "entry digits": 1, "prepare digits": 1}


def test_an_unknown_data_set_keeps_its_name_in_the_first_row(journal: Journal) -> None:
    joining = Joining(Policy(Criteria(), resolve=to_digits), journal)
    strange: Round = dataclasses.replace(ROUND, dataset="strange")
    assert joining.record(strange, "joined outside this daemon").resolved_dataset == "strange"
    assert joining.record(ROUND, "it fits").resolved_dataset == "digits"


@pytest.mark.parametrize(
    ("ahead", "joins"),
    [(0, False), (-23 * 3600, False), (23 * 3600, False), (-25 * 3600, True), (25 * 3600, True), (365 * 86_400, True)],
)
def test_costs_count_on_the_day_of_the_clock(ahead: int, joins: bool, tmp_path: Path) -> None:
    """``ahead`` is how far the clock was ahead when the costs were recorded, or set back since then."""
    times = [1e9 + ahead]
    with Journal(tmp_path / "journal.sqlite", Owner("network", "program", "wallet"), now=lambda: times[-1]) as journal:
        JournalTransactionLog(journal).record("join:1", Attempt("signature", "hash", 1, b"wire", fee=100, deposit=0))
        times.append(1e9)
        joining = Joining(Policy(Criteria(join_cost=1, daily_cap=100), resolve=to_digits), journal)
        assert joining.decide(ROUND, now=NOW, balance=ENOUGH).accept is joins
