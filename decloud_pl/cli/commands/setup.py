"""Set up wallet, data sets, rewards and storage.

Asks a question for each setting and shows the current value in brackets; press Enter to keep it. The answers are
saved after the last question, and Ctrl-C changes nothing. Without a terminal, use
`decloud-trainer config --set KEY=VALUE`.

Examples:
  decloud-trainer setup
"""

from __future__ import annotations

import sys

import click

from decloud_pl.cli.arguments import command
from decloud_pl.cli.exit_codes import EXIT_INTERRUPTED
from decloud_pl.errors import UsageError


@command(__doc__)
def run() -> int:
    from decloud_pl.cli.config.wizard import Wizard

    if not sys.stdin.isatty():
        raise UsageError(
            "setup asks questions and needs a terminal.", fix="Use `decloud-trainer config --set KEY=VALUE` instead."
        )
    try:
        Wizard().run()
    except (KeyboardInterrupt, click.Abort):
        print("\nNothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
