"""Run the local network as a child process, which ends when the command ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from decloud_pl.children import Child
from decloud_pl.domain import NetworkAddresses
from decloud_pl.durable import make_private, private_log
from decloud_pl.errors import LocalnetError

_STOP_SECONDS = 10.0


@asynccontextmanager
async def local_network(
    home: Path, *, log: Path, ended: asyncio.Event, dialect: str | None = None
) -> AsyncIterator[NetworkAddresses]:
    """Run a local network with agents on free ports while the context is open.

    The network stops when this process ends, even if this process is killed.

    Args:
        home: the network's folder.
        log: file for the network's stderr.
        ended: set when the network process has ended, for example because it was killed.
        dialect: revision of the network's program. With None, an existing network keeps its revision, and a new one
            gets the newest.

    Raises:
        LocalnetError: the network did not start; the message is the last line of its log.
    """
    log_file = _open_log(home, log)
    options = ["--json", "--exit-with-parent", "--rpc-port", "0", "--gateway-port", "0", "--home", str(home)]
    options += [] if dialect is None else ["--dialect", dialect]
    with log_file:
        child = await Child.start((sys.executable, "-m", "decloud_pl.cli", "localnet", *options), log=log_file)
    watch = asyncio.create_task(_watch(child, ended))
    try:
        yield await _endpoints(child, log)
    finally:
        watch.cancel()
        await child.end(grace=_STOP_SECONDS)


async def _watch(child: Child, ended: asyncio.Event) -> None:
    await child.process.wait()
    ended.set()


async def _endpoints(child: Child, log: Path) -> NetworkAddresses:
    try:
        return NetworkAddresses(**json.loads(await child.stdout.readline()))
    except (ValueError, TypeError) as error:
        await child.process.wait()
        raise LocalnetError(_last_line(log), fix=f"See {log}.") from error


def _open_log(home: Path, log: Path) -> BinaryIO:
    try:
        make_private(home)
        return private_log(log)
    except OSError as error:
        raise LocalnetError(
            f"{home} cannot be used: {error.strerror}.", fix="Choose another folder with --home."
        ) from error


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("decloud-trainer: ") if lines else "The local network did not start."
