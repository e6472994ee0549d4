"""Forks daemons from a process that has already imported everything, so each starts in about 10 ms.

``python -m tests.harness.nursery`` reads one JSON line per daemon, forks the daemon, and answers with its process ID.
When the daemon ends, it answers with the exit code. With ``kill_at`` = [round, point], the daemon kills itself with
SIGKILL at that point of that round: after it has written a row or a signed transaction, and before the effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.chain.transaction_log import Attempt, Outcome, TransactionLog
from decloud_pl.daemon.assemble import run_until_stopped
from decloud_pl.rounds.events import Changed, DaemonEvent
from tests.harness.trainer import Spec, trainer

ROOT = Path(__file__).parents[2]


@dataclass
class Executioner:
    """A reporter and a transaction log that count the writes of one round and kill the process at one of them."""

    round_id: int
    point: int
    count: int = 0

    def wrote(self, round_id: int) -> None:
        if round_id == self.round_id:
            if self.count == self.point:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Changed):
            self.wrote(event.record.round_id)

    def log(self, inner: TransactionLog) -> TransactionLog:
        return _DeadlyLog(inner, self)


@dataclass
class _DeadlyLog:
    inner: TransactionLog
    executioner: Executioner

    def record(self, key: str, attempt: Attempt) -> None:
        self.inner.record(key, attempt)
        self.executioner.wrote(int(key.split(":")[1]))

    def attempts(self, key: str) -> list[Attempt]:
        return self.inner.attempts(key)

    def settle(self, key: str, signature: str, outcome: Outcome) -> None:
        self.inner.settle(key, signature, outcome)
        self.executioner.wrote(int(key.split(":")[1]))


async def run(order: dict[str, Any]) -> None:
    executioner = Executioner(*order.get("kill_at", (-1, -1)))
    spec = Spec(**order["spec"])
    async with trainer(
        spec, reporter=executioner, log=executioner.log, crash_every=order.get("crash_every", 0)
    ) as daemon:
        if order.get("reconcile_only"):
            await _measure_reconcile(daemon)
        else:
            await run_until_stopped(daemon)


async def _measure_reconcile(daemon: Any) -> None:
    await daemon.discovery.reconcile()  # the first call includes late imports
    start = _cpu_seconds()
    await daemon.discovery.reconcile()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"start_cpu_seconds": start, "cpu_seconds": _cpu_seconds() - start, "peak_mb": peak}
    print(json.dumps(found), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


_IMPORTED_LATE = (
    "solana.rpc.async_api",
    "solana.rpc.models",
    "solana.exceptions",
    "websockets.asyncio.client",
    "urllib3",
)
"""Modules that the daemon imports on demand. Importing them here saves each child a second."""


def main() -> None:
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                asyncio.run(run(order))
                code = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(json.dumps({"pid": pid}), flush=True)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


class Nursery:
    """The parent's interface. It runs one daemon at a time, and `close` kills a running one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pid = 0

    async def start(self, spec: Spec, **order: Any) -> int:
        """Start a daemon; return its process ID."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"spec": json.loads(spec.to_json()), **order}) + "\n")
        self._process.stdin.flush()
        self.pid = int((await self.answer())["pid"])
        return self.pid

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), 120)
        assert line, "the nursery has ended"
        return dict(json.loads(line))

    async def ended(self) -> int:
        """Wait until the daemon ends; return its exit code."""
        code = int((await self.answer())["ended"])
        self.pid = 0
        return code

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def end(self) -> None:
        """Kill the daemon if it still runs, so that the next one can start."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            await self.ended()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.pid:
            self.signal(signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


if __name__ == "__main__":
    main()
