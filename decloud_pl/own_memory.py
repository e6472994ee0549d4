"""Who may see what is in this process, which may hold a key. Imports little: every command calls it first."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

PASS_ENV = "DECLOUD_PASS_ENV"  # noqa: S105  # not a password
"""The variable in which a user names more variables for child processes, with commas or blanks between them."""
_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def hide_memory() -> None:
    """Keeps this process's memory and environment, which hold a key, from core dumps and this user's other processes.

    Not for a process that trains: GPU libraries share memory between processes by the rights that this takes away.
    Elsewhere than on Linux only core dumps are forbidden.
    """
    forbid_core_dumps()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0)))


def forbid_core_dumps() -> None:
    """Writes no memory of this process to a file when it crashes, nor of its children, unless one allows it again."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def limit_memory(more_bytes: int) -> None:
    """Lets this process take so many bytes more of address space than now. Elsewhere than on Linux: no limit."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if sys.platform == "linux" else 0
    if pages:
        address_space = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
