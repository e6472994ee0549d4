"""Detect shortages of this machine: disk space, memory, file descriptors, processes.

A shortage is temporary. The cause is this machine, not a file or a round.
"""

from __future__ import annotations

import errno
import mmap
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from decloud_pl.errors import MachineShortage

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FILES = (errno.EMFILE, errno.ENFILE)
_NUMBERS = (*_FULL, *_FILES, errno.ENOMEM)
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FIX_MEMORY = "Close other programs, or train with a smaller batch_size."
_NO_MEMORY = "allocate memory"  # part of torch's error message
_NO_THREAD = "can't start new thread"


def shortage(error: BaseException, *, places: Sequence[Path] = ()) -> MachineShortage | None:
    """Return the shortage that an error or one of its causes reports, or None if none does.

    Args:
        error: any error.
        places: folders that were written to. If the disk is full and the error has no path, the message names the
            folder with the least free space.
    """
    for one in _chain(error):
        if isinstance(one, MachineShortage):
            return one
        number = _number(one)
        # A blocking socket also raises EAGAIN, but all callers handle that.
        if (number == errno.EAGAIN and one is error) or (type(one) is RuntimeError and str(one) == _NO_THREAD):
            return MachineShortage(
                "This machine cannot start more processes.", fix="Close other programs, or raise `ulimit -u`."
            )
        if number in _FULL:
            # The error of a copy has the destination as its second file.
            named = getattr(one, "filename2", None) or getattr(one, "filename", None) or _fullest(places)
            return MachineShortage(
                f"No disk space left{f' in {named}' if named else ''}.",
                fix="Free disk space there." if named else "Free disk space.",
            )
        if number in _FILES:
            return MachineShortage(
                "This machine has no file descriptors left.", fix="Close other programs, or raise `ulimit -n`."
            )
        if number == errno.ENOMEM or is_memory(one):
            return MachineShortage("This machine has no memory left.", fix=_FIX_MEMORY)
    return None


def is_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out. Torch raises a RuntimeError in this case."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY in str(error))


def can_give(size: int) -> bool:
    """Return whether this process can allocate ``size`` bytes of memory. The test allocation is freed at once."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def killed(what: str, code: int) -> MachineShortage | None:
    """Return an error if a signal from another process or the kernel ended a child process; otherwise return None.

    The kernel sends SIGKILL when memory runs out, and a service manager sends SIGTERM.

    Args:
        what: a name for the child, with which the message begins.
        code: the child's exit code. It is negative if a signal ended the child.
    """
    if -code not in _FROM_OUTSIDE:
        return None
    if code == -signal.SIGKILL:
        return MachineShortage(f"{what} was killed, probably because memory ran out.", fix=_FIX_MEMORY)
    return MachineShortage(f"{what} was ended by {signal.Signals(-code).name} from another process.")


def _fullest(places: Sequence[Path]) -> Path | None:
    room: dict[Path, int] = {}
    for place in places:
        with suppress(OSError):
            room[place] = shutil.disk_usage(place).free
    return min(room, key=room.__getitem__, default=None)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # safetensors raises no OSError, but its own error with Rust's message.
    if type(error).__name__ == "SafetensorError":
        return next((number for number in _NUMBERS if f"(os error {number})" in str(error)), None)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
