"""``decloud-trainer``: parses arguments, prints, and turns every outcome into a stable exit code.

No rules live here. Each command is a module with ``add_parser`` and ``run``; heavy imports happen in ``run``,
so that ``--help`` stays fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from decloud_pl import __version__
from decloud_pl.cli import daemon, dashboard, datasets, demo, localnet, wallet
from decloud_pl.cli.streams import prepare_streams
from decloud_pl.errors import DecloudError, UsageError

EXIT_INTERRUPTED = 130

_DESCRIPTION = "Train models in DECLOUD rounds and earn SOL."
_EPILOG = """\
first steps:
  decloud-trainer demo            earn a reward on a network of your own, on this machine
  decloud-trainer localnet        run that network
  decloud-trainer start           find, join, train, submit and claim until stopped

exit codes: 0 success, 1 defect, 2 usage, 3 configuration, 4 wallet, 5 chain, 6 refused by the program,
7 storage, 8 data set, 9 model, 10 training, 11 journal, 12 local network, 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; argparse would print the whole usage before it."""

    def error(self, message: str) -> None:  # type: ignore[override]  # raises instead of exiting
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix=f"See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = _Parser(
        prog="decloud-trainer",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"decloud-trainer {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (daemon, dashboard, demo, localnet, wallet, datasets):
        module.add_parser(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    prepare_streams()
    try:
        parsed = parser().parse_args(arguments)
        code = parsed.run(parsed)
        sys.stdout.flush()
    except DecloudError as error:
        print(f"decloud-trainer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return int(code)
