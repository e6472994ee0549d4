"""One audited round: copies, the evidence file, and its check by somebody else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from decloud_pl.audit.check import completed_round
from decloud_pl.cli import main
from decloud_pl.config import compose
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import RoundError
from decloud_pl.journal.reader import JournalReader
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.rounds.planner import make_catalog
from tests.audit.conftest import Market


def nearly(path: Path, to: Path) -> Path:
    """Write a copy of an update that is scaled and has noise."""
    torch.manual_seed(0)
    entries: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    torch.save({name: 1.02 * one + 0.03 * one.std() * torch.randn_like(one) for name, one in entries.items()}, to)
    return to


async def test_a_round_is_audited_and_its_file_checked(
    market: Market, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = market.models.updates
    updates = [second, first, first, nearly(first, tmp_path / "nearly.pt")]
    trainers = [market.town.actor() for _ in updates]
    number = await market.complete(updates, lambda shares: {**shares}, trainers=trainers)
    other, original, copy, noisy = (str(trainer.wallet.address) for trainer in trainers)
    places, home = market.town.network.endpoints, tmp_path / "trainer"
    settings = [
        f"network.rpc_url={places.rpc_url}",
        f"network.gateways=[{places.gateway_url}]",
        f"home={home}",
        f"wallet.keypair_path={tmp_path / 'none.json'}",
    ]

    async def command(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert await asyncio.to_thread(main, ["audit", *arguments, *settings]) == code
        shown = capsys.readouterr()
        return shown.err if code else shown.out

    shown = json.loads(await command(str(number), "--json"))
    assert (shown["verdict"], shown["is_late"], shown["convention"]) == ("fair", False, "delta")
    pairs = {(one["first"], one["second"]): (one["is_ordered"], one["same_cid"]) for one in shown["copies"]}
    assert pairs == {(original, copy): (True, True), (original, noisy): (True, False), (copy, noisy): (True, False)}
    assert other not in str(pairs)
    entries = {entry["trainer"]: entry for entry in shown["entries"]}
    assert all(entry["submitted"]["signature"] and entry["scored"]["signature"] for entry in entries.values())
    assert sum(entry["paid_bps"] for entry in entries.values()) == 10_000
    with JournalReader(home / JOURNAL_FILE) as journal:
        rows = journal.ask("SELECT round_id, verdict FROM audits")
    assert rows == [(number, "fair")]

    text = await command(str(number))  # without scoring again
    assert "The verdict is fair." in text
    assert f"The updates of {original} and {copy} are equal; {original} submitted first." in text
    file = Path(shown["file"])
    assert f"{file} agrees with what this machine finds" in await command("check", str(file))

    trainer = _change(file, tmp_path / "changed.json")
    said = await command("check", str(tmp_path / "changed.json"), code=17)
    for words in (
        "validator: the file says",
        f"paid_bps of {trainer}: the file says 1,",
        f"fair_bps of {trainer}: the file says 10000",
        f"It says that {trainer} gets 0 samples right",
        f"as the transaction that scored the update of {trainer}, but the chain shows",
        "copies: ",
        "verdict: the file says unfair, and this machine finds fair.",
    ):
        assert words in said
    assert "Traceback" not in said


async def test_a_fair_validator_is_not_accused_for_a_file_that_it_opens(market: Market, tmp_path: Path) -> None:
    strong, weak, *_ = market.models.updates
    entries = torch.load(strong, weights_only=True)
    more, legacy = tmp_path / "more.pt", tmp_path / "legacy.pt"
    torch.save({**entries, "note": torch.zeros(1), "epoch": 3}, more)
    torch.save(entries, legacy, _use_new_zipfile_serialization=False)
    for file, verdict, words in (
        (more, "fair", "The shares are those that the updates earn."),
        (legacy, "unknown", "cannot be checked: its update was not scored. The submission was not written by torch."),
    ):
        trainers = [market.town.actor() for _ in range(2)]
        names = [str(trainer.wallet.address) for trainer in trainers]
        scored = dict(sorted(zip(names, (strong, weak), strict=True)))
        shares = market.models.shares(scored)
        number = await market.complete([file, weak], lambda _, paid=shares: paid, trainers=trainers)  # type: ignore[misc]
        folder = tmp_path / verdict
        folder.mkdir()
        report = await market.auditor().audit(await market.town.round(number), folder)
        assert min(shares.values()) > 0
        assert report.verdict == verdict, report.reasons
        assert words in report.said(None)
        assert report.row(names[0]).lost_bps == 0
        assert report.said(names[1]).startswith("Your share")
        assert report.row(names[1]).note == report.said(None)  # another wallet may read it


async def test_a_round_is_audited_on_the_users_own_data_set(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_lab.py").write_text("from decloud_pl.data.formats.digits import Digits\n")
    entry = Path.home() / ".decloud-trainer" / "conf" / "dataset" / "mine.yaml"
    entry.parent.mkdir(parents=True)
    built_in = (config_dir() / "dataset" / "digits.yaml").read_text()
    entry.write_text(built_in.replace("decloud_pl.data.formats.digits", "my_lab").replace("name: digits", "name: mine"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    catalog = make_catalog(replace(compose(["mappings.custom=mine"]), allow_packages=["my_lab"]))
    number = await market.complete(market.models.updates[:2], lambda fair: fair)
    auditor = replace(market.auditor(), catalog=lambda: catalog)
    report = await auditor.audit(await market.town.round(number), tmp_path)
    assert (report.verdict, report.scored_on) == ("fair", "mine")


async def test_a_round_that_cannot_be_audited_says_whether_there_will_be_one(market: Market) -> None:
    town = market.town
    expired = await town.post(market.put(market.models.base))
    town.clock.advance(3601)
    assert await town.creator.check_if_overdue(await town.round(expired), int(town.clock.now()))
    cancelled = await town.post(market.put(market.models.base))
    cancel = cast(Any, town.dialect).cancel_round(cancelled, creator=town.creator.wallet.address)
    await town.send(town.creator, cancel)
    waiting = await town.post(market.put(market.models.base))
    for number, words in (
        (expired, "it is expired. Choose a completed round"),
        (cancelled, "it is cancelled. Choose a completed round"),
        (waiting, "it is waiting validator. Audit it when its validator has scored it."),
    ):
        with pytest.raises(RoundError, match=words):
            await completed_round(market.auditor(), number)


def _change(file: Path, changed: Path) -> str:
    """Change the file in several ways, and return the trainer of the changed entry."""
    document = json.loads(file.read_text())
    document["verdict"] = "unfair"
    document["validator"] = document["creator"]
    document["copies"] = []
    document["entries"][0].update(paid_bps=1, correct=0, fair_bps=10_000)
    document["entries"][0]["scored"]["signature"] = "1" * 64
    changed.write_text(json.dumps(document))
    return str(document["entries"][0]["trainer"])
