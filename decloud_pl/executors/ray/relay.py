"""The process between the daemon and a Ray cluster: ``python -m decloud_pl.executors.ray.relay OPTIONS [FOLDER]``.

To the daemon it behaves like a worker: the same messages, exit codes and files, and SIGTERM makes it stop at a
checkpoint. To Ray it is the driver of one job: its end, however it comes, ends what runs for it on the cluster.
Without a folder it only says what the cluster has.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import decloud_pl
from decloud_pl.domain import Update
from decloud_pl.errors import DecloudError, TrainingError, TrainingStopped
from decloud_pl.executors.child import StopRequest, exit_with_parent, open_messages, send
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.ray.cluster import connected, describe, no_room
from decloud_pl.executors.ray.node import BASE_MODEL_FILE, Ended, Found, News, NodeWorker
from decloud_pl.executors.ray.options import RayOptions
from decloud_pl.executors.update_file import write_update
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.train.plan import CHECKPOINT_FILE, CONFIG_FILE, PROBE_FILE, ROUND_FILE, TrainingPlan

T = TypeVar("T")
_SAY_AFTER = 5.0
_UNAVAILABLE_PAUSE = 1.0
_MOST_OF_THE_TIME = 0.05
"""Share of a training's time that its checkpoints' way may take."""
_CLOSE_SECONDS = 5.0


class Relay:
    """One training on the cluster.

    Args:
        options: how.
        folder: the round's.
        say: takes a message for the daemon.
        stop_requested: whether the daemon asked to stop.
    """

    def __init__(
        self, options: RayOptions, folder: Path, say: Callable[[object], None], stop_requested: Callable[[], bool]
    ) -> None:
        self._options = options
        self._folder = folder
        self._say = say
        self._stop_requested = stop_requested
        self._host = "the machine"
        self._scratch = ""
        self._actor: Any = None
        self._checkpoint = ""
        self._checkpoint_at = time.monotonic() + options.checkpoint_seconds

    def run(self) -> None:
        """Trains; on return the update is in the folder.

        Raises:
            ExecutorUnavailable: the cluster has no room.
            TrainingStopped: as asked for.
            TrainingError: the training failed, or its machine was lost.
        """
        self._place()
        try:
            finish_by = TrainingPlan.read(self._folder).round.finish_by
            sending = time.monotonic()
            for name in (CONFIG_FILE, ROUND_FILE, BASE_MODEL_FILE, PROBE_FILE, CHECKPOINT_FILE):
                if (self._folder / name).is_file():
                    self._send(name)
            seconds_left = None
            if finish_by is not None:
                # The update takes its time back, at most what its base model took.
                seconds_left = finish_by - time.time() - (time.monotonic() - sending)
            self._call("start", seconds_left)
            ended = self._follow()
            if ended.code:
                raise self._failure(ended)
            update = self._bring_update()
            if update is not None and update.withheld:
                # With other settings the training may go on from there, to a better end.
                self._bring_checkpoint("", stoppable=False)
        finally:
            self._close()

    def _place(self) -> None:
        """Makes the actor and waits until it runs."""
        import ray

        options = self._options
        self._actor = (
            ray.remote(NodeWorker)
            .options(num_cpus=options.ray.cpus, num_gpus=options.ray.gpus, max_restarts=0, max_concurrency=4)
            .remote(options.to_json())
        )
        ref = self._actor.hello.remote()
        begun = time.monotonic()
        said = False
        while True:
            try:
                found = ray.get(ref, timeout=1.0)
                break
            except ray.exceptions.GetTimeoutError:
                waited = time.monotonic() - begun
                if self._stop_requested():
                    raise _stopped() from None
                if waited > options.wait_seconds:
                    raise no_room(options) from None
                if waited > _SAY_AFTER and not said:
                    said = True
                    self._say({"stage": "prepare", "note": no_room(options).message})
            except ray.exceptions.RayError as error:
                raise _not_begun(error) from error
        self._host, self._scratch = found["host"], found["folder"]
        if found["version"] != decloud_pl.__version__:
            raise TrainingError(
                f"On {self._host} decloud_pl is {found['version']}, here {decloud_pl.__version__}.",
                fix="Install the same version on every machine of the Ray cluster.",
            )
        self._say({"stage": "prepare", "note": f"Training on {self._host} of the Ray cluster."})

    def _call(self, method: str, *arguments: object, stoppable: bool = True) -> Any:
        """Calls the actor; what the network may have lost is asked for again, so each call may be repeated.

        Raises:
            TrainingStopped: the daemon asked for it meanwhile, where that may interrupt the call.
            TrainingError: the machine is lost, does not answer, or cannot do it.
        """
        import ray

        until = time.monotonic() + self._options.call_seconds
        while True:
            ref = getattr(self._actor, method).remote(*arguments)
            try:
                while True:
                    try:
                        return ray.get(ref, timeout=1.0)
                    except ray.exceptions.GetTimeoutError:
                        if stoppable and self._stop_requested():
                            raise _stopped() from None
                        if time.monotonic() > until:
                            raise self._lost() from None
            except ray.exceptions.ActorUnavailableError as error:
                if time.monotonic() > until:
                    raise self._lost() from error
                time.sleep(_UNAVAILABLE_PAUSE)
            except ray.exceptions.RayTaskError as error:
                raise TrainingError(f"{self._host} cannot take the training: {_reason(error)}.") from error
            except (ray.exceptions.RayError, ConnectionError) as error:
                raise self._lost() from error

    def _send(self, name: str) -> None:
        path = self._folder / name
        size, digest, offset, said_at = path.stat().st_size, hashlib.sha256(), 0, time.monotonic()
        with path.open("rb") as file:
            while part := file.read(self._options.chunk_bytes):
                self._call("write", name, offset, part)
                digest.update(part)
                offset += len(part)
                if self._stop_requested():
                    raise _stopped()
                if time.monotonic() - said_at > _SAY_AFTER:
                    said_at = time.monotonic()
                    note = f"Sending {name} to {self._host}: {offset / 1e6:.0f} of {size / 1e6:.0f} MB."
                    self._say({"stage": "prepare", "note": note})
        if not size:
            self._call("write", name, 0, b"")
        if self._call("find", name) != Found(size, digest.hexdigest()):
            raise TrainingError(f"{name} did not arrive on {self._host} as it was sent.", fix="It is sent again.")

    def _fetch(self, name: str, found: Found, scratch: Path, *, stoppable: bool) -> bool:
        """Brings a file back; whether it is what the machine has."""
        digest, offset = hashlib.sha256(), 0
        with scratch.open("wb") as file:
            while offset < found.size:
                part = self._call("read", name, offset, stoppable=stoppable)
                if not part:
                    break
                file.write(part)
                digest.update(part)
                offset += len(part)
                if stoppable and self._stop_requested():
                    raise _stopped()
            file.flush()
            os.fsync(file.fileno())
        return Found(offset, digest.hexdigest()) == found

    def _follow(self) -> Ended:
        seen = log_seen = 0
        asked = False
        while True:
            news: News = self._call("news", seen, log_seen, stoppable=False)
            for message in news.messages:
                self._say(message)
            seen += len(news.messages)
            log_seen += len(news.log)
            sys.stderr.buffer.write(news.log)
            sys.stderr.flush()
            if news.ended is not None:
                if news.ended.code and news.checkpoint != self._checkpoint:
                    self._bring_checkpoint(news.checkpoint, stoppable=False)
                return news.ended
            if self._stop_requested():
                if not asked:
                    self._call("stop", stoppable=False)
                asked = True
            elif news.checkpoint != self._checkpoint and time.monotonic() >= self._checkpoint_at:
                self._bring_checkpoint(news.checkpoint, stoppable=True)

    def _bring_checkpoint(self, tag: str, *, stoppable: bool) -> None:
        """Keeps the newest checkpoint here, so that the training can go on elsewhere."""
        begun = time.monotonic()
        scratch = self._folder / f"{CHECKPOINT_FILE}.part"
        try:
            # A training whose learning rate was searched for goes on with the one that was found.
            for name in (PROBE_FILE, CHECKPOINT_FILE):
                found = self._call("find", name, stoppable=stoppable)
                if found is not None and self._fetch(name, found, scratch, stoppable=stoppable):
                    scratch.replace(self._folder / name)
                    self._checkpoint = tag if name == CHECKPOINT_FILE else self._checkpoint
        except TrainingStopped:
            pass  # the newer one that the stop brings about is fetched instead
        except OSError as error:
            self._say({"stage": "fit", "note": f"A checkpoint could not be kept here: {error}."})
        finally:
            scratch.unlink(missing_ok=True)
        now = time.monotonic()
        self._checkpoint_at = now + max(self._options.checkpoint_seconds, (now - begun) / _MOST_OF_THE_TIME)

    def _bring_update(self) -> Update | None:
        """Brings the update back, checks it against its CID, and only then describes it; None where there is none.

        Raises:
            TrainingError: it is not what the worker described.
        """
        described = self._call("find", UPDATE_FILE)
        if described is None:
            return None  # whoever started the worker looks for the update and says that there is none
        damaged = TrainingError(f"The update of {self._host} did not arrive undamaged.", fix="It is trained again.")
        scratch = self._folder / "update.part"
        try:
            if not self._fetch(UPDATE_FILE, described, scratch, stoppable=False):
                raise damaged
            fields = json.loads(scratch.read_text(encoding="utf-8"))
            name = Path(fields["path"]).name
            update = Update(**{**fields, "path": self._folder / name})
            found = self._call("find", name, stoppable=False)
            if found is None or found.size != update.size or not self._fetch(name, found, scratch, stoppable=False):
                raise damaged
            if str(cid_of_file(scratch, update.profile)) != update.cid:
                raise damaged
            scratch.replace(update.path)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged from error
        finally:
            scratch.unlink(missing_ok=True)
        write_update(self._folder / UPDATE_FILE, update)
        return update

    def _failure(self, ended: Ended) -> DecloudError:
        text = ended.error.replace(self._scratch, str(self._folder))
        error = _CodedError(text if ended.code == TrainingStopped.exit_code else f"On {self._host}: {text}")
        error.code = ended.code
        return error

    def _lost(self) -> TrainingError:
        return TrainingError(
            f"{self._host} was lost to the Ray cluster in the middle of the training.",
            fix="It goes on elsewhere, from the last checkpoint that came back.",
        )

    def _close(self) -> None:
        import ray

        try:
            ray.get(self._actor.close.remote(), timeout=_CLOSE_SECONDS)
        except (ray.exceptions.RayError, ConnectionError):
            return  # it is gone, or ends with this job
        ray.kill(self._actor)


class _CodedError(DecloudError):
    """A failure of the worker, with the exit code that it had there."""

    code = 10


def main(arguments: list[str]) -> int:
    options = RayOptions.from_json(arguments[0])
    folder = Path(arguments[1]) if len(arguments) > 1 else None
    messages = open_messages()
    exit_with_parent()
    stop = StopRequest()

    def refuse(error: DecloudError) -> int:
        answer = {"error": str(error)} if folder else {"error": error.message, "fix": error.fix}
        send(messages, answer)
        return error.code if isinstance(error, _CodedError) else error.exit_code

    try:
        with connected(options, give_up=lambda error: os._exit(refuse(error))):
            if folder is None:
                send(messages, {"found": describe(options)})
                return 0
            stop.install()  # not earlier: Ray installs its own
            Relay(options, folder, lambda message: send(messages, message), stop.requested).run()
    except DecloudError as error:
        return refuse(error)
    except OSError as error:
        return refuse(TrainingError(f"The round's folder cannot be used: {error}."))
    return 0


def _stopped() -> TrainingStopped:
    return TrainingStopped("The training was asked to stop.")


def _not_begun(error: Exception) -> TrainingError:
    if "decloud_pl" in str(error) and "ModuleNotFoundError" in str(error):
        return TrainingError(
            "decloud_pl is not installed on a machine of the Ray cluster.",
            fix="Install the same version on every machine, for the Python that Ray runs with.",
        )
    return TrainingError(f"The training could not be begun on the Ray cluster: {_reason(error)}.")


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    lines = str(cause if isinstance(cause, Exception) else error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
