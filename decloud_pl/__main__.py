"""``python -m decloud_pl KEY=VALUE …``: the daemon, configured by Hydra overrides."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.errors import DecloudError


def main(arguments: Sequence[str]) -> int:
    """Runs the daemon with these overrides; flags such as ``--cfg job`` and ``--info`` go to Hydra itself."""
    from decloud_pl.cli.streams import prepare_streams

    prepare_streams()
    try:
        if any(argument.startswith("-") for argument in arguments):
            return _hydra(arguments)
        from decloud_pl.cli.daemon import run_settings
        from decloud_pl.settings.load import settings_of, sources

        given = sources(arguments)
        return run_settings(settings_of(given), preset=given.preset)
    except DecloudError as error:
        print(f"decloud_pl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _hydra(arguments: Sequence[str]) -> int:
    import hydra
    from omegaconf import DictConfig

    from decloud_pl.cli.daemon import run_settings
    from decloud_pl.config_dir import config_dir
    from decloud_pl.settings.hydra_tree import from_tree, search_path
    from decloud_pl.settings.load import sources

    given = sources([argument for argument in arguments if _is_override(argument)])
    # Hydra reads its overrides from here; what is set in config.json and the environment goes before them.
    flags = [argument for argument in arguments if not _is_override(argument)]
    sys.argv[1:] = [*flags, *search_path(given.user_conf), *given.hydra_overrides()]
    codes: list[int] = []

    def job(tree: DictConfig) -> None:
        try:
            codes.append(run_settings(from_tree(tree, secrets=given.layers.secrets), preset=given.preset))
        except DecloudError as error:
            print(f"decloud_pl: {error}", file=sys.stderr)
            codes.append(error.exit_code)

    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()
    return max(codes, default=0)


def _is_override(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
