"""``python -m decloud_pl KEY=VALUE …``: the daemon, configured by Hydra overrides."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.errors import DecloudError


def main(arguments: Sequence[str]) -> int:
    """Runs the daemon with these overrides; flags such as ``--cfg job`` and ``--info`` go to Hydra itself."""
    from decloud_pl.cli.streams import prepare_streams

    prepare_streams()
    if any(argument.startswith("-") for argument in arguments):
        return _hydra()
    from decloud_pl.cli.daemon import run_settings
    from decloud_pl.settings import compose

    try:
        return run_settings(compose(arguments))
    except DecloudError as error:
        print(f"decloud_pl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _hydra() -> int:
    import hydra
    from omegaconf import DictConfig

    from decloud_pl.cli.daemon import run_settings
    from decloud_pl.config_dir import config_dir
    from decloud_pl.settings import from_tree

    codes: list[int] = []

    def job(tree: DictConfig) -> None:
        try:
            codes.append(run_settings(from_tree(tree)))
        except DecloudError as error:
            print(f"decloud_pl: {error}", file=sys.stderr)
            codes.append(error.exit_code)

    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
