"""The Ray driver of one training: ``python -m decloud_pl.executors.ray.driver CONFIG WORKER [FOLDER]``.

CONFIG is the `RayConfig` as JSON. WORKER is JSON with the arguments of the `ProcessExecutor` on the actor's machine.
Without FOLDER, the driver only describes the cluster.

The daemon handles the driver like a worker: the driver sends the same messages, ends with the same exit codes and
writes the same files. On SIGTERM, it stops at a checkpoint. When the driver ends for any reason, Ray ends the driver's
actors on the cluster.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from decloud_pl import __version__
from decloud_pl.children import StopRequest, exit_with_parent, open_messages, send
from decloud_pl.config.schema import RayConfig
from decloud_pl.durable import write_atomically
from decloud_pl.errors import (
    DecloudError,
    ExecutorUnavailable,
    MachineShortage,
    TrainingError,
    TrainingStopped,
    first_line,
)
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.ray.actor import RESUME_FILES, News, TrainingActor
from decloud_pl.executors.ray.cluster import connected, describe, no_room
from decloud_pl.executors.update_file import keep_update
from decloud_pl.shortage import shortage
from decloud_pl.train.plan import BASE_MODEL_FILE, CONFIG_FILE, ROUND_FILE, TrainingPlan
from decloud_pl.train.progress import stopped

_SENT = (CONFIG_FILE, ROUND_FILE, BASE_MODEL_FILE, *RESUME_FILES)
_MOST_RESTARTS = 3
_LOOK_SECONDS = 1.0
_SAY_SECONDS = 10.0
_SAME_VERSION = "Install the same version on every machine, in the Python environment that Ray uses."


class Stream:
    """Reads the `News` that one call of `TrainingActor.train` yields.

    Ray Client cannot read streams. With Ray Client, this class therefore runs as an actor on the cluster.

    Ray must not repeat a failed call: it would skip as many items of the second run as the first run has delivered.
    """

    def __init__(self, actor: Any, seconds_left: float | None) -> None:
        # Buffer one item only, so that checkpoints do not pile up on a slow network.
        options = {"num_returns": "streaming", "max_task_retries": 0, "_generator_backpressure_num_objects": 1}
        self._items = actor.train.options(**options).remote(seconds_left)

    def next(self) -> News | None:
        """Wait briefly for the next item. Return None if no item arrives."""
        ready, _ = ray.wait([self._items], timeout=_LOOK_SECONDS)
        return ray.get(next(self._items)) if ready else None


@dataclass
class RayDriver:
    """One training on the cluster, in the round's folder. ``say`` sends a message to the daemon."""

    config: RayConfig
    worker: Mapping[str, Any]
    folder: Path
    say: Callable[[object], None]
    stop_requested: Callable[[], bool]

    def run(self) -> None:
        """Train on the cluster. On return, the update is in the folder.

        Raises:
            DecloudError: the worker's error, or the reason why Ray cannot run the training.
        """
        wanted = {"num_cpus": self.config.cpus, "num_gpus": self.config.gpus, "max_concurrency": 4}
        restarts = {"max_restarts": _MOST_RESTARTS, "max_task_retries": -1}
        actor: Any = ray.remote(TrainingActor).options(**wanted, **restarts).remote(self.config, self.worker)
        host = there = ""
        for left in reversed(range(_MOST_RESTARTS + 1)):
            try:
                waiting = no_room(self.config).message
                host, version, there = self._result(actor.ready.remote(), waiting, self.config.wait_seconds)
                if version != __version__:
                    raise TrainingError(f"decloud_pl is {version} on {host} but {__version__} here.", fix=_SAME_VERSION)
                self._note(f"Training on {host} of the Ray cluster.")
                seconds_left = self._send_files(actor, f"Sending the model to {host} of the Ray cluster.")
                return self._follow(actor, seconds_left, there)
            except (ray.exceptions.RayError, ConnectionError) as error:
                # With Ray Client, the loss of the actor can also appear as an error of the actor that reads the stream.
                lost_there = isinstance(error, (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError))
                if not there or (isinstance(error, ray.exceptions.RayTaskError) and not lost_there):
                    raise self._failure(error, host, there) from error
                if self.stop_requested():
                    raise stopped() from error
                lost = f"The Ray cluster lost {host} during the training."
                if not left:
                    raise ExecutorUnavailable(lost, fix=f"Check Ray's logs on {host}.") from error
                self._note(f"{lost} The training resumes from its last received checkpoint.")
        return None

    def _send_files(self, actor: Any, waiting: str) -> float | None:
        """Send the round's files to the actor's machine.

        Returns:
            The seconds that remain for the training on that machine; None if there is no deadline.
        """
        begun = time.monotonic()
        names = [name for name in _SENT if (self.folder / name).is_file()]
        contents = [ray.put((self.folder / name).read_bytes()) for name in names]
        self._result(actor.receive.remote(names, *contents), waiting)
        finish_by = TrainingPlan.read(self.folder).round.finish_by
        # Reserve time for the update's way back: at most as long as the base model took to get there.
        return None if finish_by is None else finish_by - time.time() - (time.monotonic() - begun)

    def _follow(self, actor: Any, seconds_left: float | None, there: str) -> None:
        """Run the training, forward the worker's messages to the daemon, and save the files that the actor sends back.

        ``there`` is the actor's folder. If the actor later reports another folder, Ray has restarted the actor.
        """
        client = self.config.address.startswith("ray://")
        stream: Any = (ray.remote(Stream).options(num_cpus=0).remote if client else Stream)(actor, seconds_left)
        heard_at = time.monotonic()
        while True:
            if self.stop_requested():
                actor.stop.remote()
            if (news := ray.get(stream.next.remote()) if client else stream.next()) is None:
                if time.monotonic() - heard_at > _SAY_SECONDS:
                    self._check_same(actor, there)
                    heard_at = time.monotonic()
                continue
            heard_at = time.monotonic()
            for message in news.messages:
                self.say(message)
            sys.stderr.buffer.write(news.log)
            sys.stderr.flush()
            try:
                for name in (name for name in RESUME_FILES if name in news.files):
                    write_atomically(self.folder / name, news.files[name])
            except OSError as error:
                self._note(f"Cannot save a checkpoint on this machine, so the training cannot resume from it: {error}.")
            if UPDATE_FILE in news.files:
                keep_update(self.folder, news.files)
            if news.last:
                return  # without an update file, the process that started this one reports the missing update

    def _check_same(self, actor: Any, there: str) -> None:
        """Raise `ConnectionError` if Ray has restarted the actor. ``there`` is the actor's folder before a restart.

        A restarted actor reports another folder. Call this method while the stream is silent, because the stream may
        never report that the actor's machine was lost.
        """
        if self._result(actor.ready.remote(), "Waiting for the Ray cluster to answer.")[2] != there:
            raise ConnectionError("Ray restarted the actor.")

    def _result(self, reference: Any, waiting: str, timeout: float = math.inf) -> Any:
        """Wait for a call of the actor and return its result. Meanwhile, repeat the note ``waiting`` to the daemon."""
        begun = said_at = time.monotonic()
        while not ray.wait([reference], timeout=_LOOK_SECONDS)[0]:
            now = time.monotonic()
            if self.stop_requested():
                raise stopped()
            if now - begun > timeout:
                raise no_room(self.config)
            if now - said_at > _SAY_SECONDS:
                said_at = now
                self._note(waiting)
        return ray.get(reference)

    def _note(self, text: str) -> None:
        self.say({"stage": "prepare", "note": text})

    def _failure(self, error: Exception, host: str, there: str) -> DecloudError:
        cause = getattr(error, "cause", error)
        if isinstance(cause, DecloudError):
            words = str(cause).replace(there, str(self.folder))
            return type(cause)(words if isinstance(cause, TrainingStopped) else f"On {host}: {words}")
        missing = shortage(cause)
        if missing is not None:
            return MachineShortage(f"On {host}: {missing}")
        if "ModuleNotFoundError" in str(error) and "decloud_pl" in str(error):
            return TrainingError("decloud_pl is not installed on a machine of the Ray cluster.", fix=_SAME_VERSION)
        return TrainingError(
            f"The Ray cluster cannot run the training: {first_line(cause)}.", fix="See Ray's logs on the cluster."
        )


def main(arguments: list[str]) -> int:
    config, worker = RayConfig(**json.loads(arguments[0])), json.loads(arguments[1])
    messages = open_messages()
    exit_with_parent()
    stop = StopRequest()

    def refuse(error: DecloudError) -> int:
        send(messages, {"error": str(error), "message": error.message, "fix": error.fix})
        return error.exit_code

    try:
        with connected(config, give_up=lambda error: os._exit(refuse(error))):
            if len(arguments) == 2:
                send(messages, {"found": describe(config)})
                return 0
            stop.install()  # not earlier: Ray installs its own signal handler while it connects
            RayDriver(config, worker, Path(arguments[2]), lambda said: send(messages, said), stop.requested).run()
    except DecloudError as error:
        return refuse(error)
    except OSError as error:
        return refuse(
            shortage(error) or TrainingError(f"Cannot use the round's folder: {error}.", fix="Check its permissions.")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
