"""The local network as a child process of a command: started, watched, and gone when the command is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from decloud_pl.errors import LocalnetError

_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What ``decloud-trainer localnet --json`` prints first."""

    rpc_url: str
    ws_url: str
    gateway_url: str
    program_id: str
    dialect: str
    home: str


@asynccontextmanager
async def local_network(
    home: Path, *, log: Path, ended: asyncio.Event, dialect: str | None = None
) -> AsyncIterator[Endpoints]:
    """Runs a local network with agents on free ports while the context is open.

    Its standard input is a pipe from this process: when that closes, however this process ends, it stops.

    Args:
        home: its folder.
        log: file for its stderr.
        ended: set when it has ended by itself, killed for example.
        dialect: of its program; None for the one that the folder's network has.

    Raises:
        LocalnetError: it did not start; the message is its own.
    """
    log_file = _open_log(home, log)
    command = (sys.executable, "-m", "decloud_pl.cli", "localnet", "--json", "--exit-with-parent")
    with log_file:
        process = await asyncio.create_subprocess_exec(
            *command,
            *("--rpc-port", "0", "--gateway-port", "0", "--home", str(home)),
            *(() if dialect is None else ("--dialect", dialect)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
        )
    watch = asyncio.create_task(_tell(process, ended))
    try:
        yield await _endpoints(process, log)
    finally:
        watch.cancel()
        await _stop(process)


async def _tell(process: asyncio.subprocess.Process, ended: asyncio.Event) -> None:
    await process.wait()
    ended.set()


async def _endpoints(process: asyncio.subprocess.Process, log: Path) -> Endpoints:
    line = b"" if process.stdout is None else await process.stdout.readline()
    try:
        return Endpoints(**json.loads(line))
    except (ValueError, TypeError) as error:
        await process.wait()
        raise LocalnetError(_last_line(log), fix=f"Its log is {log}.") from error


def _open_log(home: Path, log: Path) -> BinaryIO:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise LocalnetError(
            f"{home} cannot be used: {error.strerror}.", fix="Choose another folder with --home."
        ) from error


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("decloud-trainer: ") if lines else "The local network did not start."


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
