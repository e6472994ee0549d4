"""Starts and ends child processes, exchanges messages with them, and handles signals that request a stop."""

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
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO

from decloud_pl.errors import TrainingStopped
from decloud_pl.own_memory import PASS_ENV
from decloud_pl.redact import looks_secret
from decloud_pl.secrets import SECRET_NAMES

_LONGEST_LINE = 1 << 20
_INTERRUPTED = 130
OOM_OF_STRANGERS = 900
"""The ``oom_score`` of children that open strangers' files. It is higher than that of a training, because such a child
must not cost a training that has paid a deposit."""
# Upper-case names. Lower-case variants, as for proxies, pass too.
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
_SECRETS = frozenset(f"DECLOUD_{name.upper()}" for name in SECRET_NAMES)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a child process inherits.

    These are the variables that Python, torch and a cluster need, and the variables that the user lists in
    `PASS_ENV`. All others are removed, because any of them may hold a provider's key or a login. A secret of this
    program (``DECLOUD_…``) is never inherited, even if it is listed.
    """
    named = set(environ.get(PASS_ENV, "").replace(",", " ").split())
    return {name: value for name, value in environ.items() if _passes(name) or (name in named and _may_pass(name))}


def _passes(name: str) -> bool:
    capitals = name.upper()
    return capitals in _PASSED or (capitals.startswith(_PASSED_PREFIXES) and not looks_secret(name))


def _may_pass(name: str) -> bool:
    # The registry of storage providers requires that the names of their secrets look secret.
    return not (name.startswith("DECLOUD_") and (looks_secret(name) or name in _SECRETS))


@dataclass(frozen=True)
class Output:
    """The result of a child process: its exit code, standard output (``out``) and standard error (``log``)."""

    code: int
    out: bytes
    log: bytes

    @property
    def last_line(self) -> str:
        """The last line of standard error, for messages."""
        lines = self.log.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no reason given"


class Child:
    """A child process. When this process ends, the child's standard input closes; see `exit_with_parent`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise OSError("the child process has no pipes for standard input and output")
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        log: IO[bytes] | int,
        env: Mapping[str, str] | None = None,
        oom_score: int | None = None,
    ) -> Child:
        """Start a child in its own session, so that Ctrl-C in the terminal does not reach it.

        Args:
            command: the program and its arguments.
            log: the destination of standard error: a file, or `asyncio.subprocess.PIPE`.
            env: the child's environment; by default, the variables of this process that `child_environment` selects.
            oom_score: the child's ``oom_score_adj`` and that of its own children. If memory runs out, the kernel kills
                the processes with higher values first. None for this process's own value.
        """
        env = child_environment(os.environ) if env is None else env
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=log, env=env, start_new_session=True, limit=_LONGEST_LINE
        )
        if oom_score is not None:
            _set_oom_score(process.pid, oom_score)
        return cls(process)

    async def end(self, *, grace: float = 0.0) -> None:
        """End the child and all processes in its session. If this call is cancelled, it kills them immediately.

        Args:
            grace: seconds between SIGTERM and SIGKILL, in which the child can write a checkpoint, for example. With 0,
                there is no SIGTERM.
        """
        try:
            if grace and self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self.process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self.process.wait()
        finally:
            # Close standard input only now. The child treats its end as the end of its parent, and would exit at once.
            self.stdin.close()
            kill_group(self.process.pid)
            await self.process.wait()


async def output_of(
    command: Sequence[str],
    *,
    seconds: float,
    given: bytes | None = None,
    env: Mapping[str, str] | None = None,
    oom_score: int | None = None,
) -> Output:
    """Run a child until it ends, and return its output. Even after an error, no process of its session is left running.

    Args:
        command: the program and its arguments.
        seconds: the time limit.
        given: the bytes to send to standard input before it is closed. None sends no bytes and leaves it open.
        env: as for `Child.start`.
        oom_score: as for `Child.start`.

    Raises:
        TimeoutError: the child exceeded the time limit.
    """
    child = await Child.start(command, log=asyncio.subprocess.PIPE, env=env, oom_score=oom_score)
    stderr = child.process.stderr or asyncio.StreamReader()
    try:
        async with asyncio.timeout(seconds):
            if given is not None:
                with contextlib.suppress(ConnectionError):  # the child has already ended; its log shows why
                    child.stdin.write(given)
                    await child.stdin.drain()
                child.stdin.close()
            out, log = await asyncio.gather(child.stdout.read(), stderr.read())
            return Output(await child.process.wait(), out, log)
    finally:
        await child.end()


def _set_oom_score(pid: int, score: int) -> None:
    with contextlib.suppress(OSError):  # this is not Linux, or the child has already ended
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score), encoding="ascii")


def kill_group(leader: int) -> None:
    """Kill a child that was started in its own session, and all processes in that session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def stop_event(on_stop: Callable[[], None] = lambda: None, *, with_parent: bool = False) -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT, SIGTERM or SIGHUP sets. A later SIGINT or SIGTERM ends this process immediately.

    A later SIGHUP is ignored, because the kernel and the shell each send one when a terminal closes.

    Args:
        on_stop: called at the first signal.
        with_parent: also set the event when the parent process ends.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            if number == signal.SIGHUP:
                return
            # No work is lost: every state is on disk before its effect. Trainings end with this process; other
            # children end when their work is done or their time is up.
            os._exit(_INTERRUPTED)
        stop.set()
        on_stop()

    def on_parent_end() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is already closed
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


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the process.

    When Python's own class passes through the `exec` of a string, as during an import, `python -m` ends with SIGINT
    instead of the exit code, even if the exception was handled. For a subclass it does not.
    """


class StopRequest:
    """A context manager for a process that trains. It handles the signals that request a stop.

    Until the first call of `requested`, a signal ends the process. From then on, the training must call `requested`
    regularly and stop by itself, so that it can first write a checkpoint.

    Args:
        by_user: if true, handle SIGINT, SIGHUP and SIGTERM, and end the process with `Interrupted`. A second
            SIGINT or SIGTERM ends the process even after the first call of `requested`; a second SIGHUP is ignored. If
            false, handle only SIGTERM, and end the process with the exit code of `TrainingStopped`. After the first
            call of `requested`, a second SIGTERM has no effect.
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
        """Install the signal handlers until the process ends. Only a ``with`` block restores the earlier handlers."""
        numbers = _signals_to_stop() if self._by_user else (signal.SIGTERM,)
        self._before = {number: signal.signal(number, self._on_signal) for number in numbers}

    def requested(self) -> bool:
        """Return whether a signal has requested a stop. If so, the caller must stop the training."""
        self._asked_for = True
        return self.seen

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        again, self.seen = self.seen, True
        if again and number == signal.SIGHUP:
            return
        if not self._asked_for or (again and self._by_user):
            raise Interrupted if self._by_user else SystemExit(TrainingStopped.exit_code)


def begin_imports() -> None:
    """Disable garbage collection before torch is imported, which saves up to two seconds of CPU time.

    Imported objects live until the process ends, so examining them is useless. After `end_imports`, the garbage
    collector never examines them, not even when the process ends.
    """
    gc.disable()
    atexit.register(_collect_the_last)


def end_imports() -> None:
    """Enable garbage collection again, but only for objects that are created from now on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection in the block, which imports torch in a process that may be the user's own.

    Unlike `begin_imports`, this has no effect after the block.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _collect_the_last() -> None:
    gc.collect()  # so that files that were not closed are flushed
    gc.freeze()


def _signals_to_stop() -> tuple[signal.Signals, ...]:
    """Return the signals with which a user stops a process. If `nohup` started the process, SIGHUP is excluded."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def open_messages() -> TextIO:
    """Return a stream for messages on standard output, and redirect other output to standard error (the log)."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return messages


def send(messages: TextIO, message: object) -> None:
    """Write one message as a line of JSON. End this process if the reader has closed the pipe."""
    try:
        messages.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(1)


def exit_with_parent() -> None:
    """End this process when its parent ends."""
    _on_parent_end(lambda: os._exit(1))


def _on_parent_end(call: Callable[[], None]) -> None:
    """Start a thread that runs the callback ``call`` when the parent process ends.

    The parent holds the other end of this process's standard input. So standard input ends with the parent.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=watch, name="parent", daemon=True).start()
