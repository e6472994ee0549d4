"""The child process that trains one round: ``python -m decloud_pl.daemon.worker FOLDER``.

Reads ``plan.json``, writes progress as JSON lines to standard output and, last and atomically,
``update.json``. It holds no key, and talks to no network but to fetch a data set that has gone missing since the
round was joined. A failure is one line ``{"error": "…"}``.

On SIGTERM it writes a checkpoint and exits with the code of `TrainingStopped`; started again, it goes on from
there. Lightning, torchrun and SLURM start further processes of the same command: those only train.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TextIO

from decloud_pl.daemon.executor import PLAN_FILE, UPDATE_FILE
from decloud_pl.daemon.update_file import write_update
from decloud_pl.errors import DecloudError, TrainingStopped


class StopRequest:
    """SIGTERM: ends this process at once until a training has begun to ask for it, then that has to stop itself."""

    def __init__(self) -> None:
        self._requested = False
        self._asked_for = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def requested(self) -> bool:
        self._asked_for = True
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._requested = True
        if not self._asked_for:
            sys.exit(TrainingStopped.exit_code)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    # Messages own the real stdout; whatever a library prints goes to the log with stderr.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _exit_with_parent()
    stop = StopRequest()
    stop.install()
    try:
        from decloud_pl.train.plan import Progress, TrainingPlan
        from decloud_pl.train.run import train_round

        def report(progress: Progress) -> None:
            _send(messages, progress.to_dict())

        plan = TrainingPlan.from_json((folder / PLAN_FILE).read_text(encoding="utf-8"))
        update = train_round(plan, report, stop_requested=stop.requested)
    except DecloudError as error:
        _send(messages, {"error": str(error)})
        return error.exit_code
    except MemoryError:
        _send(messages, {"error": "The training ran out of memory. Lower batch_size or close other programs."})
        return 10
    if update is not None:
        write_update(folder / UPDATE_FILE, update)
    return 0


def _send(messages: TextIO, message: object) -> None:
    try:
        messages.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(1)  # nobody is left to train for


def _exit_with_parent() -> None:
    """Ends this process when the daemon is gone: the other end of standard input closes then."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
