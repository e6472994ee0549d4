"""The child process that trains one round: ``python -m decloud_pl.executors.worker FOLDER``.

The worker reads ``config.yaml`` and ``round.json``, and writes progress to standard output as JSON lines. At the end it
writes ``update.json`` atomically. It reports a failure as one line ``{"error": "…"}``. The worker does not get the
wallet's key. It uses the internet only if the files of the data set were removed after the round was joined and must be
downloaded again.

On SIGTERM the worker writes a checkpoint and exits with the code of `TrainingStopped`. When started again, it resumes
from the checkpoint. Lightning, torchrun and SLURM start more processes with the same command. Those processes only take
part in the training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from decloud_pl.children import StopRequest, begin_imports, end_imports, exit_with_parent, open_messages, send
from decloud_pl.domain import Update
from decloud_pl.errors import DecloudError, TrainingStopped
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import write_update
from decloud_pl.models.torch_version import check_torch
from decloud_pl.shortage import shortage


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    messages = open_messages()
    exit_with_parent()
    stop = StopRequest()
    stop.install()
    begin_imports()
    try:
        check_torch()
        from decloud_pl.train.plan import TrainingPlan
        from decloud_pl.train.progress import Progress, Supervisor
        from decloud_pl.train.run import train_round

        def report(progress: Progress) -> None:
            if progress.stage != "prepare":
                end_imports()
            send(messages, progress.to_dict())

        def keep(update: Update) -> None:
            write_update(folder / UPDATE_FILE, update)

        update = train_round(TrainingPlan.read(folder), Supervisor(report, stop.requested), judged=keep)
        if update is not None:
            keep(update)
    except DecloudError as error:
        if isinstance(error, TrainingStopped):
            # The record of a first update would end the round's training. A restart continues with the second one.
            (folder / UPDATE_FILE).unlink(missing_ok=True)
        return _refuse(messages, error)
    except Exception as error:  # any library may report a shortage; other errors are raised again
        missing = shortage(error, places=(folder,))
        if missing is None:
            raise
        return _refuse(messages, missing)
    return 0


def _refuse(messages: TextIO, error: DecloudError) -> int:
    send(messages, {"error": str(error)})
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
