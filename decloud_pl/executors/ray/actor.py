"""The Ray actor that runs one worker process on a machine of the cluster.

The actor starts the worker with `ProcessExecutor`, as the daemon does on its own machine. The worker gets no secrets
from the machine's environment. The worker ends when the actor ends, and Ray ends the actor when the driver's job ends.
This module does not import Ray.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Any

from decloud_pl import __version__
from decloud_pl.config.schema import RayConfig
from decloud_pl.durable import scratch_folder
from decloud_pl.errors import TrainingError
from decloud_pl.executors.localize import localize_plan
from decloud_pl.executors.process import LOG_FILE, UPDATE_FILE, WORKER_MODULE, ProcessExecutor
from decloud_pl.executors.shares import VISIBLE_DEVICES
from decloud_pl.executors.update_file import read_update
from decloud_pl.loop_thread import run_until
from decloud_pl.train.plan import (
    BASE_MODEL_FILE,
    BUDGET_FILE,
    CHECKPOINT_FILE,
    LOWER_RATE_CHECKPOINT_FILE,
    PROBE_FILE,
)
from decloud_pl.train.progress import stopped

_CHOSEN = (PROBE_FILE, BUDGET_FILE)
_CHECKPOINTS = (CHECKPOINT_FILE, LOWER_RATE_CHECKPOINT_FILE)
RESUME_FILES = (*_CHOSEN, *_CHECKPOINTS)
"""The files that a training resumes from.

The values that it chose come first, because a checkpoint is usable only with the values that it was made with.
"""
_NEWS_SECONDS = 0.3
_SHARE_OF_TIME = 0.05
"""The share of a training's time that the transfer of its checkpoints may take."""


@dataclass(frozen=True)
class News:
    """What a training has produced since the previous `News`. ``last`` marks the end of a successful training."""

    messages: list[Mapping[str, object]]
    log: bytes  # appended to the worker's log since then
    files: Mapping[str, bytes]  # by name: a checkpoint or the update
    last: bool


class TrainingActor:
    """One training on one machine. If the machine is lost, Ray restarts the actor on another machine.

    ``worker`` holds the arguments of the `ProcessExecutor` on the actor's machine. No method may be a coroutine:
    otherwise Ray would run all methods in one event loop, where `train` would block `stop`.
    """

    def __init__(self, config: RayConfig, worker: Mapping[str, Any]) -> None:
        self._config = config
        self._worker = {**worker, "command": worker["command"] or (sys.executable, "-m", WORKER_MODULE)}
        self._scratch = ExitStack()
        self._folder = self._scratch.enter_context(scratch_folder("decloud-ray-"))
        self._messages: SimpleQueue[Mapping[str, object]] = SimpleQueue()
        self._log_seen = 0
        self._written: dict[str, int] = {}  # by checkpoint: the time in ns of the latest one that the driver has
        self._begun = False
        self._stop = Event()

    def ready(self) -> tuple[str, str, str]:
        """Return the actor's host name, decloud_pl version and folder. Ray answers once it has placed the actor."""
        return platform.node(), __version__, str(self._folder)

    def receive(self, names: list[str], *contents: bytes) -> None:
        """Write the training's files to the actor's folder. Ray may repeat the call.

        The driver passes ``contents`` as Ray references, and Ray replaces them with the bytes.
        """
        if self._begun:
            os._exit(1)  # the driver lost contact with a training that still runs here: let Ray restart the actor
        for name, content in zip(names, contents, strict=True):
            (self._folder / name).write_bytes(content)
        self._new_checkpoints()  # the driver already has these

    def train(self, seconds_left: float | None) -> Iterator[News]:
        """Run the worker and yield its news. If the worker fails, yield its last news and then raise its error.

        Args:
            seconds_left: the seconds until the update must be on disk; None if there is no deadline.
        """
        self._begun = True
        due = time.monotonic() + self._config.checkpoint_seconds
        with ThreadPoolExecutor(1) as pool:
            training = pool.submit(self._train, seconds_left)
            while not wait([training], timeout=_NEWS_SECONDS).done:
                files = self._new_checkpoints() if time.monotonic() >= due else {}
                if files:
                    due = time.monotonic() + self._config.checkpoint_seconds
                news = self._news(files)
                if news.messages or news.log or files:
                    begun = time.monotonic()
                    yield news  # resumes when the driver reads the item; by then it has read all earlier ones
                    due = max(due, time.monotonic() + (time.monotonic() - begun) / _SHARE_OF_TIME)
        error = training.exception()
        if error is None:
            files = self._update()
        else:
            files = self._new_checkpoints()
            with suppress(TrainingError):  # the first error is the one to report
                files |= self._update()  # the worker may have died in another training, after it had recorded an update
        news = self._news(files, last=error is None)
        self._scratch.close()  # before the yield: the driver may end this process once it has the last item
        yield news
        if error is not None:
            raise stopped() if isinstance(error, CancelledError) else error

    def stop(self) -> None:
        """Ask the worker to write a checkpoint and stop. Do not wait until the worker has stopped."""
        self._stop.set()

    def _train(self, seconds_left: float | None) -> None:
        base_model = self._folder / BASE_MODEL_FILE
        localize_plan(self._folder, base_model, threads=self._config.cpus, seconds_left=seconds_left)
        # With Ray's variables set, the worker or a library in it would behave as a Ray process.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        # Ray lists the GPUs that it assigned, but hides none from an actor that requested no GPU.
        own = {} if self._config.gpus else {VISIBLE_DEVICES: ""}
        executor = ProcessExecutor(environ, **self._worker)
        run_until(self._stop, executor.train(self._folder, self._messages.put, environment=own))

    def _news(self, files: Mapping[str, bytes], *, last: bool = False) -> News:
        messages = [self._messages.get_nowait() for _ in range(self._messages.qsize())]
        log = b""
        with suppress(FileNotFoundError), (self._folder / LOG_FILE).open("rb") as file:
            file.seek(self._log_seen)
            log = file.read()
        self._log_seen += len(log)
        return News(messages, log, files, last)

    def _update(self) -> dict[str, bytes]:
        update = read_update(self._folder / UPDATE_FILE)
        if update is None:
            return {}
        files = {path.name: path.read_bytes() for path in (self._folder / UPDATE_FILE, update.path)}
        # If the update is withheld, the user may resume this training with other settings and reach a better result.
        return files | (self._new_checkpoints() if update.withheld else {})

    def _new_checkpoints(self) -> dict[str, bytes]:
        """Return the checkpoints written since the last call, with the chosen values; empty if there is none."""
        paths = {name: self._folder / name for name in RESUME_FILES if (self._folder / name).exists()}
        written = {name: paths[name].stat().st_mtime_ns for name in _CHECKPOINTS if name in paths}
        new = [name for name, at in written.items() if at != self._written.get(name)]
        self._written = written
        return {name: path.read_bytes() for name, path in paths.items() if new and (name in _CHOSEN or name in new)}
