"""Run ``python -m decloud_pl`` with Hydra. Check the settings before Hydra prints and saves them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from decloud_pl import __version__
from decloud_pl.cli.hydra_run import hand_over, shown_overrides
from decloud_pl.errors import UsageError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(arguments: Sequence[str]) -> int:
    """Run Hydra with these flags and overrides, and return the exit code.

    Raises:
        UsageError: a flag is unknown, or flags contradict each other.
        ConfigError: a setting is invalid.
    """
    if "--version" in arguments:
        print(f"decloud_pl {__version__}")
        return 0
    flags, overrides = _split(arguments)
    if flags.help and not (flags.config_name or flags.config_path or flags.config_dir):
        from decloud_pl.cli.hydra_help import help_text

        print(help_text(overrides, resolve=flags.resolve))
        return 0
    if flags.help or flags.hydra_help or flags.shell_completion:
        from decloud_pl.config.layers import sources
        from decloud_pl.config.load import composed

        kept = sources()
        # Hydra composes the settings for its help, too.
        return hand_over([*arguments, *shown_overrides(kept, composed(kept))], lambda _: None, shows=True)
    if flags.multirun and (flags.cfg or flags.info):
        raise UsageError(
            "--cfg and --info show one configuration, but a sweep has several.",
            fix="Leave out -m and give one value for each setting.",
        )
    given = [argument for argument in arguments if argument not in overrides]
    if flags.multirun:
        from decloud_pl.cli.sweep import sweep

        return sweep(given, overrides)
    return _run(given, overrides, shows=bool(flags.cfg or flags.info))


def _run(flags: Sequence[str], overrides: Sequence[str], *, shows: bool) -> int:
    from decloud_pl.cli.config.session import checked
    from decloud_pl.cli.task import run_task
    from decloud_pl.config.layers import sources

    given = sources(overrides)
    found = checked(given)
    codes: list[int] = []
    failures: list[Exception] = []

    def job(_: DictConfig) -> None:
        try:
            codes.append(run_task(found.settings, found.preset))
        except Exception as error:  # noqa: BLE001 - raised below, because Hydra would print a traceback
            failures.append(error)

    # A run has its own log. Without a folder from the user, Hydra would write another one to the working directory.
    # A daemon reports its events itself: log lines, for example of each request, would destroy its live view.
    wanted = any(one.startswith(("hydra/job_logging", "hydra.run.dir")) for one in [*flags, *overrides])
    log = [] if wanted else [f"hydra/job_logging={'stdout' if found.settings.task == 'experiment' else 'disabled'}"]
    hand_over([*flags, *log, *shown_overrides(given, found)], job, shows=shows)
    for failure in failures:
        raise failure
    return max(codes, default=0)


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the arguments into Hydra's flags and overrides."""
    # Hydra's parser has no public name. By default it prints its whole usage before an error.
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix="See `python -m decloud_pl --help`.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(arguments))
    return flags, list(flags.overrides)
