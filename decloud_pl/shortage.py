"""What this machine may run out of: room on a disk, memory, open files, processes.

None of it is the fault of a stranger's file or of a round, and it may pass.
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
_NO_MEMORY = "allocate memory"  # as torch says it
_NO_THREAD = "can't start new thread"


def shortage(error: BaseException, *, places: Sequence[Path] = ()) -> MachineShortage | None:
    """What this machine is short of where an error, or one that it was raised from, says so; None for any other error.

    Args:
        error: any.
        places: folders that were written to; where the error names none, it is the one with the least room.
    """
    for one in _chain(error):
        if isinstance(one, MachineShortage):
            return one
        number = _number(one)
        # A socket that would block says EAGAIN, too, but nobody lets that through.
        if (number == errno.EAGAIN and one is error) or (type(one) is RuntimeError and str(one) == _NO_THREAD):
            return MachineShortage(
                "This machine can start no more processes.", fix="Close other programs, or raise `ulimit -u`."
            )
        if number in _FULL:
            # Of a copy, where it goes.
            named = getattr(one, "filename2", None) or getattr(one, "filename", None) or _fullest(places)
            return MachineShortage(f"There is no room left{f' in {named}' if named else ''}.", fix="Make room there.")
        if number in _FILES:
            return MachineShortage(
                "This machine has no file descriptors left.", fix="Close other programs, or raise `ulimit -n`."
            )
        if number == errno.ENOMEM or is_memory(one):
            return MachineShortage("This machine has no memory left.", fix=_FIX_MEMORY)
    return None


def is_memory(error: BaseException) -> bool:
    """Whether memory could not be had. torch reports that as a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY in str(error))


def can_give(size: int) -> bool:
    """Whether this machine could give a process so many bytes of memory; none of it is used."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def killed(what: str, code: int) -> MachineShortage | None:
    """Why a child process was ended from outside; None where it ended by itself.

    SIGKILL is what the kernel sends where memory runs out; SIGTERM is what a service manager sends.

    Args:
        what: the child, at the beginning of a sentence.
        code: its exit code, the negative number of a signal.
    """
    if -code not in _FROM_OUTSIDE:
        return None
    if code == -signal.SIGKILL:
        return MachineShortage(f"{what} was killed, probably because memory ran out.", fix=_FIX_MEMORY)
    return MachineShortage(f"{what} was ended from outside by {signal.Signals(-code).name}.")


def _fullest(places: Sequence[Path]) -> Path | None:
    room: dict[Path, int] = {}
    for place in places:
        with suppress(OSError):
            room[place] = shutil.disk_usage(place).free
    return min(room, key=room.__getitem__, default=None)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # safetensors has only Rust's words for what the system said.
    if type(error).__name__ == "SafetensorError":
        return next((number for number in _NUMBERS if f"(os error {number})" in str(error)), None)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
