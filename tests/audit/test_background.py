"""The daemon audits its completed rounds once, and again after a shortage or a missing file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from decloud_pl.audit.background import Audits
from decloud_pl.config import compose
from decloud_pl.data.formats.digits import Digits
from decloud_pl.errors import ContentNotFound, MachineShortage
from decloud_pl.journal.audits import Audit, audit_of, audits, store_audit
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.background import Background
from decloud_pl.rounds.events import Audited, Trouble
from decloud_pl.rounds.gather import Evidences
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.store.fetch.fetcher import NEVER, Fetched, Fetcher
from tests.audit.conftest import Market
from tests.localnet.agents.conftest import RATE
from tests.models.quarantine.test_opening import oom_score_of
from tests.world import Diary


@dataclass
class Failing:
    """A reader that raises the given errors first, and records what it fetched."""

    inner: Fetcher
    failures: list[Exception]
    fetched: list[str] = field(default_factory=list)

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        self.fetched.append(cid)
        if self.failures:
            raise self.failures.pop(0)
        return self.inner.fetch(cid, destination, max_bytes=max_bytes, cancel=cancel)


async def _work(work: Background, diary: Diary, done: Callable[[], bool]) -> None:
    """Run the work of one day until the condition is met."""
    task = asyncio.create_task(work.gather())
    await diary.until(done, patience=600)
    task.cancel()
    await asyncio.wait({task})


async def test_own_rounds_are_audited_once_and_after_a_shortage(market: Market, tmp_path: Path) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    updates = market.models.updates[:2]
    friendly = await market.complete(updates, _all_to_others(wallet), trainers=[trainer])
    await market.complete(updates, lambda shares: shares)  # a round of others
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = market.auditor()
    failures = [OSError(28, "No space left on device"), ContentNotFound("No gateway has the file.")]
    reader = Failing(auditor.reader, failures)
    with Journal(tmp_path / "journal", owner) as journal:
        seen = RoundRecord(friendly, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy")
        journal.save(seen)
        work = Audits(replace(auditor, reader=reader), journal, diary, home=tmp_path, scope="own")

        await _work(work, diary, lambda: bool(diary.events))
        (event,) = diary.events
        assert isinstance(event, Trouble)
        assert ("No disk space left" in event.message, event.of_machine, audits(journal)) == (True, True, [])

        await _work(work, diary, lambda: len(diary.events) == 2)
        row = audit_of(journal, friendly)
        assert row is not None
        assert (row.verdict, row.tries_left) == ("unknown", 2)
        assert "No gateway has the file." in row.note

        oom_score = asyncio.create_task(_oom_score_of_scoring())
        await _work(work, diary, lambda: len(diary.events) == 3)
        assert await oom_score == "900"  # more than a training has
        (row,) = audits(journal)
        assert (row.verdict, row.trainer, row.paid_bps, row.tries_left) == ("unfair", wallet, 0, 0)
        assert row.fair_bps == row.lost_bps > 5_000
        own = f"Your share is 0 %, and the fair share is {row.fair_bps / 100:g} %."
        assert row.said == f"{own} {row.note}"
        alert = diary.events[-1]
        assert isinstance(alert, Audited)
        assert (alert.verdict, alert.lost_bps) == ("unfair", row.fair_bps)
        assert alert.message == f"Audit: unfair. {row.said}"

        fetched = list(reader.fetched)
        again = asyncio.create_task(work.gather())
        work.ask(friendly)
        work.ask(friendly + 1)
        work.ask(10**6)  # no such round
        for _ in range(50):
            await asyncio.sleep(0)
        again.cancel()
        await asyncio.wait({again})
        assert (reader.fetched, len(diary.events)) == (fetched, 3)


async def test_an_own_round_that_cannot_be_scored_is_tried_three_times(market: Market, tmp_path: Path) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    round_id = await market.complete(market.models.updates[:1], lambda shares: shares, trainers=[trainer])
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = market.auditor()
    reader = Failing(auditor.reader, [ContentNotFound("No gateway has the file.") for _ in range(9)])
    with Journal(tmp_path / "journal", owner) as journal:
        journal.save(RoundRecord(round_id, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy"))
        work = Audits(replace(auditor, reader=reader), journal, diary, home=tmp_path, scope="own")
        for day in (1, 2, 3):
            await _work(work, diary, lambda expected=day: len(diary.events) == expected)  # type: ignore[misc]
        row = audit_of(journal, round_id)
        assert row is not None
        assert (row.verdict, row.tries_left, len(reader.fetched)) == ("unknown", 0, 3)
        again = asyncio.create_task(work.gather())
        for _ in range(50):
            await asyncio.sleep(0)
        again.cancel()
        await asyncio.wait({again})
    assert (len(diary.events), len(reader.fetched)) == (3, 3)


async def test_an_older_round_is_audited_after_many_newer_ones(market: Market, tmp_path: Path) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    round_id = await market.complete(market.models.updates[:1], lambda shares: shares, trainers=[trainer])
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = market.auditor()
    reader = Failing(auditor.reader, [ContentNotFound("No gateway has the file.")])
    with Journal(tmp_path / "journal", owner) as journal:
        row = RoundRecord(round_id, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy")
        journal.save(row)
        for newer in range(1000, 1050):
            journal.save(replace(row, round_id=newer))
            store_audit(journal, Audit(newer, "validator", "creator", "fair", convention="delta", trainer=wallet))
        work = Audits(replace(auditor, reader=reader), journal, diary, home=tmp_path, scope="own")
        await _work(work, diary, lambda: bool(diary.events))
        assert audit_of(journal, round_id) is not None


async def test_a_round_that_exhausts_the_machine_again_and_again_is_given_up(market: Market, tmp_path: Path) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    round_id = await market.complete(market.models.updates[:1], lambda shares: shares, trainers=[trainer])
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = market.auditor()
    reader = Failing(auditor.reader, [MachineShortage("This machine has no memory left.") for _ in range(9)])
    with Journal(tmp_path / "journal", owner) as journal:
        journal.save(RoundRecord(round_id, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy"))
        work = Audits(replace(auditor, reader=reader), journal, diary, home=tmp_path, scope="own")
        for day in range(5):
            await _work(work, diary, lambda day=day: len(diary.events) == day + 1)  # type: ignore[misc]
            row = audit_of(journal, round_id)
            assert (None if row is None else row.tries_left) == (None, None, 2, 1, 0)[day]
        assert row is not None
        assert row.note == "The round was not scored: This machine has no memory left."


async def test_a_round_is_audited_after_the_user_has_corrected_the_data_set(market: Market, tmp_path: Path) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    round_id = await market.complete(market.models.updates[:2], lambda shares: shares, trainers=[trainer])
    folder, test = tmp_path / "digits", Digits().load("test")
    folder.mkdir()
    for part in ("train", "test"):
        np.save(folder / f"x_{part}.npy", np.asarray(test.images))
    np.save(folder / "y_train.npy", test.labels)
    np.save(folder / "y_test.npy", test.labels / 2)
    catalog = make_catalog(compose([f"paths.custom={folder}"]))
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = replace(market.auditor(), catalog=lambda: catalog)
    with Journal(tmp_path / "journal", owner) as journal:
        journal.save(RoundRecord(round_id, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy"))
        work = Audits(auditor, journal, diary, home=tmp_path, scope="own")
        await _work(work, diary, lambda: bool(diary.events))
        row = audit_of(journal, round_id)
        assert row is not None
        assert (row.verdict, row.tries_left) == ("unknown", 2)
        assert "have type float64 and shape (359,). Save them as whole numbers" in row.note
        np.save(folder / "y_test.npy", test.labels)
        await _work(work, diary, lambda: len(diary.events) == 2)
        row = audit_of(journal, round_id)
    assert row is not None
    assert (row.verdict, row.tries_left) == ("fair", 0)


async def test_background_work_removes_the_downloads_of_a_killed_process(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = market.town.actor()
    wallet = str(trainer.wallet.address)
    round_id = await market.complete(market.models.updates[:1], lambda shares: shares, trainers=[trainer])
    folders = tmp_path / "folders"
    for name in ("decloud-audit-left", "decloud-evidence-left"):
        (folders / name).mkdir(parents=True)
        (folders / name / ".lock").touch()
        (folders / name / "7-base").write_bytes(b"the model")
    monkeypatch.setattr("tempfile.tempdir", str(folders))
    owner, diary = Owner("net", str(market.town.dialect.program_id), wallet), Diary()
    auditor = market.auditor()
    reader = Failing(auditor.reader, [OSError("It broke."), OSError("It broke.")])
    with Journal(tmp_path / "journal", owner) as journal:
        journal.save(RoundRecord(round_id, State.UNREWARDED, "custom", "digits", "cid", 10**7, pinned_cid="bafy"))
        audits = Audits(replace(auditor, reader=reader), journal, diary, home=tmp_path, scope="own")
        evidences = Evidences(
            *(auditor.chain, reader, auditor.catalog, journal, diary), gradient_rate=RATE, max_bytes=1 << 24
        )
        await _work(audits, diary, lambda: bool(diary.events))
        await _work(evidences, diary, lambda: len(diary.events) == 2)
    assert len(reader.fetched) == 2
    assert list(folders.iterdir()) == []


async def _oom_score_of_scoring() -> str:
    """Wait for the process that scores updates, and return its value."""
    if sys.platform != "linux":
        return "900"
    while True:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "decloud_pl.train.score" in child.cmdline():
                    return await asyncio.to_thread(oom_score_of, child)
        await asyncio.sleep(0.02)


def _all_to_others(wallet: str) -> Callable[..., dict[str, int]]:
    def pay(shares: dict[str, int]) -> dict[str, int]:
        other = next(name for name in shares if name != wallet)
        return {wallet: 0, other: 10_000}

    return pay
