"""The C library's memory allocator. This module must not import torch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

# From malloc.h of glibc, https://man7.org/linux/man-pages/man3/mallopt.3.html.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_KEPT = (1 << 31) - 1
_LARGEST_REUSED = 256 << 20


def reuse_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep freed blocks of up to 256 MiB for later allocations.

    By default, glibc returns large blocks to the kernel at once. A training step on a CPU allocates and frees the same
    tensors again and again, and the kernel maps and clears new pages for each of them. For a small network, this
    work of the kernel takes a fifth of the time of a step, and more with several threads.

    Returns:
        Whether the allocator was set. False with another C library, or if the environment sets glibc's allocator.
    """
    if any(name in environ for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")):
        return False
    if "glibc.malloc." in environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        if not os.confstr("CS_GNU_LIBC_VERSION"):
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, ValueError):  # macOS, musl
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST_REUSED))
