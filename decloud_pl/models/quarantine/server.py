"""The child of `warm_quarantine`: has torch ready, and opens each file in a fork of its own.

One JSON line in, one out, until standard input ends.
This process itself never looks into a file. A fork has what a child of `quarantine` has, a session and limits of its
own; it ends with its file, and nothing of it is left for the next one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from decloud_pl.children import kill_group
from decloud_pl.models.quarantine.child import open_one

_CHUNK = 1 << 16
_END_SECONDS = 2.0
_LOOK_SECONDS = 0.002
_TOO_LONG = {"refused": "The file took too long to open."}


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # A fork inherits no threads: there must be none whose work it would wait for.
    torch.set_num_threads(1)
    while line := sys.stdin.buffer.readline():
        answers.write(_in_a_fork(json.loads(line), answers.fileno()) + b"\n")


def _in_a_fork(request: Mapping[str, Any], answers: int) -> bytes:
    """What the fork found, or how it ended where it did not say."""
    reading, writing = os.pipe()
    fork = os.fork()
    if fork == 0:
        status = 1
        try:
            os.setsid()
            os.close(reading)
            os.close(answers)  # what it writes there would be taken for another file's answer
            open_one(request, writing)
            status = 0
        finally:
            os._exit(status)  # whatever happened: what follows is the parent's
    os.close(writing)
    code: int | None = None
    try:
        found = _read(reading, request["wall_seconds"])
        if not found:
            code = _code_of(fork)
    finally:
        os.close(reading)
        kill_group(fork)
        if code is None:
            os.kill(fork, signal.SIGKILL)  # which may have no session of its own yet
            os.waitpid(fork, 0)
    return found or json.dumps({"ended": code or 0}).encode()


def _code_of(fork: int) -> int | None:
    """How a fork ended that has closed its pipe, or None where it goes on: the pipe's end comes a moment earlier."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        pid, status = os.waitpid(fork, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(_LOOK_SECONDS)


def _read(reading: int, seconds: float) -> bytes:
    deadline, found = time.monotonic() + seconds, bytearray()
    while True:
        ready, _, _ = select.select([reading, 0], [], [], max(0.0, deadline - time.monotonic()))
        if reading not in ready:
            if ready:  # nothing is asked before the answer: the parent is gone
                sys.exit()
            return json.dumps(_TOO_LONG).encode()
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return bytes(found).replace(b"\n", b" ")
        found += chunk
