"""The child process that trains one round: ``python -m decloud_pl.daemon.worker FOLDER``.

Reads ``plan.json``, writes progress as JSON lines to standard output and, last and atomically,
``update.json``. It holds no key, and talks to no network but to fetch a data set that has gone missing since the
round was joined. A failure is one line ``{"error": "…"}``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from decloud_pl.daemon.executor import PLAN_FILE, UPDATE_FILE
from decloud_pl.daemon.update_file import write_update
from decloud_pl.errors import DecloudError


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    # Messages own the real stdout; whatever a library prints goes to the log with stderr.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    _exit_with_parent()
    try:
        from decloud_pl.train.plan import TrainingPlan
        from decloud_pl.train.run import train_round

        plan = TrainingPlan.from_json((folder / PLAN_FILE).read_text(encoding="utf-8"))
        update = train_round(plan, lambda progress: _send(messages, progress.to_dict()))
    except DecloudError as error:
        _send(messages, {"error": str(error)})
        return error.exit_code
    except MemoryError:
        _send(messages, {"error": "The training ran out of memory. Lower batch_size or close other programs."})
        return 10
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
