"""Command lines of ``python -m decloud_pl`` with Hydra's own flags: ``--cfg``, ``--info``, ``-m`` and the others.

Hydra prints and saves what it composes, overrides included. So it is given addresses without the keys that may be in
them; what runs in this process gets the whole ones back.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from decloud_pl import __version__
from decloud_pl.errors import DecloudError, UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(arguments: Sequence[str]) -> int:
    """Lets Hydra do what the flags ask for, over the same settings as without them.

    Raises:
        UsageError: a flag that does not exist, or flags that do not go together.
        ConfigError: a setting that is wrong; Hydra itself lets unknown keys pass.
    """
    if "--version" in arguments:
        print(f"decloud_pl {__version__}")
        return 0
    flags, overrides = _split(arguments)
    sweeps = flags.multirun and not (flags.help or flags.hydra_help)
    if sweeps and (flags.cfg or flags.info):
        raise UsageError(
            "A sweep has many configurations.", fix="Leave -m and lists of values away to see one of them."
        )
    given = [argument for argument in arguments if argument not in overrides]
    if sweeps:
        from decloud_pl.cli.experiment import sweep

        return sweep(given, overrides)
    if flags.help or flags.hydra_help or flags.shell_completion:
        return _hand_over(arguments, lambda _: None)
    return _run(given, overrides)


def _run(flags: Sequence[str], overrides: Sequence[str]) -> int:
    from decloud_pl.cli.session import checked_settings
    from decloud_pl.cli.task import run_task
    from decloud_pl.redact import redact
    from decloud_pl.settings.addresses import covers, hidden_values, uncover
    from decloud_pl.settings.hydra_tree import from_tree, opened, search_path
    from decloud_pl.settings.load import sources

    given = sources(overrides)
    hidden = hidden_values(checked_settings(given))
    shown = [redact(opened(override)) for override in given.hydra_overrides()]
    codes: list[int] = []

    def job(tree: DictConfig) -> None:
        try:
            whole = copy.deepcopy(tree)  # the one given may be kept in files
            uncover(whole, hidden)
            codes.append(run_task(from_tree(whole, secrets=given.layers.secrets), given.preset))
        except DecloudError as error:
            print(f"decloud_pl: {error}", file=sys.stderr)
            codes.append(error.exit_code)

    # What is set in config.json and the environment goes before the command line.
    _hand_over([*flags, *search_path(given.user_conf), *shown, *covers(hidden)], job)
    return max(codes, default=0)


def _hand_over(arguments: Sequence[str], job: Callable[[DictConfig], object]) -> int:
    """Runs Hydra with a command line, which it reads from where Python keeps it."""
    import hydra

    from decloud_pl.config_dir import config_dir

    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()
    return 0


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags and the overrides among the arguments."""
    from hydra._internal.utils import get_args_parser  # Hydra has no public name for it

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix="See python -m decloud_pl --help.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # argparse would print its whole usage before the message
    flags = parser.parse_intermixed_args(list(arguments))
    return flags, list(flags.overrides)
