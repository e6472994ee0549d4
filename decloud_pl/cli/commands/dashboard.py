"""Show rounds, trainings, earnings and the log in a browser.

Serves a web page on 127.0.0.1. It reads the journal, even if the daemon is not running, and changes nothing. Only
programs on this machine can reach it. A browser needs the complete address with its token; /metrics and /healthz need
no token.

Examples:
  decloud-trainer dashboard
  decloud-trainer dashboard --port 0 --json
  decloud-trainer dashboard --home ~/.decloud-trainer/demo
"""

from __future__ import annotations

from pathlib import Path

import click

from decloud_pl.cli.arguments import FILE, WholeNumber, as_json, command
from decloud_pl.errors import ConfigError

DEFAULT_PORT = 8790


@command(__doc__)
@click.option(
    "--port", type=WholeNumber(0, 65_535), default=DEFAULT_PORT, metavar="N", help=f"default {DEFAULT_PORT}; 0: any"
)
@click.option("--home", type=FILE, metavar="DIR", help="the daemon's folder")
@as_json
def run(port: int, home: Path | None, as_json: bool) -> int:
    import asyncio
    import importlib.util
    import secrets

    if importlib.util.find_spec("nicegui") is None:
        raise ConfigError(
            "The dashboard needs the package nicegui, which is not installed.",
            fix="Install it with: pip install 'decloud_pl[dashboard]'",
        )
    from decloud_pl.config import default_home

    folder = (home or default_home()).expanduser().resolve()
    asyncio.run(_serve(folder, secrets.token_urlsafe(24), port, as_json=as_json))
    return 0


async def _serve(home: Path, token: str, port: int, *, as_json: bool) -> None:
    from decloud_pl.children import stop_event
    from decloud_pl.cli.ui.streams import print_document
    from decloud_pl.dashboard.app import serve

    with stop_event() as stop:
        async with serve(home, token, port=port) as url:
            if as_json:
                print_document({"url": url, "home": str(home)})
            else:
                print(f"The dashboard of {home} is at\n\n  {url}\n\nPress Ctrl-C to stop it.", flush=True)
            await stop.wait()
