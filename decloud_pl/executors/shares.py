"""Divide this machine's GPUs among the trainings that run at the same time."""

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
    """Return the GPUs that this process may use. Each is an entry for the environment variable `VISIBLE_DEVICES`.

    The function interprets `VISIBLE_DEVICES` as CUDA does, and loads neither torch nor a driver. The variable's list
    ends before the first invalid device, such as ``-1``. If a device is listed twice, no device is visible.
    """
    count = sum(_DEVICE.fullmatch(path.name) is not None for path in devices.glob("nvidia*"))
    chosen = environ.get(VISIBLE_DEVICES)
    if chosen is None:
        # CUDA numbers the devices that exist: in a container with only /dev/nvidia3, that is device 0.
        return tuple(map(str, range(count)))
    is_wsl = (devices / "dxg").exists()  # Windows holds the devices and does not show how many there are
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
    """Parse a leading number as C's ``strtol`` does; return -1 if there is no number."""
    found = _INDEX.match(name)
    return int(found[0]) if found else -1


def gpus_of(worker: int, workers: int, gpus: Sequence[str]) -> tuple[str, ...]:
    """Return the GPUs for the worker with index ``worker``. Workers share GPUs only if they outnumber the GPUs."""
    if not gpus:
        return ()
    if len(gpus) < workers:
        return (gpus[worker % len(gpus)],)
    start, end = len(gpus) * worker // workers, len(gpus) * (worker + 1) // workers
    return tuple(gpus[start:end])


class Shares:
    """Slots for at most ``workers`` concurrent trainings. Slots share a GPU only if there are fewer GPUs than slots.

    Args:
        workers: maximum number of concurrent trainings.
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
        """Wait for a free slot; yield the environment variables for its worker."""
        worker = await self._free.get()
        try:
            yield self._environments[worker]
        finally:
            self._free.put_nowait(worker)
