"""``python -m decloud_pl KEY=VALUE …``: the daemon, one round or an experiment, configured by Hydra overrides."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.errors import DecloudError


def main(arguments: Sequence[str]) -> int:
    """Runs what ``task`` says; flags such as ``--cfg job`` go to Hydra itself, ``-m`` sweeps experiments."""
    from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
    from decloud_pl.cli.streams import prepare_streams

    prepare_streams()
    try:
        if any(argument.startswith("-") for argument in arguments):
            from decloud_pl.cli.hydra_flags import run

            return run(arguments)
        from decloud_pl.cli.session import checked_settings
        from decloud_pl.cli.task import run_task
        from decloud_pl.settings.load import sources

        given = sources(arguments)
        return run_task(checked_settings(given), given.preset)
    except DecloudError as error:
        print(f"decloud_pl: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
