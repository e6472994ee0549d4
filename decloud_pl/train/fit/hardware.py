"""What this machine's processor can do. Imports no torch: the daemon asks before any training."""

from __future__ import annotations

import re
from pathlib import Path

_FLAGS = re.compile(r"^flags\s*:(.*)$", re.MULTILINE)
_BF16 = ("avx512_bf16", "amx_tile")


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor has instructions for bfloat16; None where that cannot be known without torch."""
    try:
        flags = _FLAGS.search(cpuinfo.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return None if flags is None else any(flag in flags[1].split() for flag in _BF16)
