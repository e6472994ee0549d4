"""Run a DECLOUD network on this machine.

Runs the on-chain program, an RPC server, a store gateway, a creator and a validator. Only programs on this machine can
reach the network. The home folder contains the state, the store, and the wallets of the creator and the validator. The
command prints a line for each step of a round: posted, claimed by the validator, joined, submitted, scored and paid.
The network downloads no data sets. The command `datasets --download NAME` does.

Examples:
  decloud-trainer localnet
  decloud-trainer localnet --rpc-port 0 --gateway-port 0 --json
  decloud-trainer localnet --no-agents --speed 100
  decloud-trainer localnet --dialect v1.1 --convention gradient
  decloud-trainer localnet --dataset fashionmnist --dataset imdb --architecture vit_tiny --architecture text_bag
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from decloud_pl.cli.arguments import FILE, Choice, WholeNumber, as_json, command, dialect
from decloud_pl.cli.ui.streams import print_document
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from decloud_pl.localnet.agents.bench import Scoring
    from decloud_pl.localnet.network import AgentOptions, LocalNetwork

_FASTEST = 1000


@command(__doc__)
@click.option("--rpc-port", type=int, default=8899, metavar="N", help="HTTP port (0: any); WebSocket uses the next")
@click.option("--gateway-port", type=int, default=8080, metavar="N", help="port of the store gateway (0: any)")
@click.option("--home", type=FILE, metavar="DIR", help="folder for state and store")
@click.option("--no-agents", is_flag=True, help="run neither creator nor validator")
@click.option("--speed", type=float, default=1.0, metavar="X", help="run the chain's clock X times as fast")
@click.option("--rounds", type=int, default=0, metavar="N", help="number of rounds to post (default: no limit)")
@click.option(
    "--dataset",
    multiple=True,
    metavar="NAME",
    help="data set of the rounds, in turn (default custom, scored on digits; repeatable)",
)
@click.option(
    "--architecture",
    multiple=True,
    metavar="NAME",
    help="architecture of the base models; each data set gets the first that fits (repeatable)",
)
@click.option("--data", type=FILE, metavar="DIR", help="the validator's data folder")
@click.option("--open-rounds", type=WholeNumber(1), default=1, metavar="N", help="open rounds at a time (default 1)")
@click.option("--reward", default="1", metavar="SOL", help="reward per round (default 1)")
@dialect
@click.option(
    "--convention",
    type=Choice(("delta", "gradient", "equal")),
    help="how the validator reads updates; equal: same share for all (default: the dialect's)",
)
@as_json
@click.option("--exit-with-parent", is_flag=True, help="stop when standard input closes")
def run(
    rpc_port: int,
    gateway_port: int,
    home: Path | None,
    no_agents: bool,
    speed: float,
    dialect: str | None,
    convention: Scoring | None,
    as_json: bool,
    exit_with_parent: bool,
    **agents: Any,
) -> int:
    options = None if no_agents else _agent_options(dialect, **agents)
    # A blockhash expires after 60 seconds of the chain's time. At higher speeds, no transaction could land in time.
    if not 0 < speed <= _FASTEST:
        raise UsageError(f"--speed must be greater than 0 and at most {_FASTEST} (got {speed:g}).")
    for name, port in (("--rpc-port", rpc_port), ("--gateway-port", gateway_port)):
        if not 0 <= port < 65_535:
            raise UsageError(f"{name} must be from 0 to 65534 (got {port}).")
    import asyncio

    from decloud_pl.config import default_home
    from decloud_pl.localnet.network import LocalNetwork

    network = LocalNetwork(
        (home or default_home() / "localnet").expanduser().resolve(),
        rpc_port=rpc_port,
        gateway_port=gateway_port,
        agents=options,
        convention=convention,
        speed=speed,
        dialect=dialect,
        say=partial(_say, to=sys.stderr if as_json else sys.stdout),
    )
    asyncio.run(_serve(network, has_agents=options is not None, as_json=as_json, exit_with_parent=exit_with_parent))
    return 0


def _agent_options(
    dialect: str | None,
    rounds: int,
    dataset: Sequence[str],
    architecture: Sequence[str],
    data: Path | None,
    open_rounds: int,
    reward: str,
) -> AgentOptions:
    from decloud_pl.chain.dialects import get_dialect
    from decloud_pl.data.entry import DataFolder
    from decloud_pl.domain import parse_sol
    from decloud_pl.localnet.agents.offers import make_offers
    from decloud_pl.localnet.network import AgentOptions
    from decloud_pl.localnet.program import NEWEST

    try:
        lamports = parse_sol(reward)
    except ValueError as error:
        raise UsageError(f"--reward: {error}.", fix="Example: --reward 0.5.") from error
    if not lamports or rounds < 0:
        raise UsageError(f"--reward must be greater than 0 and --rounds at least 0 (got {reward} and {rounds}).")
    data = None if data is None else data.expanduser().resolve()
    folder = DataFolder.from_node({"folder": data, "download": False})
    offers = make_offers(dataset or ("custom",), architecture, folder, get_dialect(dialect or NEWEST))
    return AgentOptions(rounds, lamports, offers, open_rounds, data)


def _say(line: str, *, to: TextIO) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=to, flush=True)


async def _serve(network: LocalNetwork, *, has_agents: bool, as_json: bool, exit_with_parent: bool) -> None:
    import dataclasses

    from decloud_pl.children import stop_event

    with stop_event(with_parent=exit_with_parent) as stop:
        async with network:
            endpoints = network.endpoints
            if as_json:
                print_document(dataclasses.asdict(endpoints))
            else:
                print(f"RPC        {endpoints.rpc_url}")
                print(f"WebSocket  {endpoints.ws_url}")
                print(f"Gateway    {endpoints.gateway_url}")
                print(f"Program    {endpoints.program_id}")
                print(f"Dialect    {endpoints.dialect}")
                print(f"Home       {endpoints.home}", flush=True)
                if has_agents:
                    print("Creator and validator are running. Press Ctrl-C to stop the network.", flush=True)
            await stop.wait()
