"""Validators that pay fairly, equally, wrongly, late or a friend: each is named, and no fair one is accused.

The network's oracle computes the fair shares; it shares no code with the audit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from decloud_pl.audit import evidence_file
from decloud_pl.audit.background import Audits
from decloud_pl.audit.verdict import judge
from decloud_pl.journal.audits import audits
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Audited
from decloud_pl.rounds.scoring import Scores, score_round
from tests.audit.conftest import Market, Pay
from tests.localnet.agents.conftest import RATE
from tests.world import Diary

_DAY = 86_400


def fair(shares: Mapping[str, int]) -> Mapping[str, int]:
    return shares


def equal(shares: Mapping[str, int]) -> Mapping[str, int]:
    return {name: 10_000 // len(shares) for name in shares}


def wrong(shares: Mapping[str, int]) -> Mapping[str, int]:
    """Give each trainer the share of the next one."""
    names = list(shares)
    return {name: shares[names[(place + 1) % len(names)]] for place, name in enumerate(names)}


def friend(shares: Mapping[str, int]) -> Mapping[str, int]:
    """Give 70 % to the trainer that earned least, and divide the rest fairly."""
    least = min(shares, key=lambda name: shares[name])
    rest = sum(share for name, share in shares.items() if name != least)
    paid = {name: share * 3_000 // rest for name, share in shares.items() if name != least}
    return {**paid, least: 10_000 - sum(paid.values())}


KINDS: dict[str, tuple[Pay, int, str]] = {
    "fair": (fair, 0, "fair"),
    "equal": (equal, 0, "equal"),
    "wrong": (wrong, 0, "unfair"),
    "friend": (friend, 0, "unfair"),
    "late": (fair, _DAY, "fair"),
}


async def test_a_verdict_is_in_the_journal_and_in_an_evidence_file(market: Market, tmp_path: Path) -> None:
    chance = random.Random(3)
    expected: dict[int, tuple[str, bool]] = {}

    async def complete(kind: str) -> int:
        pay, wait, verdict = KINDS[kind]
        updates = chance.sample(market.models.updates, 3)
        number = await market.complete(updates, pay, validator=kind, wait=wait)
        expected[number] = (verdict, bool(wait))
        return number

    await complete("friend")
    await complete("late")
    owner, diary = Owner("net", str(market.town.dialect.program_id), "wallet"), Diary()
    with Journal(tmp_path / "journal", owner) as journal:
        work = Audits(market.auditor(), journal, diary, home=tmp_path, scope="all")
        for number in expected:
            work.ask(number)  # the daily search audits it, too
        task = asyncio.create_task(work.gather())
        await diary.until(lambda: len(audits(journal)) == 2, patience=600)
        work.ask(await complete("fair"))
        await diary.until(lambda: len(audits(journal)) == 3, patience=600)
        task.cancel()
        await asyncio.wait({task})
        found = {row.round_id: (row.verdict, row.is_late) for row in audits(journal)}
        assert found == expected, [row for row in audits(journal) if found[row.round_id] != expected[row.round_id]]
    seen = [event.round_id for event in diary.events if isinstance(event, Audited)]
    assert sorted(number for number in seen if number is not None) == sorted(expected)  # each round once
    for number, (verdict, is_late) in expected.items():
        report = evidence_file.read(evidence_file.path_of(tmp_path, owner, number))
        assert (report.verdict, report.is_late) == (verdict, is_late)


async def test_each_is_named_and_no_fair_one_is_accused(market: Market, tmp_path: Path) -> None:
    """The scores of one round with all updates contain those of every round with three of them."""
    updates, auditor = market.models.updates, market.auditor()
    trainers = [market.town.actor() for _ in updates]
    files = {str(trainer.wallet.address): path for trainer, path in zip(trainers, updates, strict=True)}
    round_ = await market.town.round(await market.complete(updates, fair, trainers=trainers))
    scores = await score_round(
        *(auditor.chain, auditor.reader, auditor.catalog(), tmp_path, round_),
        split="test",
        gradient_rate=RATE,
        max_bytes=auditor.max_bytes,
    )
    wrong_verdicts = []
    for names in combinations(scores.opened, 3):
        earned = market.models.shares({name: files[name] for name in names})
        for kind, (pay, _, verdict) in KINDS.items():
            judged = judge(_paid(scores, pay(earned)), round_, "delta", is_mapped=True)
            if judged.verdict != verdict:
                wrong_verdicts.append((kind, judged))
    assert wrong_verdicts == []


def _paid(scores: Scores, paid: Mapping[str, int]) -> Scores:
    """Return the scores of a round with only those trainers, and with these shares."""
    places = [place for place, name in enumerate(scores.opened) if name in paid]
    return replace(
        scores,
        submissions=tuple(
            replace(one, contribution_bps=paid[str(one.trainer)])
            for one in scores.submissions
            if str(one.trainer) in paid
        ),
        opened={name: found for name, found in scores.opened.items() if name in paid},
        products={
            convention: tuple(tuple(rows[row][column] for column in places) for row in places)
            for convention, rows in scores.products.items()
        },
    )
