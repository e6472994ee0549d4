"""The child of `WarmQuarantine`: imports torch once and opens each file in a separate fork.

The child reads one JSON request per line from standard input and writes one JSON line per request, until its input
ends. The child itself never opens a file. Each fork has its own session and limits, like the child of `Opening`. A fork
ends after its file, so the next file starts without any state of earlier files.
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


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # A fork inherits no threads. If this process used threads, the fork could wait forever for their work.
    torch.set_num_threads(1)
    while line := sys.stdin.buffer.readline():
        answers.write(_in_a_fork(json.loads(line), answers.fileno()) + b"\n")


def _in_a_fork(request: Mapping[str, Any], answers: int) -> bytes:
    """Open a file in a fork; return the fork's answer, or how the fork ended if it wrote no answer."""
    reading, writing = os.pipe()
    fork = os.fork()
    if fork == 0:
        status = 1
        try:
            os.setsid()
            os.close(reading)
            os.close(answers)  # output there would be mistaken for another file's answer
            open_one(request, writing)
            status = 0
        finally:
            os._exit(status)  # the fork must never run the parent's code below
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
            os.kill(fork, signal.SIGKILL)  # the fork may not have its own session yet
            os.waitpid(fork, 0)
    return found or json.dumps({"ended": code or 0}).encode()


def _code_of(fork: int) -> int | None:
    """Wait until a fork that has closed its pipe ends, and return its exit code.

    Return None if the fork still runs after two seconds. Usually it ends a moment after it closes the pipe.
    """
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
            if ready:  # the parent sends nothing before the answer, so its end of the pipe is closed
                sys.exit()
            return json.dumps({"refused": f"Opening the file took longer than {seconds:g} s."}).encode()
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return bytes(found).replace(b"\n", b" ")
        found += chunk
