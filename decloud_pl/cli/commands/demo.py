"""Earn a reward on a local network on this machine.

Starts a local DECLOUD network and the daemon, shows each step, and stops when the rewards are claimed. Needs no
account, no SOL and no internet.

Examples:
  decloud-trainer demo
  decloud-trainer demo --rounds 2 --json
  decloud-trainer demo --dialect v1.1 --home /tmp/demo-v1.1
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decloud_pl.cli.arguments import FILE, WholeNumber, as_json, command, dialect
from decloud_pl.cli.ui.streams import print_document
from decloud_pl.errors import ChainError, LocalnetError, TrainingError

if TYPE_CHECKING:
    import asyncio

    from decloud_pl.chain.rpc import RpcClient
    from decloud_pl.chain.wallet import Wallet
    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.daemon.loop import Daemon
    from decloud_pl.journal.record import RoundRecord

_START_BALANCE = 1_000_000_000


@command(__doc__)
@click.option("--rounds", type=WholeNumber(1), default=1, metavar="N", help="number of rounds (default 1)")
@click.option("--home", type=FILE, metavar="DIR", help="folder for chain, store, wallet and journal")
@dialect
@as_json
def run(rounds: int, home: Path | None, dialect: str | None, as_json: bool) -> int:
    import asyncio

    from decloud_pl.cli.ui.report import TerminalReporter
    from decloud_pl.config import default_home

    folder = (home or default_home() / "demo").expanduser().resolve()
    reporter = TerminalReporter(stderr=as_json)
    with reporter:
        summary, interrupted = asyncio.run(_demo(folder, rounds, dialect, reporter))
    if interrupted:
        reporter.say(f"Stopped. To resume, run `decloud-trainer demo --home {folder}`.")
        return 130
    if as_json:
        print_document(summary)
    else:
        _print_summary(summary, reporter)
    unfinished = [entry for entry in summary["rounds"] if entry["status"] != "completed"]
    if unfinished:
        raise TrainingError(
            f"{len(unfinished)} of {rounds} rounds were not completed.",
            fix="See the lines above for the reasons.",
        )
    return 0


async def _demo(
    home: Path, rounds: int, dialect: str | None, reporter: TerminalReporter
) -> tuple[dict[str, Any], bool]:
    import asyncio

    from decloud_pl.chain.rpc import RpcClient
    from decloud_pl.cli.localnet_process import local_network
    from decloud_pl.config import compose
    from decloud_pl.daemon.assemble import assemble, run_until_stopped
    from decloud_pl.daemon.settings import local_overrides
    from decloud_pl.daemon.stopping import said_at_the_end

    begun = time.monotonic()
    reporter.say("Starting a local DECLOUD network…")
    gone, log = asyncio.Event(), home / "localnet.log"
    async with local_network(home / "localnet", log=log, ended=gone, dialect=dialect) as endpoints:
        reporter.say(
            f"RPC {endpoints.rpc_url}, gateway {endpoints.gateway_url}, "
            f"program {endpoints.program_id} ({endpoints.dialect})."
        )
        wallet = _demo_wallet(home / "trainer.json")
        rpc = RpcClient(endpoints.rpc_url)
        try:
            balance_before = await _fund(rpc, wallet)
            settings = compose(local_overrides(endpoints, home))
            async with assemble(settings, wallet, reporter, stop_after=rounds) as daemon:
                watch = asyncio.create_task(_stop_with(gone, daemon))
                try:
                    interrupted = await run_until_stopped(daemon, reporter.stopping)
                except ChainError:
                    if not gone.is_set():
                        raise
                finally:
                    watch.cancel()
                if gone.is_set():
                    raise LocalnetError(
                        "The local network stopped.", fix=f"See {log}. Start the demo again to resume it."
                    )
                ended = daemon.ended
                if interrupted:
                    for line in said_at_the_end(daemon.open_rounds(), time.time()):
                        reporter.say(line)
            summary = {
                "rounds": [_entry(record) for record in ended],
                "balance_before": balance_before,
                "balance_after": await rpc.balance(wallet.address),
                "seconds": round(time.monotonic() - begun, 2),
            }
        finally:
            await rpc.aclose()
    return summary, interrupted


async def _stop_with(gone: asyncio.Event, daemon: Daemon) -> None:
    """Stop the daemon when the local network has ended. Otherwise the daemon would wait forever for an answer."""
    await gone.wait()
    daemon.stop()


def _demo_wallet(path: Path) -> Wallet:
    """Open or create the demo's own wallet. The demo never uses the user's wallet."""
    from decloud_pl.chain.wallet import create_wallet, load_wallet

    if path.exists():
        return load_wallet(keypair_path=path, environ={})
    return create_wallet(path)


async def _fund(rpc: RpcClient, wallet: Wallet) -> int:
    """Add 1 SOL to a wallet that holds less than 0.1 SOL, and return the balance in lamports."""
    balance = await rpc.balance(wallet.address)
    if balance < _START_BALANCE // 10:
        await rpc.request_airdrop(wallet.address, _START_BALANCE)
        balance = await rpc.balance(wallet.address)
    return balance


def _entry(record: RoundRecord) -> dict[str, Any]:
    """Return a round's entry in the summary, with amounts in lamports and accuracies from 0 to 1."""
    from decloud_pl.journal.record import State

    completed = record.state in (State.CLAIMED, State.UNREWARDED)
    return {
        "round_id": record.round_id,
        "dataset": record.dataset,
        "status": "completed" if completed else record.state.value,
        "accuracy_before": record.accuracy_before,
        "accuracy_after": record.accuracy_after,
        "contribution_bps": record.contribution_bps,
        "reward_lamports": record.claimed_lamports if record.state is State.CLAIMED else 0,
        "signatures": {
            "join": record.join_signature,
            "submit": record.submit_signature,
            "claim": record.claim_signature,
        },
        "seconds": {
            "join": _rounded(record.join_seconds),
            "train": _rounded(record.train_seconds),
            "publish": _rounded(record.publish_seconds),
            "claim": _rounded(record.claim_seconds),
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _print_summary(summary: dict[str, Any], reporter: TerminalReporter) -> None:
    from decloud_pl.domain import format_sol

    reporter.say("")
    for entry in summary["rounds"]:
        before, after = entry["accuracy_before"], entry["accuracy_after"]
        measured = before is not None and after is not None
        gain = f"accuracy {before * 100:.1f} % → {after * 100:.1f} %, " if measured else ""
        reporter.say(
            f"Round {entry['round_id']}: {entry['status']}, {gain}reward {format_sol(entry['reward_lamports'])}"
        )
    earned = sum(entry["reward_lamports"] for entry in summary["rounds"])
    costs = summary["balance_before"] + earned - summary["balance_after"]
    reporter.say(
        f"Earned {format_sol(earned)} in {summary['seconds']:.0f} s; "
        f"fees and deposits cost {format_sol(costs)}. "
        f"The wallet holds {format_sol(summary['balance_after'])}."
    )
