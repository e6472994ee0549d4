"""``update.json``: what a worker hands back. Its presence says that the training is finished and on disk."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError


def write_update(path: Path, update: Update) -> None:
    """Writes atomically and durably: after a crash there is all of it or nothing."""
    fields = dataclasses.asdict(update)
    fields["path"] = update.path.name  # beside this file, so that the folder may move
    write_atomically(path, json.dumps(fields).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a small file so that readers and crashes see the old or the new one, never a part."""
    scratch = path.with_name(path.name + ".part")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _put(scratch, path)


def copy_atomically(source: Path, path: Path) -> None:
    """Copies a file so that readers and crashes see the old or the new one, never a part."""
    scratch = path.with_name(path.name + ".part")
    with source.open("rb") as given, scratch.open("wb") as file:
        shutil.copyfileobj(given, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    _put(scratch, path)


def _put(scratch: Path, path: Path) -> None:
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_update(path: Path) -> Update | None:
    """The finished update that ``path`` describes, None when there is none.

    Raises:
        TrainingError: the description or the file it names is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        update = Update(**{**fields, "path": path.parent / Path(fields["path"]).name})
        if update.path.stat().st_size != update.size:
            raise TrainingError(f"The update {update.path} is damaged.", fix="It will be trained again.")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path} is damaged.", fix="The round will be trained again.") from error
    return update
