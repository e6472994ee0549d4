"""The files in a round's folder: the base model and the finished update."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from decloud_pl.domain import Update
from decloud_pl.durable import copy_atomically, make_private
from decloud_pl.errors import TrainingError
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.executors.update_file import read_update, write_update
from decloud_pl.store.fetch.fetcher import NEVER, Fetcher
from decloud_pl.train.plan import BASE_MODEL_FILE
from decloud_pl.train.plan import UPDATE_FILE as WEIGHTS_FILE


def finished_update(folder: Path) -> Update | None:
    """Return a round's finished update, or None if the folder has none.

    A damaged ``update.json`` is renamed, so that the round is trained again.
    """
    path = folder / UPDATE_FILE
    try:
        return read_update(path)
    except TrainingError:
        path.replace(path.with_name(path.name + ".damaged"))
        return None


def drop_update(folder: Path) -> None:
    """Remove the description of the folder's update, so that the round has no finished update."""
    (folder / UPDATE_FILE).unlink(missing_ok=True)


def in_place(folder: Path, update: Update) -> Update:
    """Return ``update`` with its path set to the weights file in ``folder``. Copy no file."""
    return replace(update, path=folder / WEIGHTS_FILE)


def copy_update(folder: Path, update: Update) -> None:
    """Copy an update that was trained elsewhere into the folder, as if the round's worker had written it.

    Raises:
        TrainingError: the update's file is missing or incomplete.
    """
    make_private(folder)
    drop_update(folder)  # first, because it does not describe the new file
    path = folder / WEIGHTS_FILE
    try:
        if not path.exists() or not path.samefile(update.path):
            copy_atomically(update.path, path)
        complete = path.stat().st_size == update.size
    except OSError as error:
        raise TrainingError(
            f"The update {update.path} cannot be read: {error.strerror}.", fix="Train again."
        ) from error
    if not complete:
        raise TrainingError(f"The update {update.path} is incomplete.", fix="Train again.")
    write_update(folder / UPDATE_FILE, in_place(folder, update))


def fetch_base_model(
    folder: Path, cid: str, reader: Fetcher, *, max_bytes: int, cancel: threading.Event = NEVER
) -> Path:
    """Return the base model's file in a round's folder. If it is missing, download it and verify it against its CID.

    Raises:
        StoreError: no gateway has the model, the model is too large, or its bytes do not match the CID.
        Cancelled: ``cancel`` was set.
    """
    make_private(folder)
    path = folder / BASE_MODEL_FILE
    # A rename creates the file after its last block was verified, so its presence is enough. The rename replaces
    # anything else at this path, such as a link or a pipe.
    if path.is_symlink() or not path.is_file():
        reader.fetch(cid, path, max_bytes=max_bytes, cancel=cancel)
    return path
