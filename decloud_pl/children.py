"""Child processes, and signals to stop: what a parent does with a child, and what a child does at its start."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, TextIO

from decloud_pl.errors import TrainingStopped
from decloud_pl.own_memory import PASS_ENV
from decloud_pl.redact import looks_secret

_LONGEST_LINE = 1 << 20
_INTERRUPTED = 130
# Names in capitals; proxies are also written in small letters.
_NAMES = """
PATH HOME USER LOGNAME SHELL TERM NO_COLOR TZ LANG LANGUAGE TMPDIR TEMP TMP VIRTUAL_ENV DECLOUD_HOME DECLOUD_PASS_ENV
LD_LIBRARY_PATH LD_PRELOAD DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH MPLBACKEND MPLCONFIGDIR
MASTER_ADDR MASTER_PORT RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK GROUP_RANK GROUP_WORLD_SIZE
HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
"""
_PREFIXES = """
PYTHON LC_ XDG_ CONDA_ CUDA CUDNN_ CUBLAS_ NVIDIA_ NCCL_ GLOO_ UCX_ FI_ ROCR_ ROCM_ HIP_ HSA_ MIOPEN_ TORCH PYTORCH_
TRITON_ PL_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ NUMEXPR_ VECLIB_ MALLOC_ ROLE_ SLURM_ PMI_ PMIX_ OMPI_ RAY_ HF_ WANDB_
MLFLOW_
"""
_PASSED, _PASSED_PREFIXES = frozenset(_NAMES.split()), tuple(_PREFIXES.split())


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child process gets of an environment: what Python, torch and a cluster need, and what the user names.

    Everything else stays behind, because a setting of this program, a provider's key or a login may be anywhere in it.
    The user's own key does not pass even where it is named.
    """
    named = set(environ.get(PASS_ENV, "").replace(",", " ").split())
    return {name: value for name, value in environ.items() if _passes(name) or (name in named and _may_pass(name))}


def _passes(name: str) -> bool:
    capitals = name.upper()
    return capitals in _PASSED or (capitals.startswith(_PASSED_PREFIXES) and not looks_secret(name))


def _may_pass(name: str) -> bool:
    return not (name.startswith("DECLOUD_") and looks_secret(name))


@dataclass(frozen=True)
class Output:
    """What a child left: its exit code, and what it wrote to standard output and standard error."""

    code: int
    out: bytes
    log: bytes

    @property
    def last_line(self) -> str:
        """The last line that it wrote to standard error, for people."""
        lines = self.log.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"


class Child:
    """A child process. Its standard input stays open as long as this process runs: see `exit_with_parent`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise OSError("a child process has no pipes")
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(
        cls, command: Sequence[str], *, log: IO[bytes] | int, env: Mapping[str, str] | None = None
    ) -> Child:
        """Starts a child in a session of its own, because Ctrl-C goes to a terminal's whole foreground group.

        Args:
            command: the child.
            log: where its standard error goes: a file, or `asyncio.subprocess.PIPE`.
            env: its environment; by default what `child_environment` leaves of this process's.
        """
        env = child_environment(os.environ) if env is None else env
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=log, env=env, start_new_session=True, limit=_LONGEST_LINE
        )
        return cls(process)

    async def end(self, *, grace: float = 0.0) -> None:
        """Ends the child and whatever it started; a cancellation ends them at once.

        Args:
            grace: seconds that the child has after SIGTERM, for example for a checkpoint.
        """
        if grace and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(grace):
                    await self.process.wait()
        # Not earlier: a child takes the end of its input for the end of its parent, and may need what it started.
        self.stdin.close()
        kill_group(self.process.pid)
        await self.process.wait()


async def output_of(
    command: Sequence[str], *, seconds: float, given: bytes | None = None, env: Mapping[str, str] | None = None
) -> Output:
    """Runs a child to its end. The child, and what it started, has ended when this returns or raises.

    Args:
        command: the child.
        seconds: how long it may take.
        given: what it reads from standard input. Without it that stays open.
        env: as for `Child.start`.

    Raises:
        TimeoutError: it took longer.
    """
    child = await Child.start(command, log=asyncio.subprocess.PIPE, env=env)
    stderr = child.process.stderr or asyncio.StreamReader()
    try:
        async with asyncio.timeout(seconds):
            if given is not None:
                with contextlib.suppress(ConnectionError):  # it has ended already, and its log says why
                    child.stdin.write(given)
                    await child.stdin.drain()
                child.stdin.close()
            out, log = await asyncio.gather(child.stdout.read(), stderr.read())
            return Output(await child.process.wait(), out, log)
    finally:
        await child.end()


def kill_group(leader: int) -> None:
    """Kills a child that was started in a session of its own, and everything it started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def stop_event(on_stop: Callable[[], None] = lambda: None, *, with_parent: bool = False) -> Iterator[asyncio.Event]:
    """An event that is set by SIGINT, SIGTERM or the end of the terminal; a second signal ends this process at once.

    A second SIGHUP does not: kernel and shell send one each.

    Args:
        on_stop: called with the first signal.
        with_parent: the end of the parent sets the event, too.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            if number == signal.SIGHUP:
                return
            # Nothing is lost: every state on disk is written before its effect, and children end with this process.
            os._exit(_INTERRUPTED)
        stop.set()
        on_stop()

    def on_parent_end() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)

    numbers = _signals_to_stop()
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    if with_parent:
        _on_parent_end(on_parent_end)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class StopRequest:
    """A signal to stop, in a process that trains: it ends the process until the training asks `requested`.

    From then on the training has to stop itself, so that it can write a checkpoint. A context manager.

    Args:
        by_user: Ctrl-C and the end of the terminal count as SIGTERM does; all three, and a second one even when the
            training asks, raise `KeyboardInterrupt`, except for a second SIGHUP. By default SIGTERM alone counts, and
            the exit code is that of `TrainingStopped`.
    """

    def __init__(self, *, by_user: bool = False) -> None:
        self.seen = False
        self._by_user = by_user
        self._asked_for = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Takes the signals, as the context does, for good."""
        numbers = _signals_to_stop() if self._by_user else (signal.SIGTERM,)
        self._before = {number: signal.signal(number, self._on_signal) for number in numbers}

    def requested(self) -> bool:
        """Whether to stop; whoever asks is expected to."""
        self._asked_for = True
        return self.seen

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        again, self.seen = self.seen, True
        if again and number == signal.SIGHUP:
            return
        if not self._asked_for or (again and self._by_user):
            raise KeyboardInterrupt if self._by_user else SystemExit(TrainingStopped.exit_code)


def begin_imports() -> None:
    """Called first in a process that imports torch: saves up to two seconds of the processor.

    What imports make is there to stay. Python looks for garbage in it neither before `end_imports` nor when the process
    ends.
    """
    gc.disable()
    atexit.register(_collect_the_last)


def end_imports() -> None:
    """From here on Python looks for garbage, in what is made from here on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _collect_the_last() -> None:
    gc.collect()  # so that a file which nobody closed is written to its end
    gc.freeze()


def _signals_to_stop() -> tuple[signal.Signals, ...]:
    """What the user may send. `nohup` has SIGHUP ignored, and so it stays."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def open_messages() -> TextIO:
    """Keeps standard output for messages. What a library prints goes to standard error, and so to the log."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return messages


def send(messages: TextIO, message: object) -> None:
    """Writes one message as a line of JSON; ends this process when nobody is left to read it."""
    try:
        messages.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(1)


def exit_with_parent() -> None:
    """Ends this process when its parent is gone."""
    _on_parent_end(lambda: os._exit(1))


def _on_parent_end(call: Callable[[], None]) -> None:
    """Calls when the other end of standard input is closed."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=watch, name="parent", daemon=True).start()
