"""Find out what this machine's processor supports. This module must not import torch, because the daemon uses it."""

from __future__ import annotations

import re
from pathlib import Path

_FLAGS = re.compile(r"^flags\s*:(.*)$", re.MULTILINE)
_BF16 = ("avx512_bf16", "amx_tile")


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Return whether the processor has bfloat16 instructions; None if ``cpuinfo`` does not list instructions."""
    try:
        flags = _FLAGS.search(cpuinfo.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return None if flags is None else any(flag in flags[1].split() for flag in _BF16)
