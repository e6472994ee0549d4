"""``python -m decloud_pl KEY=VALUE …``: the daemon, one round or an experiment, configured by Hydra overrides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from decloud_pl.errors import DecloudError

if TYPE_CHECKING:
    from decloud_pl.settings import Settings

_SHOWS = {"-c", "--cfg", "-i", "--info", "-h", "--help", "--hydra-help", "--version"}
"""Flags with which Hydra shows something and runs nothing."""


def main(arguments: Sequence[str]) -> int:
    """Runs what ``task`` says; flags such as ``--cfg job`` go to Hydra itself, ``-m`` sweeps experiments."""
    from decloud_pl.cli.streams import prepare_streams

    prepare_streams()
    try:
        if any(argument.startswith("-") for argument in arguments):
            return _hydra(arguments)
        from decloud_pl.settings.load import settings_of, sources

        given = sources(arguments)
        return _run(settings_of(given), given.preset)
    except DecloudError as error:
        print(f"decloud_pl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _run(settings: Settings, preset: str) -> int:
    if settings.task == "experiment":
        from decloud_pl.cli import experiment

        return experiment.run_settings(settings)
    from decloud_pl.cli import daemon

    return daemon.run_settings(settings, preset=preset)


def _hydra(arguments: Sequence[str]) -> int:
    if {"-m", "--multirun"} & set(arguments) and not _SHOWS & {argument.partition("=")[0] for argument in arguments}:
        from decloud_pl.cli.experiment import sweep

        return sweep(arguments)
    import hydra
    from omegaconf import DictConfig

    from decloud_pl.config_dir import config_dir
    from decloud_pl.settings.hydra_tree import from_tree, search_path
    from decloud_pl.settings.load import settings_of, sources

    given = sources([argument for argument in arguments if _is_override(argument)])
    settings_of(given)  # says what is wrong in one sentence; Hydra itself lets unknown keys pass
    # Hydra reads its overrides from here; what is set in config.json and the environment goes before them.
    flags = [argument for argument in arguments if not _is_override(argument)]
    sys.argv[1:] = [*flags, *search_path(given.user_conf), *given.hydra_overrides()]
    codes: list[int] = []

    def job(tree: DictConfig) -> None:
        try:
            codes.append(_run(from_tree(tree, secrets=given.layers.secrets), given.preset))
        except DecloudError as error:
            print(f"decloud_pl: {error}", file=sys.stderr)
            codes.append(error.exit_code)

    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()
    return max(codes, default=0)


def _is_override(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
