"""Infer the convention from completed rounds, on a real chain with real files."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.cli import main
from decloud_pl.config import compose
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import RpcRejected, SizeLimitExceeded
from decloud_pl.journal.findings import readings
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.writer import Journal
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.localnet.agents.validator import Validator
from decloud_pl.rounds.conventions import Conventions
from decloud_pl.rounds.events import Noted, Trouble
from decloud_pl.rounds.gather import Evidences
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.rounds.scoring import score_round
from decloud_pl.store.fetch.fetcher import NEVER, Fetched
from decloud_pl.store.fetch.gateway import GatewayReader
from tests.harness.proxy import Fault, FaultProxy
from tests.localnet.agents.conftest import RATE, State, Town, always
from tests.world import PATIENCE, Diary


def put(town: Town, name: str, content: State) -> str:
    path = town.home / f"{name}.pt"
    torch.save(content, path)  # the archive contains the file's name, which the quick bench scores by
    return town.network.store.put(path).cid


async def test_the_files_and_the_shares_tell(
    town: Town, quick_bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    base, trained = always(1), always(0)  # zeros are more frequent than ones in the held-out digits
    better = {name: (base[name] - trained[name]) / RATE for name in base}
    worse = {name: -tensor for name, tensor in better.items()}
    cids = [put(town, "good", better), put(town, "bad", worse), town.put(b"no update")]
    round_id = await town.post(town.put(base))
    validator = town.validator(quick_bench)
    await validator.step()
    trainers = [await town.join(round_id) for _ in cids]
    await validator.step()
    for trainer, cid in zip(trainers, cids, strict=True):
        await town.submit(trainer, round_id, cid)
    await validator.step()
    assert await town.status(round_id) is RoundStatus.COMPLETED
    places = town.network.endpoints
    command = ["convention", "--json", f"network.rpc_url={places.rpc_url}", f"network.gateways=[{places.gateway_url}]"]
    assert await asyncio.to_thread(main, command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["convention"], found["configured"], found["passed_over"]) == ("gradient", "auto", {})
    outcomes = {entry["trainer"]: entry for entry in found["rounds"][0]["outcomes"]}
    assert outcomes[str(trainers[0].wallet.address)]["gains"]["gradient"] > 0
    assert outcomes[str(trainers[0].wallet.address)]["gains"]["delta"] <= 0
    assert outcomes[str(trainers[2].wallet.address)]["gains"] is None


@dataclass
class Counting:
    """Wraps the gateway reader and records its calls. Raises ``failures`` first, one per call."""

    inner: GatewayReader
    fetched: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def fetch(self, cid: str, destination: Path, *, max_bytes: int, cancel: threading.Event = NEVER) -> Fetched:
        self.fetched.append(cid)
        self.limits.append(max_bytes)
        if self.failures:
            raise self.failures.pop(0)
        return self.inner.fetch(cid, destination, max_bytes=max_bytes, cancel=cancel)


async def test_the_daemon_finds_each_validators_convention_in_the_background_and_looks_once(
    town: Town, quick_bench: Bench, tmp_path: Path
) -> None:
    base, trained = always(1), always(0)
    gained = {name: trained[name] - base[name] for name in base}
    as_gradient = {name: -tensor / RATE for name, tensor in gained.items()}
    validators = [town.validator(quick_bench), town.validator(quick_bench)]

    async def complete(validator: Validator, good: State, bad: State) -> int:
        """Complete a round whose validator gives the whole reward to the first of two updates."""
        round_id = await town.post(town.put(base))
        cids = [put(town, "good", good), put(town, "bad", bad)]
        await validator.step()
        trainers = [await town.join(round_id) for _ in cids]
        await validator.step()
        for trainer, cid in zip(trainers, cids, strict=True):
            await town.submit(trainer, round_id, cid)
        await validator.step()
        assert await town.status(round_id) is RoundStatus.COMPLETED
        return round_id

    await complete(validators[0], as_gradient, gained)
    owner = Owner("net", str(town.dialect.program_id), "wallet")
    diary, reader = Diary(), Counting(GatewayReader([town.network.endpoints.gateway_url]))
    addresses = [str(validator.actor.wallet.address) for validator in validators]
    with Journal(tmp_path / "journal", owner) as journal:
        evidences = Evidences(
            town.chain,
            reader,
            lambda: make_catalog(compose([])),
            journal,
            diary,
            gradient_rate=RATE,
            max_bytes=1 << 24,
        )
        conventions = Conventions(NetworkConfig(), town.dialect, journal)
        gathering = asyncio.create_task(evidences.gather())
        await diary.until(lambda: len(readings(journal)) == 1, patience=120)
        evidences.ask(await complete(validators[1], gained, as_gradient))
        await diary.until(lambda: len(readings(journal)) == 2, patience=120)
        assert [conventions.of(one).convention for one in addresses] == ["gradient", "delta"]
        gathering.cancel()
        await asyncio.wait({gathering})
        third = await complete(validators[0], gained, as_gradient)  # this validator now uses the other convention
        again = asyncio.create_task(evidences.gather())  # after a restart
        await diary.until(lambda: len(readings(journal)) == 3, patience=120)
        again.cancel()
        await asyncio.wait({again})
        assert len(reader.fetched) == 3 * 3  # each round: the base model and two updates, fetched once
        choice = conventions.of(addresses[0])
        assert (choice.convention, f"round {third}" in choice.why) == ("delta", True)
    said = [event.message for event in diary.events if isinstance(event, Noted)]
    found = [(addresses[0], "gradient"), (addresses[1], "delta"), (addresses[0], "delta")]
    for message, (address, convention) in zip(said, found, strict=True):
        assert f"{address} reads updates as {convention}" in message


async def complete_one(town: Town, validator: Validator, dataset: str = "custom") -> int:
    """Complete a round with one update."""
    number = await town.post(town.put(always(1)), dataset)
    await validator.step()
    trainer = await town.join(number)
    await validator.step()
    await town.submit(trainer, number, put(town, "good", always(0)))
    await validator.step()
    assert await town.status(number) is RoundStatus.COMPLETED
    return number


def score_by(monkeypatch: pytest.MonkeyPatch, path: Path, script: str) -> None:
    """Start a shell script as the scoring process, from now on."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


async def test_a_round_whose_scoring_this_machine_ended_is_looked_at_again(
    town: Town, quick_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await complete_one(town, town.validator(quick_bench))
    diary, reader = Diary(), Counting(GatewayReader([town.network.endpoints.gateway_url]))
    with Journal(tmp_path / "journal", Owner("net", str(town.dialect.program_id), "wallet")) as journal:
        evidences = Evidences(
            town.chain,
            reader,
            lambda: make_catalog(compose([])),
            journal,
            diary,
            gradient_rate=RATE,
            max_bytes=1 << 30,
        )
        score_by(monkeypatch, tmp_path / "killed", "kill -9 $$")  # like the kernel when memory runs out
        gathering = asyncio.create_task(evidences.gather())
        await diary.until(lambda: bool(diary.events))
        gathering.cancel()
        await asyncio.wait({gathering})
        (event,) = diary.events
        assert isinstance(event, Trouble)
        assert "was killed" in event.message
        assert readings(journal) == []
        unscored = json.dumps({"error": "It is no model.", "fix": "", "of_data": False})
        score_by(monkeypatch, tmp_path / "unscored", f"echo '{unscored}'")
        again = asyncio.create_task(evidences.gather())  # a later attempt
        async with asyncio.timeout(PATIENCE):
            while not readings(journal):  # noqa: ASYNC110 (an inconclusive round causes no event)
                await asyncio.sleep(0.02)
        again.cancel()
        await asyncio.wait({again})
        assert [(reading.round_id, reading.note) for reading in readings(journal)] == [(number, "It is no model.")]


async def test_a_damaged_data_set_is_reported_once_a_day_and_its_other_rounds_are_not_fetched(
    town: Town, quick_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validator = town.validator(quick_bench)
    validator.mappings["mnist"] = "digits"
    oldest = await complete_one(town, validator, "mnist")
    await complete_one(town, validator)
    latest = await complete_one(town, validator)
    damaged = json.dumps({"error": "The labels are damaged.", "fix": "", "of_data": True})
    score_by(monkeypatch, tmp_path / "damaged", f"echo '{damaged}'")
    diary, reader = Diary(), Counting(GatewayReader([town.network.endpoints.gateway_url]))
    with Journal(tmp_path / "journal", Owner("net", str(town.dialect.program_id), "wallet")) as journal:
        evidences = Evidences(
            town.chain,
            reader,
            lambda: make_catalog(compose(["mappings.mnist=digits"])),
            journal,
            diary,
            gradient_rate=RATE,
            max_bytes=1 << 30,
        )
        for day in (1, 2):
            gathering = asyncio.create_task(evidences.gather())
            await diary.until(lambda expected=2 * day: len(diary.events) == expected)  # type: ignore[misc]
            gathering.cancel()
            await asyncio.wait({gathering})
            assert len(reader.fetched) == day * 2 * 2  # of the latest and the oldest: the base model and the update
        assert readings(journal) == []
    said = "The labels are damaged. Its updates were not scored. Retrying on another day."
    assert diary.events == [Noted(latest, said), Noted(oldest, said)] * 2


async def test_no_failure_of_a_look_ends_the_daemon_and_none_is_repeated_at_once(
    town: Town, quick_bench: Bench, tmp_path: Path
) -> None:
    failures = [OSError(28, "No space left on device"), SizeLimitExceeded("It is too large."), ValueError("a defect")]
    validator = town.validator(quick_bench)
    numbers = [await complete_one(town, validator) for _ in failures]
    diary = Diary()
    reader = Counting(GatewayReader([town.network.endpoints.gateway_url]), failures=failures)
    with Journal(tmp_path / "journal", Owner("net", str(town.dialect.program_id), "wallet")) as journal:
        evidences = Evidences(
            town.chain,
            reader,
            lambda: make_catalog(compose([])),
            journal,
            diary,
            gradient_rate=RATE,
            max_bytes=1 << 30,
        )
        gathering = asyncio.create_task(evidences.gather())
        first, second, third = numbers
        for number in (third, second, second, first):  # the search backwards stops at the third, the latest one
            evidences.ask(number)
        await diary.until(lambda: len(diary.events) == 2)
        assert len(reader.fetched) == len(numbers)
        assert reader.limits[0] == reader.limits[1] > reader.limits[2]  # earlier downloads use up the byte limit
        assert not gathering.done()
        gathering.cancel()
        await asyncio.wait({gathering})
        assert readings(journal) == []
    said = [event.message for event in diary.events if isinstance(event, (Noted, Trouble))]
    assert ["No disk space left" in said[0], "internal error (ValueError)" in said[1]] == [True, True]


async def test_nothing_is_downloaded_where_no_endpoint_lists_accounts(town: Town, tmp_path: Path) -> None:
    round_ = await town.round(await town.post(town.put(always(1))))
    places = town.network.endpoints
    reader = Counting(GatewayReader([places.gateway_url]))
    async with FaultProxy(places.rpc_url, places.ws_url, [Fault("410", ["getProgramAccounts"])]) as proxy:
        chain = ChainClient(RpcClient(proxy.url), town.dialect)
        try:
            with pytest.raises(RpcRejected, match="refused getProgramAccounts") as caught:
                await score_round(
                    *(chain, reader, make_catalog(compose([])), tmp_path, round_),
                    split="test",
                    gradient_rate=RATE,
                    max_bytes=1 << 24,
                )
        finally:
            await chain.rpc.aclose()
    assert "network.fallback_rpc_urls" in caught.value.fix
    assert reader.fetched == []
