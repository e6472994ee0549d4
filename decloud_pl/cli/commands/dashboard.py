"""``decloud-trainer dashboard``: the web page on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from decloud_pl.errors import ConfigError, UsageError

DEFAULT_PORT = 8790
_LAST_PORT = 65_535
_EPILOG = """\
examples:
  decloud-trainer dashboard
  decloud-trainer dashboard --port 0 --json
  decloud-trainer dashboard --home ~/.decloud-trainer/demo

It reads the journal, whether the daemon runs or not, and changes nothing. Only programs on this machine can reach it,
and a browser needs the whole address with its token. /metrics and /healthz need no token.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "dashboard",
        help="show rounds, trainings, earnings and the log in a browser",
        description="Serves a web page on 127.0.0.1: rounds, trainings, earnings, the log and why rounds were skipped.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help=f"default {DEFAULT_PORT}; 0: any")
    parser.add_argument("--home", type=Path, default=None, metavar="DIR", help="the daemon's folder")
    parser.add_argument("--json", action="store_true", help="print the address as one JSON line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.port <= _LAST_PORT:
        raise UsageError(f"--port is {arguments.port}.", fix=f"Give 0 to {_LAST_PORT}.")
    import asyncio
    import importlib.util
    import secrets

    if importlib.util.find_spec("nicegui") is None:
        raise ConfigError(
            "The dashboard needs the package nicegui, which is not installed.",
            fix="Install it with: pip install 'decloud_pl[dashboard]'",
        )
    from decloud_pl.settings import default_home

    home = (arguments.home or default_home(os.environ)).expanduser().resolve()
    asyncio.run(_serve(home, secrets.token_urlsafe(24), arguments.port, as_json=arguments.json))
    return 0


async def _serve(home: Path, token: str, port: int, *, as_json: bool) -> None:
    from decloud_pl.cli.ui.signals import stop_event
    from decloud_pl.cli.ui.streams import print_document
    from decloud_pl.dashboard.app import serve

    with stop_event() as stop:
        async with serve(home, token, port=port) as url:
            if as_json:
                print_document({"url": url, "home": str(home)})
            else:
                print(f"The dashboard of {home} is at\n\n  {url}\n\nCtrl-C stops it.", flush=True)
            await stop.wait()
