"""``decloud-trainer setup``: asks for what a trainer needs and keeps the answers."""

from __future__ import annotations

import argparse
import sys

from decloud_pl.cli.arguments import add_command
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED

_EXAMPLES = """\
decloud-trainer setup

Enter keeps the value in brackets, which is the present one when it is run again. Nothing is written before the last
answer; Ctrl-C changes nothing. Without a terminal: decloud-trainer config --set KEY=VALUE
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "setup",
        "ask for wallet, data sets, rewards and storage, and keep the answers",
        _EXAMPLES,
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    from decloud_pl.cli.config.wizard import Wizard
    from decloud_pl.cli.ui.prompt import require_terminal

    require_terminal()
    try:
        Wizard().run()
    except KeyboardInterrupt:
        print("\nNothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
