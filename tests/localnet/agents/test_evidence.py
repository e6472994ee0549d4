"""The convention, found out from a completed round on a real chain with real files."""

from __future__ import annotations

import asyncio
import json

import pytest
import torch

from decloud_pl.cli import main
from decloud_pl.domain import RoundStatus
from decloud_pl.localnet.agents.bench import Bench
from tests.localnet.agents.conftest import RATE, State, Town, always


def put(town: Town, name: str, content: State) -> str:
    path = town.home / f"{name}.pt"
    torch.save(content, path)  # the archive holds the file's name, by which the quick bench gives shares
    return town.network.store.put(path).cid


async def test_the_files_and_the_shares_tell(
    town: Town, quick_bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    base, trained = always(1), always(0)  # noughts are more frequent than ones in the held-out digits
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
    assert (found["convention"], found["configured"], found["passed_over"]) == ("gradient", "delta", {})
    outcomes = {entry["trainer"]: entry for entry in found["rounds"][0]["outcomes"]}
    assert outcomes[str(trainers[0].wallet.address)]["gains"]["gradient"] > 0
    assert outcomes[str(trainers[0].wallet.address)]["gains"]["delta"] <= 0
    assert outcomes[str(trainers[2].wallet.address)]["gains"] is None
