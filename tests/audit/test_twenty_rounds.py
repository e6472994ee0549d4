"""Twenty rounds by validators that pay fairly, equally, wrongly, late or a friend: each is named, no fair one accused.

The network's oracle computes the fair shares; it shares no code with the audit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from decloud_pl.audit import evidence_file
from decloud_pl.audit.background import Audits
from decloud_pl.journal.audits import audits
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Audited
from tests.audit.conftest import Market, Pay
from tests.world import Diary

_ROUNDS_EACH = 4
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


async def test_each_is_named_and_no_fair_one_is_accused(market: Market, tmp_path: Path) -> None:
    chance = random.Random(3)
    expected: dict[int, tuple[str, bool]] = {}
    rounds = [kind for kind in KINDS for _ in range(_ROUNDS_EACH)]
    chance.shuffle(rounds)
    for kind in rounds:
        pay, wait, verdict = KINDS[kind]
        updates = chance.sample(market.models.updates, 3)
        number = await market.complete(updates, pay, validator=kind, wait=wait)
        expected[number] = (verdict, bool(wait))
    owner, diary = Owner("net", str(market.town.dialect.program_id), "wallet"), Diary()
    with Journal(tmp_path / "journal", owner) as journal:
        work = Audits(market.auditor(), journal, diary, home=tmp_path, scope="all")
        await _gather(work, list(expected), diary, lambda: len(audits(journal)) == len(expected))
        found = {row.round_id: (row.verdict, row.is_late) for row in audits(journal)}
        assert found == expected, [row for row in audits(journal) if found[row.round_id] != expected[row.round_id]]
    for number, (verdict, is_late) in expected.items():
        report = evidence_file.read(evidence_file.path_of(tmp_path, owner, number))
        assert (report.verdict, report.is_late) == (verdict, is_late)


async def _gather(work: Audits, asked: list[int], diary: Diary, done: Callable[[], bool]) -> None:
    for number in asked:
        work.ask(number)
    task = asyncio.create_task(work.gather())
    await diary.until(done, patience=1800)
    task.cancel()
    await asyncio.wait({task})
    seen = [event.round_id for event in diary.events if isinstance(event, Audited)]
    assert sorted(number for number in seen if number is not None) == sorted(asked)  # each round once
