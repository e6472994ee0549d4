"""A process that imports the program once, and runs it on each hostile input in a separate fork.

``python -m tests.hostile.program [MODULE…]`` imports the modules and reads one JSON line per input. For each, it prints
a JSON line with exit code, duration and memory of the fork. A fork is independent of earlier inputs, and starts in a
hundredth of a second.
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
from decloud_pl.config import compose
from decloud_pl.errors import DecloudError

LONGEST = 60.0
"""Seconds until the process kills a fork. An input may take ten, not counting the time without a processor."""
_MOST_ADDRESSES = 8 << 30


def command(*arguments: str) -> int:
    """Run the real command line."""
    return run_command(arguments)


def _meet(order: dict[str, Any]) -> int:
    os.setsid()
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["folder"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    # This limit protects the machine; the tests require less.
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESSES, _MOST_ADDRESSES))
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
    """Return the seconds that a process's first thread waited for a processor; see Linux's ``sched-stats``."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def main() -> None:
    """Answer until standard input ends."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    compose(["network=local"])  # Hydra's parser builds tables at its first use, which takes a second
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(_fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
