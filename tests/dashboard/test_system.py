"""The load of the machine and of a process with its children."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from decloud_pl.dashboard.system import LoadSampler, busy_percent


def test_a_busy_processor_is_seen(tmp_path: Path) -> None:
    sampler = LoadSampler(tmp_path, monotonic=lambda: 0.0)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        hashlib.sha256(bytes(100_000)).digest()
    load = sampler.sample(os.getpid())
    assert load.cpu_percent > 100 / (psutil.cpu_count() or 1) / 4
    assert load.cpu_percent <= 100
    assert 0 < load.memory_percent < 100
    assert load.disk_free > 0


def test_it_measures_at_most_once_a_second(tmp_path: Path) -> None:
    now = [0.0]
    sampler = LoadSampler(tmp_path / "not" / "yet" / "there", monotonic=lambda: now[0])
    first = sampler.sample(None)
    now[0] = 0.9
    assert sampler.sample(None) is first
    now[0] = 1.1
    assert sampler.sample(None) is not first


def test_children_count_and_ended_processes_do_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        load = LoadSampler(tmp_path).sample(os.getpid())
        assert load.daemon_processes >= 2
        assert (load.daemon_memory or 0) > 10_000_000
    gone = LoadSampler(tmp_path).sample(child.pid)
    assert (gone.daemon_memory, gone.daemon_processes) == (None, 0)


@pytest.mark.parametrize(("idle", "percent"), [(0.0, 100.0), (10.0, 50.0)])
def test_the_share_that_was_not_idle(idle: float, percent: float) -> None:
    before = psutil.cpu_times()
    after = before._replace(user=before.user + 10, idle=before.idle + idle)
    assert busy_percent(before, after) == pytest.approx(percent)
    assert busy_percent(before, before) == 0
