"""Hide the memory of this process, which may contain a key. Every command imports this module first; keep it small."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

PASS_ENV = "DECLOUD_PASS_ENV"  # noqa: S105  # not a password
"""The variable with the names of further variables for child processes, separated by commas or spaces."""
_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def hide_memory() -> None:
    """Hide this process's memory and environment from core dumps and from other processes of this user.

    A process that trains must not call this function: GPU libraries share memory between processes, and this function
    blocks the access that they need. On systems other than Linux, it only disables core dumps.
    """
    forbid_core_dumps()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # a C library without prctl
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0)))


def forbid_core_dumps() -> None:
    """Disable core dumps of this process and of its children, unless a child enables them again."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def limit_memory(more_bytes: int) -> None:
    """Let this process's address space grow by at most ``more_bytes``. On systems other than Linux, set no limit."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if sys.platform == "linux" else 0
    if pages:
        lower_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)


def lower_limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit of this process (``resource.RLIMIT_…``), but never above the user's hard limit."""
    before = resource.getrlimit(kind)[1]
    most = soft if hard is None else hard
    if before != resource.RLIM_INFINITY:
        soft, most = min(soft, before), min(most, before)
    resource.setrlimit(kind, (soft, most))
