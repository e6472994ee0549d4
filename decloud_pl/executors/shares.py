"""How the machine is divided among trainings that run at the same time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

_DEVICE = re.compile(r"nvidia\d+")
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that this process may use, as `VISIBLE_DEVICES` names them. Loads no driver and no torch."""
    chosen = environ.get(VISIBLE_DEVICES)
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    numbers = sorted(int(path.name[6:]) for path in devices.glob("nvidia*") if _DEVICE.fullmatch(path.name))
    return tuple(str(number) for number in numbers)


def gpus_of(worker: int, workers: int, gpus: Sequence[str]) -> tuple[str, ...]:
    """The GPUs of one of ``workers``: its own part of them, or one shared in turn where there are too few."""
    if not gpus:
        return ()
    if len(gpus) < workers:
        return (gpus[worker % len(gpus)],)
    start, end = len(gpus) * worker // workers, len(gpus) * (worker + 1) // workers
    return tuple(gpus[start:end])


class Shares:
    """Places for at most ``workers`` trainings; each has its GPUs for itself as far as there are enough.

    Args:
        workers: trainings at a time.
        gpus: all GPUs to divide.
    """

    def __init__(self, workers: int, gpus: Sequence[str] = ()) -> None:
        self._environments = [
            {VISIBLE_DEVICES: ",".join(gpus_of(worker, workers, gpus))} if gpus else {} for worker in range(workers)
        ]
        self._free: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for worker in reversed(range(workers)):
            self._free.put_nowait(worker)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Mapping[str, str]]:
        """Waits for a free place; yields what its worker's environment must say."""
        worker = await self._free.get()
        try:
            yield self._environments[worker]
        finally:
            self._free.put_nowait(worker)
