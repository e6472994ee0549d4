"""``update.json``: what a worker hands back. Its presence says that the training is finished and on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from decloud_pl.domain import Update
from decloud_pl.durable import write_atomically
from decloud_pl.errors import TrainingError
from decloud_pl.executors.process import UPDATE_FILE
from decloud_pl.store.ipfs.unixfs import cid_of_file


def write_update(path: Path, update: Update) -> None:
    """Writes atomically and durably: after a crash there is all of it or nothing."""
    fields = dataclasses.asdict(update)
    fields["path"] = update.path.name  # beside this file, so that the folder may move
    write_atomically(path, json.dumps(fields).encode())


def read_update(path: Path) -> Update | None:
    """The finished update that ``path`` describes, None when there is none.

    Raises:
        TrainingError: the description or the file it names is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        update = Update(**{**fields, "path": path.parent / Path(fields["path"]).name})
        if update.path.stat().st_size != update.size:
            raise TrainingError(f"The update {update.path} is damaged.")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path} is damaged.") from error
    return update


def keep_update(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes an update that came from another machine: checks it against its CID, and only then describes it.

    Args:
        folder: the round's.
        files: by name, the description and the file it names.

    Raises:
        TrainingError: the file is not what the description says.
    """
    try:
        described = json.loads(files[UPDATE_FILE])
        path = folder / Path(described["path"]).name
        write_atomically(path, files[path.name])
        if str(cid_of_file(path, described["profile"])) != described["cid"]:
            path.unlink()
            raise ValueError(described["cid"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError("The update did not arrive undamaged.") from error
    write_atomically(folder / UPDATE_FILE, files[UPDATE_FILE])
