"""``decloud-trainer``: parses arguments, prints, and turns every outcome into a stable exit code.

No rules live here. Each command is a module with ``add_parser`` and ``run``; heavy imports happen in ``run``,
so that ``--help`` stays fast.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence

from decloud_pl import __version__
from decloud_pl.cli.commands import (
    completion,
    config,
    convention,
    dashboard,
    datasets,
    demo,
    doctor,
    explain,
    history,
    localnet,
    logs,
    manual,
    model,
    setup,
    start,
    status,
    storage,
    sweeps,
    wallet,
)
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED, TABLE
from decloud_pl.cli.ui.streams import prepare_streams
from decloud_pl.errors import DecloudError, UsageError

_DESCRIPTION = "Train models in DECLOUD rounds and earn SOL."
_EPILOG = """\
first steps:
  decloud-trainer demo            earn a reward on a network of your own, on this machine
  decloud-trainer localnet        run that network
  decloud-trainer start           find, join, train, submit and claim until stopped

every command: decloud-trainer COMMAND --help

"""

# What imports make is no garbage: to look for it after every 700 objects takes a twelfth of `list`.
_GARBAGE = 20_000
# These read, print and end. What they make altogether is less than this.
_BRIEF = (config.run, status.run_list, status.run_status)
_GARBAGE_OF_BRIEF = 1_000_000
# In the order of the help.
_COMMANDS = (
    setup,
    start,
    dashboard,
    config,
    doctor,
    status,
    explain,
    convention,
    manual,
    history,
    logs,
    datasets,
    model,
    storage,
    sweeps,
    wallet,
    demo,
    localnet,
    completion,
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; argparse would print the whole usage before it."""

    def error(self, message: str) -> None:  # type: ignore[override]  # raises instead of exiting
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix=f"See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = _Parser(
        prog="decloud-trainer",
        description=_DESCRIPTION,
        epilog=_EPILOG + TABLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"decloud-trainer {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    return root


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses a command line; settings may stand between options, where argparse alone gives them up.

    Raises:
        UsageError: an argument that the command does not know.
    """
    parsed, rest = parser().parse_known_args(arguments)
    for name in ("overrides", "words"):
        if hasattr(parsed, name):
            getattr(parsed, name).extend(word for word in rest if _is_setting(word))
            rest = [word for word in rest if not _is_setting(word)]
    if rest:
        raise UsageError(f"Unrecognized arguments: {' '.join(rest)}.", fix="See decloud-trainer --help.")
    return parsed


def _is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    gc.set_threshold(_GARBAGE)
    prepare_streams()
    try:
        parsed = parse(arguments)
        if parsed.run in _BRIEF:
            gc.set_threshold(_GARBAGE_OF_BRIEF)
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
