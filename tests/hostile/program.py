"""A process that has the program imported, and meets each hostile input in a fork of its own.

``python -m tests.hostile.program [MODULE…]`` imports the modules, reads one JSON line per input and answers with
one that says how the fork ended, how long it took and how much memory it had. A fork has nothing of what earlier
inputs did, and costs a hundredth of a second.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from decloud_pl.cli import main as run_command
from decloud_pl.cli.ui.streams import with_advice
from decloud_pl.errors import DecloudError

LONGEST = 60.0
"""Seconds until an input is ended; it may take ten, without those in which a busy machine lets the process wait."""
_MOST_ADDRESSES = 8 << 30


def command(*arguments: str) -> int:
    """The real command line."""
    return run_command(arguments)


def _meet(order: dict[str, Any]) -> int:
    os.setsid()
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["folder"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    resource.setrlimit(
        resource.RLIMIT_AS, (_MOST_ADDRESSES, _MOST_ADDRESSES)
    )  # for the machine; the test asks for less
    called = getattr(importlib.import_module(order["module"]), order["call"])
    try:
        code = called(*order["arguments"])
    except DecloudError as error:
        print(with_advice(error), file=sys.stderr)
        return error.exit_code
    return int(code or 0)


def _fork(order: dict[str, Any]) -> dict[str, Any]:
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _meet(order)
        except BaseException:  # noqa: BLE001 - as Python itself does at the end of a program
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    handle = os.pidfd_open(pid)
    ended, _, _ = select.select([handle], [], [], LONGEST)
    if not ended:
        os.killpg(pid, signal.SIGKILL)
    os.close(handle)
    seconds = time.monotonic() - begun - _kept_waiting(pid)
    _, status, usage = os.wait4(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "megabytes": usage.ru_maxrss / 1024,
        "cpu": usage.ru_utime + usage.ru_stime,
    }


def _kept_waiting(pid: int) -> float:
    """Seconds in which the first thread of a process was ready and had no processor; see Linux's ``sched-stats``."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def main() -> None:
    """Answers until standard input ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
