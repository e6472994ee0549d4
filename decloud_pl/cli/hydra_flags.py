"""``python -m decloud_pl``: Hydra runs it, over settings that were checked before it prints or saves any of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from decloud_pl import __version__
from decloud_pl.errors import DecloudError, UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(arguments: Sequence[str]) -> int:
    """Lets Hydra do what the flags ask for.

    Raises:
        UsageError: a flag that does not exist, or flags that do not go together.
        ConfigError: a setting that is wrong.
    """
    if "--version" in arguments:
        print(f"decloud_pl {__version__}")
        return 0
    flags, overrides = _split(arguments)
    if flags.help or flags.hydra_help or flags.shell_completion:
        from decloud_pl.settings.load import hydra_overrides, sources

        hydra_overrides(sources())  # what the help shows is composed as well
        return hand_over(arguments, lambda _: None)
    if flags.multirun and (flags.cfg or flags.info):
        raise UsageError(
            "A sweep has many configurations.", fix="Leave -m and lists of values away to see one of them."
        )
    given = [argument for argument in arguments if argument not in overrides]
    if flags.multirun:
        from decloud_pl.cli.experiment import sweep

        return sweep(given, overrides)
    return _run(given, overrides)


def hand_over(arguments: Sequence[str], job: Callable[[DictConfig], object]) -> int:
    """Runs Hydra with a command line, which it reads from where Python keeps it."""
    import hydra

    from decloud_pl.config_dir import config_dir

    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()
    return 0


def _run(flags: Sequence[str], overrides: Sequence[str]) -> int:
    from hydra.core.hydra_config import HydraConfig

    from decloud_pl.cli.session import checked
    from decloud_pl.cli.task import run_task
    from decloud_pl.settings.load import from_tree, hydra_overrides, sources

    given = sources(overrides)
    checked(given)
    codes: list[int] = []

    def job(tree: DictConfig) -> None:
        try:
            found = from_tree(tree, given, HydraConfig.get().runtime.choices)
            codes.append(run_task(found.settings, found.preset))
        except DecloudError as error:
            print(f"decloud_pl: {error}", file=sys.stderr)
            codes.append(error.exit_code)

    hand_over([*flags, *hydra_overrides(given)], job)
    return max(codes, default=0)


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's flags and the overrides among the arguments."""
    # Hydra's parser has no public name, and by itself it prints its whole usage before it says what is wrong.
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix="See python -m decloud_pl --help.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(arguments))
    return flags, list(flags.overrides)
