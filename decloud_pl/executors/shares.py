"""How the machine is divided among trainings that run at the same time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path

_DEVICE = re.compile(r"nvidia\d+")
_INDEX = re.compile(r"[+-]?[0-9]+")
_UNIQUE = ("GPU-", "MIG-")
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The GPUs that this process may use, as `VISIBLE_DEVICES` names them. Loads no driver and no torch.

    The list is read as CUDA reads it: it ends before the first name that is no device, ``-1`` for example, and one
    that names a device twice hides all.
    """
    count = sum(_DEVICE.fullmatch(path.name) is not None for path in devices.glob("nvidia*"))
    chosen = environ.get(VISIBLE_DEVICES)
    if chosen is None:
        # CUDA counts the devices that are there: a container may have /dev/nvidia3 alone, which is its device 0.
        return tuple(map(str, range(count)))
    is_wsl = (devices / "dxg").exists()  # Windows has the devices, however many
    if not count and not is_wsl:
        return ()
    names = [name.strip() for name in chosen.split(",")]
    if unique := next((prefix for prefix in _UNIQUE if names[0].startswith(prefix)), ""):
        found = list(takewhile(lambda name: name.startswith(unique), names))
    else:
        numbers = takewhile(lambda number: number >= 0 and (is_wsl or number < count), map(_number, names))
        found = [str(number) for number in numbers]
    return tuple(found) if len(set(found)) == len(found) else ()


def _number(name: str) -> int:
    """As C's ``strtol`` reads it; -1 where there is none."""
    found = _INDEX.match(name)
    return int(found[0]) if found else -1


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
