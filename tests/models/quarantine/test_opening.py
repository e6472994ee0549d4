"""A restricted child opens untrusted files, and a bad file ends only the child."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from decloud_pl.errors import MachineShortage, ModelError, UntrustedFileRejected
from decloud_pl.models import ModelSpec
from decloud_pl.models.quarantine.opening import (
    BaseModelOpening,
    ProcessLimits,
    inspect_file,
    open_base_model,
    open_in_task,
)
from decloud_pl.models.quarantine.warm import WarmQuarantine
from tests.harness.small_disk import small_disk
from tests.models.conftest import endless

State = dict[str, torch.Tensor]


def wait_for(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_of(process: psutil.Process) -> psutil.Process:
    """Wait for a quarantine child of another process and return the newest one."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "decloud_pl.models.quarantine" in child.cmdline():
                    found.append(child)
        return bool(found)

    wait_for(look)
    return max(found, key=psutil.Process.create_time)


def oom_score_of(process: psutil.Process) -> str:
    """Return the process's own value, which its parent sets just after the start."""
    inherited = _oom_score_now(psutil.Process())
    wait_for(lambda: _oom_score_now(process) != inherited)
    return _oom_score_now(process)


def _oom_score_now(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/oom_score_adj").read_text(encoding="ascii").strip()


class Payload:
    """Runs a command when an ordinary unpickler loads it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self._command,)


def test_a_state_dict_is_recognized(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "base.pt")
    base = open_base_model(tmp_path / "base.pt", tmp_path / "base.safetensors")
    assert base.spec == ModelSpec("simple_cnn", {"num_classes": 4})
    assert base.classes == 4
    weights = load_file(str(base.weights))
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_a_base_model_gives_its_network_and_its_weights(tmp_path: Path, packaged: Path, state: State) -> None:
    base = open_base_model(str(packaged))  # the parent's paths are not part of the comparison
    assert base.weights != packaged
    assert all(torch.equal(base.state_dict()[name], state[name]) for name in state)
    network = base.network()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, base.classes)
    network.state_dict()["fc2.bias"].add_(1)
    assert torch.equal(base.network().state_dict()["fc2.bias"], state["fc2.bias"])
    with pytest.raises(ModelError, match=r"gone\.pt cannot be read: No such file or directory\. Check the path"):
        open_base_model(tmp_path / "gone.pt")


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux has this file")
async def test_the_kernel_takes_the_inspection_of_a_strangers_file_before_a_training(
    tmp_path: Path, packaged: Path
) -> None:
    opening = asyncio.create_task(open_in_task(packaged, tmp_path / "out"))
    child = await asyncio.to_thread(child_of, psutil.Process())
    assert await asyncio.to_thread(oom_score_of, child) == "900"
    await opening


def test_a_pickle_that_runs_a_command_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "base.pt"
    torch.save({"conv1.weight": Payload(f"touch {marker}")}, path)
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would run elsewhere
    marker.unlink()
    with pytest.raises(UntrustedFileRejected, match="not executed"):
        open_base_model(path, tmp_path / "out")
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("plug_in")
def test_what_the_child_has_and_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", "secret")
    path = endless(tmp_path / "model", "work")
    opening = BaseModelOpening(path, tmp_path / "out", ProcessLimits(memory_bytes=1 << 30))
    child = child_of(psutil.Process())

    def limits() -> dict[str, int]:
        return {name: resource.prlimit(child.pid, getattr(resource, f"RLIMIT_{name}"))[1] for name in LIMITED}

    wait_for(lambda: is_looking(child))
    # Isolated mode adds the C locale's variable. No variable comes from this process.
    assert set(child.environ()) <= {"OMP_NUM_THREADS", "PATH", "LC_CTYPE"}
    assert os.getsid(child.pid) == child.pid
    assert 0 < limits()["AS"] < 16 << 30
    assert limits()["FSIZE"] == 1 << 30
    assert limits()["CORE"] == 0
    soft, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
    assert 0 < soft < hard < 1000
    # The child's own limit ends it with another signal than a kill from outside.
    resource.prlimit(child.pid, resource.RLIMIT_CPU, (1, hard))  # it has already used more
    with pytest.raises(UntrustedFileRejected, match="needed too much processor time"):
        opening.model()
    assert is_gone(child.pid)


LIMITED = ("AS", "FSIZE", "CORE", "CPU", "NOFILE")


def test_a_file_that_is_too_large(tmp_path: Path, packaged: Path) -> None:
    with pytest.raises(UntrustedFileRejected, match=r"too large: .* at most 1,000 are accepted"):
        open_base_model(packaged, tmp_path / "out", ProcessLimits(file_bytes=1000))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("plug_in")
def test_a_file_that_takes_too_long(tmp_path: Path) -> None:
    path = endless(tmp_path / "model")
    opening = BaseModelOpening(path, tmp_path / "out", ProcessLimits(wall_seconds=0.3))
    child = child_of(psutil.Process())
    with pytest.raises(UntrustedFileRejected, match="took longer than"):
        opening.model()
    assert is_gone(child.pid)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"base\.pt cannot be read: No such file or directory\. Check the path"):
        open_base_model(tmp_path / "base.pt", tmp_path / "out")


def is_looking(child: psutil.Process) -> bool:
    """Return whether a child has set its limits, which it does just before it opens the file."""
    return resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[1] == 64


ENDS = {
    signal.SIGSEGV: (UntrustedFileRejected, "crashed"),
    signal.SIGABRT: (UntrustedFileRejected, "crashed"),
    signal.SIGXCPU: (UntrustedFileRejected, "needed too much processor time"),
    signal.SIGKILL: (MachineShortage, "was killed, probably because memory ran out"),
    signal.SIGTERM: (MachineShortage, "was ended by SIGTERM from another process"),
}
"""Signals that end the child, and the error for each."""


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize("number", ENDS)
def test_how_a_child_ends_tells_whose_fault_it_is(number: signal.Signals, tmp_path: Path) -> None:
    opening = BaseModelOpening(endless(tmp_path / "model"), tmp_path / "out")
    child = child_of(psutil.Process())
    resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))  # as later, when it has started
    child.send_signal(number)
    kind, words = ENDS[number]
    with pytest.raises(kind, match=words):
        opening.model()


SHORT_MACHINE = """
import json, resource, sys
from pathlib import Path
from decloud_pl.errors import DecloudError
from decloud_pl.models.quarantine.opening import open_base_model
for name, limit in json.loads(sys.argv[3]).items():
    resource.setrlimit(getattr(resource, name), (limit, limit))
try:
    open_base_model(Path(sys.argv[1]), Path(sys.argv[2]))
except DecloudError as error:
    print(type(error).__name__, error)
"""


def opened_where(path: Path, **limits: int) -> str:
    """Open a file in a process whose resources, and those of its children, are limited; return the result."""
    arguments = [str(path), str(path.with_name("out")), json.dumps(limits)]
    ended = subprocess.run(
        [sys.executable, "-c", SHORT_MACHINE, *arguments], capture_output=True, text=True, check=True
    )
    return ended.stdout


def test_a_machine_without_memory_is_told_from_a_file_that_wants_too_much(tmp_path: Path, state: State) -> None:
    path = tmp_path / "base.pt"
    torch.save({**state, "fc2.weight": torch.zeros(100_000, 512), "fc2.bias": torch.zeros(100_000)}, path)
    # The same file, once with the child's limit, and once on a machine with less memory than that limit.
    with pytest.raises(UntrustedFileRejected, match="needs more memory than the limit"):
        open_base_model(path, tmp_path / "out", ProcessLimits(memory_bytes=64 << 20))
    assert not (tmp_path / "out").exists()
    short = opened_where(path, RLIMIT_AS=2 << 30)
    assert short.startswith("MachineShortage "), short


def test_a_child_that_never_comes_to_the_file_says_nothing_about_it(packaged: Path) -> None:
    # Too little memory for the child's libraries.
    assert opened_where(packaged, RLIMIT_AS=400 << 20).startswith("MachineShortage ")
    # The user's own lower limits do not prevent the opening.
    assert opened_where(packaged, RLIMIT_CPU=60, RLIMIT_FSIZE=1 << 30) == ""


def test_a_full_disk_is_not_the_files_fault(tmp_path: Path, packaged: Path) -> None:
    with (
        small_disk(tmp_path / "disk", kilobytes=64) as disk,
        pytest.raises(MachineShortage, match=r"No disk space left.*\. Free disk space\."),
    ):
        open_base_model(packaged, disk / "out")


@pytest.mark.usefixtures("plug_in")
def test_an_opening_may_be_cancelled_more_than_once(tmp_path: Path) -> None:
    opening = BaseModelOpening(endless(tmp_path / "model"), tmp_path / "out")
    child = child_of(psutil.Process())
    opening.cancel()
    opening.cancel()
    assert is_gone(child.pid)


PARENT = """
import sys
from pathlib import Path
from decloud_pl.models.quarantine.opening import BaseModelOpening
BaseModelOpening(Path(sys.argv[1]), Path(sys.argv[2])).model()
"""


@pytest.mark.usefixtures("plug_in")
def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = endless(tmp_path / "model")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path), str(tmp_path / "out")]) as parent:
        child = child_of(psutil.Process(parent.pid))
        wait_for(lambda: is_looking(child))
        parent.kill()
        wait_for(lambda: is_gone(child.pid))


def test_the_child_itself_opens_nothing_but_a_regular_file_and_follows_no_link(tmp_path: Path, packaged: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(packaged)
    os.mkfifo(pipe)
    with WarmQuarantine() as quarantine:
        for path in (link, pipe, tmp_path, Path("/dev/zero")):
            with pytest.raises(UntrustedFileRejected, match="is not a regular file"):
                quarantine.open_base_model(path, tmp_path / "out")
    # As a worker opens the file in the round's folder.
    with pytest.raises(UntrustedFileRejected, match="is not a regular file"):
        BaseModelOpening(link, tmp_path / "out").model()


def test_a_pipe_or_a_device_is_not_opened_and_a_link_of_the_users_is_followed(tmp_path: Path, packaged: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(packaged)
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(UntrustedFileRejected, match="is not a regular file"):
            open_base_model(path, tmp_path / "out")
        with pytest.raises(UntrustedFileRejected, match="is not a regular file"):
            inspect_file(path, tmp_path / "out")
    assert open_base_model(link, tmp_path / "out").classes == 4


def zip_bomb(path: Path) -> None:
    """Write a gigabyte of zeros as a file of one megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data/0", "w") as member:
        for _ in range(16):
            member.write(bytes(64 << 20))


def forged_sparse(path: Path) -> None:
    forged = torch.sparse_coo_tensor(torch.tensor([[2**60]]), torch.ones(1), (2**61,), check_invariants=False)
    torch.save({"conv1.weight": forged}, path)


def many_tensors(path: Path) -> None:
    header = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)


def truncated(path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(100_000)}, path)
    path.write_bytes(path.read_bytes()[:-1000])


MEASURE = """
import json, resource, sys
from pathlib import Path
from decloud_pl.errors import UntrustedFileRejected
from decloud_pl.models.quarantine.opening import ProcessLimits
from decloud_pl.models.quarantine.warm import WarmQuarantine
ordinary, *paths = map(Path, sys.argv[1:])
reasons = []
def peak(paths):
    with WarmQuarantine(ProcessLimits(memory_bytes=256 << 20)) as quarantine:
        for path in paths:
            try:
                quarantine.open_base_model(path, path.with_name("out"))
            except UntrustedFileRejected as error:
                reasons.append(str(error))
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([peak([ordinary]), peak(paths), reasons]))
"""


def test_a_file_made_to_exhaust_its_reader_costs_no_memory(tmp_path: Path) -> None:
    # torch uses most of the memory for a small invalid file. It differs between Python versions.
    (tmp_path / "ordinary").write_bytes(b"no model")
    files = [tmp_path / "ordinary"]
    for make in (zip_bomb, forged_sparse, many_tensors, truncated):
        files.append(tmp_path / make.__name__)
        make(files[-1])
    ended = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True)
    ordinary, largest, reasons = json.loads(ended.stdout)  # in kilobytes
    assert len(reasons) == len(files)
    assert all("The file was not used" in reason for reason in reasons)
    assert largest < ordinary + 100_000
    assert not (tmp_path / "out").exists()
