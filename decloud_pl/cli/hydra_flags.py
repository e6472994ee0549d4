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
        UsageError: a flag is unknown or not supported, or flags contradict each other.
        ConfigError: a setting is invalid.
    """
    if "--version" in arguments:
        print(f"decloud_pl {__version__}")
        return 0
    flags, overrides = _split(arguments)
    _refuse_unused(flags)
    if flags.help:
        from decloud_pl.cli.hydra_help import help_text

        print(help_text(overrides, resolve=flags.resolve))
        return 0
    if flags.hydra_help or flags.shell_completion:
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
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", fix="See `python -m decloud_pl --hydra-help`.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(arguments))
    return flags, list(flags.overrides)


def _refuse_unused(flags: argparse.Namespace) -> None:
    """Refuse the flags that name other settings for Hydra. A run composes its settings itself and would ignore them."""
    if flags.experimental_rerun is not None:
        raise UsageError("--experimental-rerun is not supported.", fix="Repeat the settings of that run instead.")
    is_main = flags.config_name in (None, "config")
    given = {"--config-path": flags.config_path, "--config-name": not is_main, "--config-dir": flags.config_dir}
    flag = next((name for name, value in given.items() if value), None)
    if flag is not None:
        from decloud_pl.config.schema import default_home
        from decloud_pl.config_dir import USER_CONF

        conf = default_home() / USER_CONF
        raise UsageError(
            f"{flag} is not supported, because the settings come from the program's files and from {conf}.",
            fix=f"Put the file into the folder of its group, for example {conf}/preset/mine.yaml, and add preset=mine.",
        )
