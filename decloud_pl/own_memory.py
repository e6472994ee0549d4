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
    """Let this process allocate at most ``more_bytes`` more address space than now. Only Linux has this limit."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if sys.platform == "linux" else 0
    if pages:
        lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)


def lower_limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit of this process (``resource.RLIMIT_…``). A lower limit of the user stays."""
    before = resource.getrlimit(kind)[1]
    most = soft if hard is None else hard
    if before != resource.RLIM_INFINITY:
        soft, most = min(soft, before), min(most, before)
    resource.setrlimit(kind, (soft, most))
