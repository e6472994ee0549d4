"""The entry point of ``decloud-trainer``: run a command and turn its outcome into an exit code.

Each command is a file in `decloud_pl.cli.commands`, which is imported only when the command runs. Heavy imports are in
the commands' functions, so that ``--help`` and shell completion stay fast.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from decloud_pl import __version__
from decloud_pl.cli.arguments import Group
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED, TABLE
from decloud_pl.cli.outcome import exit_code
from decloud_pl.cli.ui.streams import prepare_streams
from decloud_pl.errors import UsageError
from decloud_pl.own_memory import hide_memory

NAME = "decloud-trainer"
COMPLETE = "_DECLOUD_TRAINER_COMPLETE"
"""The environment variable with the request of a shell's completion script."""
_HELP = "Train models in DECLOUD rounds and earn SOL."
_EPILOG = f"""\
First steps:
  decloud-trainer demo            earn a reward on a local network
  decloud-trainer localnet        run a local network
  decloud-trainer start           find, join, train, submit and claim until stopped

Help for a command: decloud-trainer COMMAND --help

{TABLE}"""

# Imports create few unreachable objects. The default threshold of 700 would cost a twelfth of the time of `list`.
_GARBAGE = 20_000
# These commands read, print and end. They create fewer objects than this threshold.
_BRIEF = ("config", "list", "status")
_GARBAGE_OF_BRIEF = 1_000_000


class Program(Group):
    """The commands of a package. Each command is a module that defines ``run``.

    A module is imported only when its command is called. ``--help`` describes each command by the first line of the
    module's docstring, which is read from the file without an import.
    """

    def __init__(self, package: str = "decloud_pl.cli.commands") -> None:
        self.package = importlib.import_module(package)
        files = [file for folder in self.package.__path__ for file in Path(folder).glob("[!_]*.py")]
        super().__init__(
            NAME,
            commands={_name(file): click.Command(_name(file), short_help=_first_line(file)) for file in files},
            help=_HELP,
            epilog=_EPILOG,
            no_args_is_help=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")(self)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        if name is not None:
            found = importlib.import_module(f"{self.package.__name__}.{name.replace('-', '_')}").run
        return name, found, rest


def _name(file: Path) -> str:
    return file.stem.replace("_", "-")


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as text:
        return text.readline().strip().strip('"')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    gc.set_threshold(_GARBAGE)
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code(NAME, lambda: _run(given))


def _run(given: list[str]) -> int:
    try:
        return _invoke(given)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        raise _as_ours(error) from error
    except click.Abort:
        return EXIT_INTERRUPTED


def _invoke(given: list[str]) -> int:
    program = Program()
    if COMPLETE in os.environ:
        from decloud_pl.cli.completion import completer

        print(completer(program, os.environ[COMPLETE].removesuffix("_complete")).complete())
        return 0
    if given[:1] and given[0] in _BRIEF:
        gc.set_threshold(_GARBAGE_OF_BRIEF)
    hide_memory()  # config.json or the environment may contain the key
    with program.make_context(NAME, given) as context:
        code: int = program.invoke(context)
    return code


def _as_ours(error: click.UsageError) -> UsageError:
    """Convert click's error to this package's `UsageError`, because click would print the command's usage first."""
    path = NAME if error.ctx is None else error.ctx.command_path
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "round_id":
        command = path.rpartition(" ")[2]
        return UsageError(f"{command} needs the ID of a round.", fix="Run `decloud-trainer list` to see the rounds.")
    message = " ".join(error.format_message().split()).replace("'[ID]'", "'ID'")
    message = message.replace("(Did", "Did").replace("?)", "?")
    return UsageError(message if message.endswith((".", "?")) else f"{message}.", fix=f"See `{path} --help`.")
