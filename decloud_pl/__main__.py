"""``python -m decloud_pl KEY=VALUE …``: the daemon, one round or an experiment, on Hydra and with all its flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from decloud_pl.children import begin_imports
from decloud_pl.errors import DecloudError


def main(arguments: Sequence[str]) -> int:
    """Runs what ``task`` says; flags such as ``--cfg job`` are Hydra's own, ``-m`` sweeps experiments."""
    from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
    from decloud_pl.cli.ui.streams import prepare_streams, with_advice

    prepare_streams()
    try:
        from decloud_pl.cli.hydra_flags import run

        return run(arguments)
    except DecloudError as error:
        print(f"decloud_pl: {with_advice(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    begin_imports()
    sys.exit(main(sys.argv[1:]))
