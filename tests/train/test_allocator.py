"""The allocator of a training process: freed memory is reused, unless the user sets the allocator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from decloud_pl.train.fit.allocator import reuse_freed_memory

GLIBC = sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names

_PROGRAM = """
import resource, sys
from decloud_pl.train.fit.allocator import reuse_freed_memory

print(reuse_freed_memory() if sys.argv[1] == "reused" else False)
for _ in range(10):
    blocks = [b"x" * (16 << 20) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def _set_and_faults(how: str) -> tuple[bool, int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", _PROGRAM, how]
    output = subprocess.run(command, env=kept, check=True, capture_output=True, text=True).stdout
    was_set, faults = output.split()
    return was_set == "True", int(faults)


@pytest.mark.skipif(not GLIBC, reason="only glibc returns large blocks to the kernel at once")
def test_the_kernel_maps_each_block_once() -> None:
    _, default = _set_and_faults("default")
    was_set, reused = _set_and_faults("reused")
    assert was_set
    assert reused < default / 2


@pytest.mark.parametrize(
    "environ",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.rtld.nns=4:glibc.malloc.hugetlb=1"},
    ],
)
def test_the_users_own_allocator_settings_are_kept(environ: dict[str, str]) -> None:
    assert not reuse_freed_memory(environ)
