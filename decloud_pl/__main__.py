"""``python -m decloud_pl KEY=VALUE …``: run the daemon, one round or an experiment, with Hydra's flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.children import begin_imports


def main(arguments: Sequence[str]) -> int:
    """Run the chosen ``task`` once, or several times as a Hydra sweep with ``-m``, and return the exit code."""
    from decloud_pl.cli.outcome import exit_code
    from decloud_pl.cli.ui.streams import prepare_streams

    prepare_streams()

    def run() -> int:
        from decloud_pl.cli.hydra_flags import run

        return run(arguments)

    return exit_code("decloud_pl", run)


if __name__ == "__main__":
    begin_imports()
    sys.exit(main(sys.argv[1:]))
