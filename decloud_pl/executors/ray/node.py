"""The part of a training that runs on a machine of the Ray cluster: an actor around one worker process.

The worker is the child process that it is on the daemon's machine, with the same executor: no secret of the machine's
environment gets into it, and it ends when the actor does. The actor ends with the relay's job; where the network hides
that end, the lease does. What it leaves behind when it is killed, the next one on that machine takes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import decloud_pl
from decloud_pl.errors import DatasetNotFound, DecloudError, TrainingStopped
from decloud_pl.executors.process import LOG_FILE, WORKER_MODULE, ProcessExecutor
from decloud_pl.executors.ray.options import RayOptions
from decloud_pl.executors.shares import VISIBLE_DEVICES
from decloud_pl.train.plan import CHECKPOINT_FILE, TrainingPlan

BASE_MODEL_FILE = "base-model"
_SCRATCH = "decloud-ray-"
_LOCK = ".lock"
_NEWS_SECONDS = 1.0
_LOG_BYTES = 64 << 10
_MOST_MESSAGES = 500
_SHARE_OF_GRACE = 0.6
"""Of the grace for the worker to write its checkpoint; the rest is for bringing it back."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How the worker ended: the exit code of the error and its words, 0 for success."""

    code: int
    error: str = ""


@dataclasses.dataclass(frozen=True)
class News:
    """What happened since the last call.

    Attributes:
        messages: of the worker.
        log: what the worker's log has more.
        checkpoint: names the checkpoint that is there; empty where there is none.
        ended: None while it runs.
    """

    messages: list[Mapping[str, object]]
    log: bytes
    checkpoint: str
    ended: Ended | None


@dataclasses.dataclass(frozen=True)
class Found:
    """A file to be read: bytes, and SHA-256 in hexadecimal."""

    size: int
    sha256: str


class NodeWorker:
    """Ray makes an actor of it. Calls may be repeated: Ray may lose an answer whose call took effect.

    Args:
        options: see `RayOptions`, as JSON.
    """

    def __init__(self, options: str) -> None:
        self._options = RayOptions.from_json(options)
        self._folder: Path | None = None
        self._lock: BinaryIO | None = None
        self._open: dict[str, tuple[BinaryIO, Found]] = {}
        self._changed = threading.Condition()
        self._messages: list[Mapping[str, object]] = []
        self._delivered = 0
        self._ended: Ended | None = None
        self._started = False
        self._stop = False
        self._training: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._heard_at = time.monotonic()
        self._closed = threading.Event()

    def hello(self) -> dict[str, str]:
        """Makes a scratch folder; says where this is."""
        self._heard()
        if self._folder is None:
            clear_abandoned(Path(tempfile.gettempdir()))
            self._folder = Path(tempfile.mkdtemp(prefix=_SCRATCH))
            self._lock = _locked(self._folder)
            threading.Thread(target=self._end_without_lease, name="lease", daemon=True).start()
        return {"host": platform.node(), "version": decloud_pl.__version__, "folder": str(self._folder)}

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Takes a part of a file."""
        self._heard()
        path = self._path(name)
        with path.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(data)

    def find(self, name: str) -> Found | None:
        """Opens a file to be read as it is now, whatever replaces it meanwhile."""
        self._heard()
        try:
            file = self._path(name).open("rb")
        except FileNotFoundError:
            return None
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
            self._heard()
        found = Found(file.tell(), digest.hexdigest())
        before = self._open.get(name)
        self._open[name] = (file, found)
        if before is not None:
            before[0].close()
        return found

    def read(self, name: str, offset: int) -> bytes:
        """A part of a file that was found."""
        self._heard()
        file = self._open[name][0]
        return os.pread(file.fileno(), self._options.chunk_bytes, offset)

    def start(self, seconds_left: float | None) -> None:
        """Starts the worker by the plan that was written.

        Args:
            seconds_left: until the update must be on disk. Clocks of two machines differ, so not a time.
        """
        self._heard()
        with self._changed:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._run, args=(seconds_left,), name="training", daemon=True).start()

    def news(self, seen: int, log_seen: int) -> News:
        """Waits a moment for something new.

        Args:
            seen: messages that have arrived.
            log_seen: bytes of the log that have.
        """
        self._heard()
        with self._changed:
            del self._messages[: seen - self._delivered]
            self._delivered = seen
            self._changed.wait_for(lambda: self._messages or self._ended is not None, _NEWS_SECONDS)
            messages = self._messages[:_MOST_MESSAGES]
            ended = self._ended if len(messages) == len(self._messages) else None
        log = self._log(log_seen)
        return News(messages, log, self._checkpoint(), ended if len(log) < _LOG_BYTES else None)

    def stop(self) -> None:
        """Asks the worker to stop; it writes a checkpoint first."""
        self._heard()
        with self._changed:
            self._stop = True
            training = self._training
        if training is not None:
            loop, task = training
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has just ended
                loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Takes the scratch folder away."""
        self._closed.set()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        for file in [file for file, _ in self._open.values()] + ([self._lock] if self._lock else []):
            file.close()

    def _heard(self) -> None:
        self._heard_at = time.monotonic()

    def _path(self, name: str) -> Path:
        if self._folder is None or Path(name).name != name:
            raise ValueError(name)
        return self._folder / name

    def _log(self, seen: int) -> bytes:
        try:
            with self._path(LOG_FILE).open("rb") as file:
                file.seek(seen)
                return file.read(_LOG_BYTES)
        except FileNotFoundError:
            return b""

    def _checkpoint(self) -> str:
        try:
            found = self._path(CHECKPOINT_FILE).stat()
        except FileNotFoundError:
            return ""
        return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"

    def _run(self, seconds_left: float | None) -> None:
        ended = Ended(1, "This program met a defect there; the log of Ray's worker says where.")
        try:
            asyncio.run(self._train(seconds_left))
            ended = Ended(0)
        except asyncio.CancelledError:
            stopped = TrainingStopped("The training was asked to stop.")
            ended = Ended(stopped.exit_code, str(stopped))
        except DecloudError as error:
            ended = Ended(error.exit_code, str(error))
        except OSError as error:
            ended = Ended(10, f"The training cannot be started: {error}.")
        finally:
            with self._changed:
                self._ended = ended
                self._changed.notify_all()

    async def _train(self, seconds_left: float | None) -> None:
        task = asyncio.current_task()
        if task is None or self._folder is None:
            raise asyncio.CancelledError
        with self._changed:
            self._training = asyncio.get_running_loop(), task
            if self._stop:
                task.cancel()
        options = self._options
        localize_plan(self._folder, cpus=options.ray.cpus, seconds_left=seconds_left)
        # Ray's own variables would make the worker, or a library in it, take itself for a part of Ray.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        grace = options.grace * _SHARE_OF_GRACE
        executor = ProcessExecutor(environ, grace=grace, hang_seconds=options.hang_seconds, command=_command(options))
        # Ray names the GPUs it gave, but hides none from who asked for none.
        await executor.train(self._folder, self._hear, environment={} if options.ray.gpus else {VISIBLE_DEVICES: ""})

    def _hear(self, message: Mapping[str, object]) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def _end_without_lease(self) -> None:
        while time.monotonic() - self._heard_at < self._options.lease_seconds:
            if self._closed.wait(min(1.0, self._options.lease_seconds / 4)):
                return
        self.close()
        os._exit(1)  # the worker ends with this process


def _command(options: RayOptions) -> tuple[str, ...]:
    return options.command or (sys.executable, "-m", WORKER_MODULE)


def localize_plan(folder: Path, *, cpus: int, seconds_left: float | None) -> None:
    """Puts the paths, the threads and the time of this machine into the daemon's plan.

    Raises:
        DatasetNotFound: the user's path is not on this machine.
        TrainingError: the plan cannot be read.
    """
    plan = TrainingPlan.read(folder)
    round_ = dataclasses.replace(
        plan.round,
        folder=folder,
        base_model=folder / BASE_MODEL_FILE,
        threads=cpus,
        finish_by=None if seconds_left is None else time.time() + seconds_left,
    )
    config = dataclasses.replace(plan.config, dataset=local_dataset(plan.config.dataset))
    TrainingPlan(round_, config).write(folder)


def local_dataset(node: dict[str, Any]) -> dict[str, Any]:
    """A data set's node as it holds for this machine.

    A published data set is looked for in the folder that the daemon names, then in this machine's own data folder,
    where it is downloaded when it is missing. A path that the user gave must be the same on every machine.

    Raises:
        DatasetNotFound: it is not here.
    """
    from decloud_pl.data.entry import DataFolder, Entry
    from decloud_pl.data.user_files import path_of

    root = node.get("root")
    if root is not None:
        if not path_of(str(root)).exists():
            raise DatasetNotFound(
                f"There is no {path_of(str(root))}, the path of the data set, on this machine.",
                fix="Put it at the same path on every machine of the Ray cluster.",
            )
        return node
    named = node.get("data")
    if not isinstance(named, dict) or not isinstance(node.get("entry"), dict):
        return node
    entry = Entry.from_node(str(node["entry"].get("name")), node)
    if entry.find(None, DataFolder.from_node(named)) is not None:
        return node
    own = DataFolder.from_node({**named, "folder": None})
    return {**node, "data": own.to_node()}


def clear_abandoned(folder: Path) -> None:
    """Removes scratch folders whose actor is gone: their lock is free."""
    for path in folder.glob(f"{_SCRATCH}*"):
        try:
            lock = _locked(path)
        except OSError:  # held, of another user, or being made
            continue
        shutil.rmtree(path, ignore_errors=True)
        lock.close()


def _locked(folder: Path) -> BinaryIO:
    file = (folder / _LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
