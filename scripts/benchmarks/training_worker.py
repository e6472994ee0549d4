"""Measure a real worker process on Fashion-MNIST: its CPU time until the first step, and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil


def measure(folder: Path) -> dict[str, float]:
    """Return the CPU seconds from the process's start to the end of its first step, with children, and the peak MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "decloud_pl.executors.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout is None:
        raise RuntimeError("The worker has no output.")
    seen = psutil.Process(process.pid)
    seconds = 0.0
    for line in process.stdout:
        if json.loads(line).get("stage") == "fit" and not seconds:
            times = seen.cpu_times()
            seconds = times.user + times.system + times.children_user + times.children_system
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("The worker failed.")
    return {"first_step_cpu_seconds": round(seconds, 2), "peak_memory_mb": round(usage.ru_maxrss / 1024)}
