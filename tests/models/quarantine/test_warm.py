"""One child opens many files: each in isolation, so that no file can affect the next."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from decloud_pl.errors import DecloudError, MachineShortage, ModelError, UntrustedFileRejected
from decloud_pl.models.quarantine.opening import ProcessLimits
from decloud_pl.models.quarantine.warm import WarmQuarantine
from tests.models.conftest import endless
from tests.models.quarantine.test_opening import Payload, child_of, is_gone, wait_for

State = dict[str, torch.Tensor]
MEMORY = 256 << 20


@pytest.fixture(scope="module")
def quarantine() -> Iterator[WarmQuarantine]:
    limits = ProcessLimits(file_bytes=1 << 28, memory_bytes=MEMORY, wall_seconds=20)
    with pytest.MonkeyPatch.context() as patch, WarmQuarantine(limits) as made:
        patch.setenv("DECLOUD_PRIVATE_KEY", "secret")  # which no child may have
        yield made


@pytest.fixture
def good(tmp_path: Path, state: State) -> Path:
    torch.save(state, tmp_path / "good.pt")
    return tmp_path / "good.pt"


def server() -> psutil.Process:
    return child_of(psutil.Process())


def fork_of(child: psutil.Process) -> psutil.Process:
    """Wait for the fork that opens a file. It has its own session, unlike programs that libraries run on import."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for process in child.children():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(process.pid) == process.pid:
                    found.append(process)
        return bool(found)

    wait_for(look)
    return found[0]


def meanwhile(quarantine: WarmQuarantine, path: Path, act: Callable[[psutil.Process], None]) -> str:
    """Open a file that never finishes, act on the fork in the meantime, and return the result."""
    acting = threading.Thread(target=lambda: act(fork_of(server())))
    acting.start()
    with pytest.raises(DecloudError) as caught:
        quarantine.open_base_model(endless(path), path.with_name("out"))
    acting.join()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_one_child_opens_what_a_child_for_each_opens(quarantine: WarmQuarantine, good: Path, state: State) -> None:
    base = quarantine.open_base_model(good, good.with_name("base.safetensors"))
    child = server().pid
    assert base.classes == 4
    weights = load_file(str(base.weights))
    assert all(torch.equal(weights[name], state[name]) for name in state)
    dense = torch.zeros(4, 512)
    dense[1, 7] = 0.5
    entries = {
        "fc2.weight": dense.to_sparse(),
        "fc2.bias": torch.arange(4.0).half(),
        "conv1.weight": torch.ones(32, 3, 3, 3, dtype=torch.bfloat16),
    }
    path = good.with_name("submission.pt")
    torch.save(entries, path)
    checked = load_file(str(quarantine.open_submission(path, base, good.with_name("entries"))))
    assert {name: entry.dtype for name, entry in checked.items()} == dict.fromkeys(entries, torch.float32)
    assert torch.equal(checked["fc2.weight"], dense)
    assert torch.equal(checked["fc2.bias"], torch.arange(4.0))
    assert server().pid == child


def test_a_bad_file_harms_neither_the_child_nor_the_next_file(
    quarantine: WarmQuarantine, good: Path, state: State, tmp_path: Path
) -> None:
    quarantine.open_base_model(good, tmp_path / "first")
    child = server().pid
    bad, marker = tmp_path / "bad.pt", tmp_path / "marker"
    torch.save({"conv1.weight": Payload(f"touch {marker}")}, bad)
    with pytest.raises(UntrustedFileRejected, match="not executed"):
        quarantine.open_base_model(bad, tmp_path / "out")
    torch.save({**state, "fc2.weight": torch.zeros(100_000, 512), "fc2.bias": torch.zeros(100_000)}, bad)
    with pytest.raises(UntrustedFileRejected, match="needs more memory than the limit"):
        quarantine.open_base_model(bad, tmp_path / "out")
    with bad.open("r+b") as file:
        file.truncate(1 << 29)
    with pytest.raises(UntrustedFileRejected, match="too large"):
        quarantine.open_base_model(bad, tmp_path / "out")
    with pytest.raises(ModelError, match="cannot be read"):
        quarantine.open_base_model(tmp_path / "missing", tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
    assert quarantine.open_base_model(good, tmp_path / "second").classes == 4
    assert server().pid == child


@pytest.mark.usefixtures("plug_in")
def test_a_fork_has_limits_of_its_own_and_no_secret(quarantine: WarmQuarantine, good: Path, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def look(fork: psutil.Process) -> None:
        wait_for(lambda: resource.prlimit(fork.pid, resource.RLIMIT_NOFILE)[1] == 64)  # the last limit
        seen["environment"] = set(fork.environ())
        seen["session"] = os.getsid(fork.pid) == fork.pid
        seen["files"] = resource.prlimit(fork.pid, resource.RLIMIT_FSIZE)[1]
        seen["server"] = resource.prlimit(server().pid, resource.RLIMIT_FSIZE)[1]
        fork.send_signal(signal.SIGSEGV)

    assert "UntrustedFileRejected: The process that opened the file crashed" in meanwhile(
        quarantine, tmp_path / "endless", look
    )
    environment = seen.pop("environment")
    assert isinstance(environment, set)
    assert environment <= {"OMP_NUM_THREADS", "PATH", "LC_CTYPE"}
    assert seen == {"session": True, "files": MEMORY, "server": resource.RLIM_INFINITY}
    assert quarantine.open_base_model(good, tmp_path / "out").classes == 4


def send(number: signal.Signals, process: psutil.Process) -> None:
    process.send_signal(number)


@pytest.mark.usefixtures("plug_in")
def test_a_fork_that_is_killed_from_outside_says_nothing_about_its_file(
    quarantine: WarmQuarantine, good: Path, tmp_path: Path
) -> None:
    for number, words in ((signal.SIGKILL, "was killed, probably because memory"), (signal.SIGTERM, "by SIGTERM")):
        found = meanwhile(quarantine, tmp_path / number.name, partial(send, number))
        assert found.startswith("MachineShortage: ")
        assert words in found
    with pytest.raises(UntrustedFileRejected, match="is not a regular file"):
        quarantine.open_base_model(Path("/dev/zero"), tmp_path / "out")
    assert quarantine.open_base_model(good, tmp_path / "out").classes == 4


@pytest.mark.usefixtures("plug_in")
def test_a_file_that_takes_too_long_leaves_no_process(good: Path, tmp_path: Path) -> None:
    forks: list[psutil.Process] = []
    with WarmQuarantine(ProcessLimits(wall_seconds=1)) as quarantine:
        with pytest.raises(UntrustedFileRejected, match="took longer than"):
            quarantine.open_base_model(endless(tmp_path / "endless"), tmp_path / "out")
        child = server()
        assert child.children() == []

        def end(fork: psutil.Process) -> None:
            forks.append(fork)
            child.kill()

        # The end of the child is not the file's fault. The next file starts a new child.
        assert meanwhile(quarantine, tmp_path / "other", end).startswith(MachineShortage.__name__)
        wait_for(lambda: is_gone(forks[0].pid))
        assert is_gone(child.pid)


PARENT = """
import sys
from pathlib import Path
from decloud_pl.models.quarantine.warm import WarmQuarantine
WarmQuarantine().open_base_model(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.usefixtures("plug_in")
def test_child_and_fork_end_with_the_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(endless(tmp_path / "endless")), str(tmp_path / "out")]
    with subprocess.Popen(command) as parent:
        child = child_of(psutil.Process(parent.pid))
        fork = fork_of(child)
        parent.kill()
        wait_for(lambda: is_gone(child.pid) and is_gone(fork.pid))
