"""``python -m decloud_pl KEY=VALUE …``: the daemon, one round or an experiment, on Hydra and with all its flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.children import begin_imports


def main(arguments: Sequence[str]) -> int:
    """Runs what ``task`` says; flags such as ``--cfg job`` are Hydra's own, ``-m`` sweeps experiments."""
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
