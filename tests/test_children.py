"""Child processes: their output, their end with the parent, and signals to stop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import base58
import psutil
import pytest
from solders.keypair import Keypair

from decloud_pl.children import Child, child_environment, output_of, uncollected
from decloud_pl.config.layers import variable_of
from decloud_pl.config.names import secret_names
from decloud_pl.errors import TrainingStopped

CHILD = (
    "import json, os, subprocess, sys, time\n"
    "from decloud_pl.children import StopRequest, exit_with_parent, open_messages, send\n"
    "messages = open_messages()\nexit_with_parent()\nstop = StopRequest()\nstop.install()\n"
)


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


def started(script: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(python(CHILD + script), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


NEEDED = """
PATH HOME PYTHONPATH TMPDIR LANG LC_ALL CUDA_VISIBLE_DEVICES OMP_NUM_THREADS MKL_NUM_THREADS NCCL_DEBUG MASTER_ADDR RANK
WORLD_SIZE TORCHELASTIC_RUN_ID SLURM_JOB_ID RAY_ADDRESS HF_HOME https_proxy NO_PROXY SSL_CERT_FILE DECLOUD_HOME
"""
OTHERS = """
DECLOUD_PRIVATE_KEY DECLOUD_NOTIFY_URLS DECLOUD_NETWORK_RPC_URL PINATA_JWT NODE_SECRET HF_TOKEN SLURM_JWT WANDB_API_KEY
AWS_PROFILE SSH_AUTH_SOCK DATABASE_URL NOTIFY_SOCKET path_to_it
"""


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux has this file")
async def test_the_kernel_takes_a_child_and_its_own_children_first() -> None:
    script = "import subprocess, time; time.sleep(0.3); subprocess.run(['cat', '/proc/self/oom_score_adj'])"
    output = await output_of(python(script), seconds=30, oom_score=900)
    assert int(output.out) == 900


async def test_a_child_gets_the_variables_that_it_needs_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED.split():
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    for name in OTHERS.split():
        monkeypatch.setenv(name, "k-e-y")
    output = await output_of(python("import json, os; print(json.dumps(dict(os.environ)))"), seconds=30)
    found = json.loads(output.out)
    assert set(NEEDED.split()) <= set(found)
    assert not set(OTHERS.split()) & set(found)
    assert b"k-e-y" not in output.out


def test_a_child_gets_what_the_user_names_but_not_the_users_key() -> None:
    named = {"DECLOUD_PASS_ENV": "MINE,WANDB_API_KEY DECLOUD_PRIVATE_KEY", "MINE": "1", "WANDB_API_KEY": "2"}
    assert child_environment({**named, "DECLOUD_PRIVATE_KEY": "3", "OTHER": "4"}) == named


@pytest.mark.parametrize("name", secret_names(None))
def test_a_child_never_gets_a_secret_of_this_program(name: str) -> None:
    listed = {"DECLOUD_PASS_ENV": variable_of(name)}
    assert child_environment({**listed, variable_of(name): "k-e-y"}) == listed


async def test_what_a_child_reads_writes_and_ends_with() -> None:
    script = "import sys; print(sys.stdin.read().upper()); print('why', file=sys.stderr); sys.exit(3)"
    output = await output_of(python(script), seconds=30, given=b"text")
    assert (output.code, output.out, output.log, output.last_line) == (3, b"TEXT\n", b"why\n", "why")


async def test_a_child_that_does_not_read_and_says_nothing() -> None:
    output = await output_of(python(""), seconds=30, given=b"x" * 1_000_000)
    assert (output.code, output.last_line) == (0, "no reason given")


async def test_a_child_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ntime.sleep(600)"
    )
    with pytest.raises(TimeoutError):
        await output_of(python(script), seconds=2)
    deadline = time.monotonic() + 10
    while (pid := int((tmp_path / "pid").read_text())) in psutil.pids():
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE or time.monotonic() < deadline
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            break


async def test_a_caller_that_is_cancelled_while_its_child_ends_kills_it_and_stops() -> None:
    script = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "print('ready', flush=True)\nwhile True:\n    time.sleep(600)"
    )
    child = await Child.start(python(script), log=asyncio.subprocess.DEVNULL)
    assert await child.stdout.readline() == b"ready\n"
    ending = asyncio.create_task(child.end(grace=600))
    assert await child.stdout.readline() == b"asked\n"
    ending.cancel()
    await asyncio.wait({ending}, timeout=30)
    assert ending.cancelled()
    assert child.process.returncode == -signal.SIGKILL


async def test_a_child_without_input_ends_with_its_parent_only() -> None:
    output = await output_of(python(CHILD + "time.sleep(0.5)\nsend(messages, {'alive': True})"), seconds=30)
    assert json.loads(output.out) == {"alive": True}


def test_a_child_whose_parent_is_gone_ends() -> None:
    with started("send(messages, 1)\ntime.sleep(600)") as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        child.stdin.close()
        assert child.wait(30) == 1


def test_only_messages_are_on_standard_output() -> None:
    with started("print('noise', flush=True)\nos.system('echo noise')\nsend(messages, {'step': 1})") as child:
        assert child.stdout is not None
        assert child.stdout.read() == b'{"step": 1}\n'


@pytest.mark.parametrize("asks", [False, True])
def test_a_stop_ends_at_once_what_does_not_ask_for_it(asks: bool) -> None:
    loop = "send(messages, stop.requested())" if asks else "send(messages, False)"
    with started(f"while True:\n    {loop}\n    time.sleep(0.05)") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"false\n"
        os.kill(child.pid, signal.SIGTERM)
        if asks:
            assert any(line == b"true\n" for line in child.stdout)
            child.kill()
        else:
            assert child.wait(30) == TrainingStopped.exit_code


WAITING = """
import asyncio, os
from decloud_pl.children import stop_event
async def main():
    with stop_event() as stop:
        print("ready", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.to_thread(input)
        print("stopped", flush=True)
asyncio.run(main())
"""


def waiting(*before: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*before, *python(WAITING)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


# Without this, the signal would have no effect in tests that run under nohup.
BY_DEFAULT = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_the_end_of_the_terminal_is_a_stop_and_may_be_said_twice() -> None:
    with waiting(*python(BY_DEFAULT)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate("\n", timeout=30) == ("stopped\n", "")
        assert process.returncode == 0


def test_under_nohup_the_end_of_the_terminal_is_none() -> None:
    with waiting("nohup") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)  # a second signal would kill it immediately
        assert process.stdout.readline() == "stopping\n"
        assert process.communicate("\n", timeout=30)[0] == "stopped\n"
        assert process.returncode == 0


def test_a_training_of_the_user_stops_with_the_terminal() -> None:
    script = (
        "import time\nfrom decloud_pl.children import StopRequest\n"
        "with StopRequest(by_user=True) as stop:\n    print(stop.requested(), flush=True)\n"
        "    while not stop.requested():\n        time.sleep(0.02)\n"
        "    print(stop.requested(), flush=True)\n"
    )
    with subprocess.Popen([*python(BY_DEFAULT), *python(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "True\n"
        assert process.wait(30) == 0


def test_an_interrupt_during_an_import_does_not_replace_the_exit_code(tmp_path: Path) -> None:
    """The code of a class that is generated from a string, as a dataclass's, is interrupted."""
    (tmp_path / "program.py").write_text(
        "import os, signal, sys\nfrom decloud_pl.children import StopRequest\n"
        "try:\n    with StopRequest(by_user=True):\n        exec('os.kill(os.getpid(), signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "program"]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False).returncode == 130


# A process of root may read the memory of any process, unless it drops its capabilities.
UNPRIVILEGED = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has these files")
@pytest.mark.parametrize(
    ("program", "readable"),
    [
        ("sys.exit(main(['start', 'network.rpc_url=http://127.0.0.1:9', 'network.name=localnet']))", False),
        ("print('wallet', flush=True); time.sleep(600)", True),  # as for other processes
    ],
)
def test_what_a_daemon_holds_is_closed_to_other_processes(program: str, *, readable: bool, tmp_path: Path) -> None:
    key = base58.b58encode(bytes(Keypair())).decode()
    environ = {**os.environ, "DECLOUD_PRIVATE_KEY": key, "DECLOUD_HOME": str(tmp_path)}
    unprivileged = (*python(UNPRIVILEGED), sys.executable, "-c")
    core_files = "import resource, sys, time\nresource.setrlimit(4, (resource.getrlimit(4)[1],) * 2)\n"
    command = (*unprivileged, f"{core_files}from decloud_pl.cli import main\n{program}")
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            assert any(b"wallet" in line.lower() for line in holder.stdout)
            look = f"print(open('/proc/{holder.pid}/environ').read())"
            seen = subprocess.run((*unprivileged, look), capture_output=True, text=True, check=False)
            limits = Path(f"/proc/{holder.pid}/limits").read_text()
        finally:
            holder.kill()
    if readable:
        assert key in seen.stdout
        return
    assert key not in seen.stdout
    assert "PermissionError" in seen.stderr
    (core,) = [line.split() for line in limits.splitlines() if "core file" in line]
    assert core[4] == "0"


def test_uncollected_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
