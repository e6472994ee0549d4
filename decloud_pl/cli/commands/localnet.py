"""``decloud-trainer localnet``: a whole DECLOUD network on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from decloud_pl.cli.ui.streams import print_document
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from decloud_pl.localnet.network import AgentOptions

_FASTEST = 1000
_EPILOG = """\
examples:
  decloud-trainer localnet
  decloud-trainer localnet --rpc-port 0 --gateway-port 0 --json
  decloud-trainer localnet --no-agents --speed 100
  decloud-trainer localnet --dataset fashionmnist --dataset imdb --architecture vit_tiny --architecture text_bag

Only programs on this machine can reach it. State, store and the agents' wallets are kept in the home folder.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "localnet",
        help="run a DECLOUD network on this machine",
        description="Runs the on-chain program, an RPC server, a store gateway, a creator and a validator.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rpc-port", type=int, default=8899, metavar="N", help="HTTP port; WebSocket has the next")
    parser.add_argument("--gateway-port", type=int, default=8080, metavar="N", help="store gateway (0: any free)")
    parser.add_argument("--home", type=Path, default=None, metavar="DIR", help="folder for state and store")
    parser.add_argument("--no-agents", action="store_true", help="no creator, no validator")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="run the chain's time X times as fast")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="rounds to post (default: no end)")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="what rounds ask for, in turn (default custom, scored on digits; may be repeated)",
    )
    parser.add_argument(
        "--architecture",
        action="append",
        default=[],
        metavar="NAME",
        help="of the base models; each data set gets the first that fits (may be repeated)",
    )
    parser.add_argument("--data", type=Path, default=None, metavar="DIR", help="the validator's data folder")
    parser.add_argument("--open-rounds", type=int, default=1, metavar="N", help="rounds at a time (default 1)")
    parser.add_argument("--reward", default="1", metavar="SOL", help="reward of a round (default 1)")
    parser.add_argument(
        "--convention", choices=("delta", "gradient"), default="delta", help="what submissions mean here"
    )
    parser.add_argument("--json", action="store_true", help="print the endpoints as one JSON line")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input closes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    options = None if arguments.no_agents else _agent_options(arguments)
    # A blockhash lives for 60 seconds of the chain's time; nobody could sign and send in less than some milliseconds.
    if not 0 < arguments.speed <= _FASTEST:
        raise UsageError(f"--speed is {arguments.speed:g}.", fix=f"Give a number above 0, at most {_FASTEST}.")
    for name in ("rpc_port", "gateway_port"):
        if not 0 <= getattr(arguments, name) < 65_535:
            raise UsageError(f"--{name.replace('_', '-')} is no port.", fix="Give 0 to 65534.")
    import asyncio

    from decloud_pl.settings import default_home

    home = (arguments.home or default_home(os.environ) / "localnet").expanduser().resolve()
    return asyncio.run(_serve(home, arguments, options))


def _agent_options(arguments: argparse.Namespace) -> AgentOptions:
    from decloud_pl.chain.dialects import get_dialect
    from decloud_pl.data.entry import DataFolder
    from decloud_pl.domain import parse_sol
    from decloud_pl.localnet.agents.offers import make_offers
    from decloud_pl.localnet.network import AgentOptions

    try:
        reward = parse_sol(arguments.reward)
    except ValueError as error:
        raise UsageError(f"--reward: {error}.", fix="Write it like 0.5.") from error
    if not reward or arguments.rounds < 0:
        raise UsageError("--reward and --rounds must be positive.", fix="Give a reward above 0.")
    if arguments.open_rounds < 1:
        raise UsageError(f"--open-rounds is {arguments.open_rounds}.", fix="Give 1 or more.")
    data = None if arguments.data is None else arguments.data.expanduser().resolve()
    folder = DataFolder.from_node({"folder": data, "download": False})
    offers = make_offers(arguments.dataset or ("custom",), arguments.architecture, folder, get_dialect())
    return AgentOptions(arguments.rounds, reward, offers, arguments.open_rounds, data)


async def _serve(home: Path, arguments: argparse.Namespace, options: AgentOptions | None) -> int:
    import dataclasses

    from decloud_pl.cli.ui.signals import stop_event
    from decloud_pl.localnet.network import LocalNetwork

    network = LocalNetwork(
        home,
        rpc_port=arguments.rpc_port,
        gateway_port=arguments.gateway_port,
        agents=options,
        convention=arguments.convention,
        speed=arguments.speed,
    )
    with stop_event(on_stdin_close=arguments.exit_with_parent) as stop:
        async with network:
            endpoints = network.endpoints
            if arguments.json:
                print_document(dataclasses.asdict(endpoints))
            else:
                print(f"RPC        {endpoints.rpc_url}")
                print(f"WebSocket  {endpoints.ws_url}")
                print(f"Gateway    {endpoints.gateway_url}")
                print(f"Program    {endpoints.program_id}")
                print(f"Home       {endpoints.home}", flush=True)
            await stop.wait()
    return 0
