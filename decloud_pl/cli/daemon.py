"""``decloud-trainer start``: the daemon in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decloud_pl.settings import Settings

_EPILOG = """\
examples:
  decloud-trainer start
  decloud-trainer start preset=quick-test
  decloud-trainer start network=devnet rewards.min=0.05 epochs=2

Settings are Hydra overrides, KEY=VALUE or GROUP=CHOICE; conf/config.yaml lists them all.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "start",
        help="find, join, train, submit and claim until stopped",
        description="Runs the daemon: finds rounds, joins, trains, submits and claims until Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plain", action="store_true", help="one line per event with its time, on a terminal too")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings for this run")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.settings.load import settings_of, sources

    given = sources(arguments.overrides)
    return run_settings(settings_of(given), preset=given.preset, plain=arguments.plain)


def run_settings(settings: Settings, *, preset: str = "", plain: bool = False) -> int:
    """Runs the daemon with composed settings; the same for ``decloud-trainer start`` and Hydra.

    Args:
        settings: checked ones.
        preset: its name, to be shown.
        plain: lines instead of the live view, on a terminal too.
    """
    from decloud_pl.chain.solana_cli import DEFAULT_FILE
    from decloud_pl.chain.wallet import load_wallet
    from decloud_pl.cli.live import LiveReporter
    from decloud_pl.cli.report import TerminalReporter
    from decloud_pl.cli.terminal import make_console
    from decloud_pl.daemon.assemble import assemble, run_until_stopped
    from decloud_pl.daemon.observe import facts

    wallet = load_wallet(
        keypair_path=settings.keypair_path,
        environ=os.environ,
        cli_config=Path(DEFAULT_FILE).expanduser(),
        strict=settings.wallet.strict,
    )
    reporter: LiveReporter | TerminalReporter
    if make_console().is_terminal and not plain:
        reporter = LiveReporter(facts(settings, preset))
    else:
        reporter = TerminalReporter(plain=True, stamps=True)

    async def work() -> int:
        async with assemble(settings, wallet, reporter, preset=preset) as daemon:
            await run_until_stopped(daemon, reporter.stopping)
            failed = [record for record in daemon.ended if record.state.value == "failed"]
            return 10 if settings.round is not None and failed else 0

    with reporter:
        return asyncio.run(work())
