"""The cost of reading open rounds grows with the rounds of the last day, not with all rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.cli import main
from tests.harness.trainer import Spec, trainer
from tests.harness.vast import OPEN, VastChain

SIZES = (10_000, 1_000_000)
NOWHERE = "127.0.0.1:9"
Cost = tuple[dict[str, int], int]


async def look(chain: VastChain, home: Path) -> int:
    """Read the open rounds as the daemon does at its start and every hour."""
    spec = Spec(chain.url, [f"ws://{NOWHERE}"], f"http://{NOWHERE}", str(home / "store"), str(home), seed=1)
    async with trainer(spec) as daemon:
        await daemon.discovery.reconcile()
        return len(await daemon.discovery.catch_up())


async def command(chain: VastChain, home: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, [*arguments, f"network.rpc_url={chain.url}", f"home={home}"])


LOOKS: dict[str, Callable[[VastChain, Path], Awaitable[int]]] = {
    "daemon": look,
    "list": lambda chain, home: command(chain, home, "list"),
    "list --status training": lambda chain, home: command(chain, home, "list", "--status", "training", "--json"),
    "convention": lambda chain, home: command(chain, home, "convention"),
}


@pytest.mark.parametrize("name", LOOKS)
async def test_a_million_rounds_cost_what_ten_thousand_cost(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path / "home"))
    costs: list[Cost] = []
    outcomes: list[Any] = []
    for size in SIZES:
        async with VastChain(size, seconds_between=150.0) as chain:  # 576 rounds a day
            outcomes.append(await LOOKS[name](chain, tmp_path / str(size)))
            costs.append(chain.taken())
    (requests, size), (requests_of_many, size_of_many) = costs
    assert requests_of_many == requests
    assert size_of_many == pytest.approx(size, rel=0.02)  # the ids have more digits
    assert outcomes[0] == outcomes[1]
    if name == "list --status training":
        assert capsys.readouterr().out.count('"training"') == 2 * (OPEN // 3)
