"""Write and read ``update.json``, which describes a worker's update. It is written after the update's own file."""

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

_FIX = "The file is damaged. Train the round again."


def write_update(path: Path, update: Update) -> None:
    """Write the description of an update durably. After a crash, the file is complete or missing."""
    fields = dataclasses.asdict(update)
    fields["path"] = update.path.name  # relative to this file, so that the folder can be moved
    write_atomically(path, json.dumps(fields).encode())


def read_update(path: Path) -> Update | None:
    """Return the finished update that ``path`` describes, or None if ``path`` or the update's file is missing.

    Raises:
        TrainingError: the description or the update's file is damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        update = Update(**{**fields, "path": path.parent / Path(fields["path"]).name})
        if update.path.stat().st_size != update.size:
            raise TrainingError(
                f"The update {update.path} should have {update.size:,} bytes, but has another size.", fix=_FIX
            )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path} does not describe an update.", fix=_FIX) from error
    return update


def keep_update(folder: Path, files: Mapping[str, bytes]) -> None:
    """Save an update file from another machine, check its CID, and then save the description of the update.

    Args:
        folder: the round's folder.
        files: the contents of the update file and of its description, by file name.

    Raises:
        TrainingError: the description is damaged, or the update does not match its CID.
    """
    try:
        described = json.loads(files[UPDATE_FILE])
        path = folder / Path(described["path"]).name
        write_atomically(path, files[path.name])
        if str(cid_of_file(path, described["profile"])) != described["cid"]:
            path.unlink()
            raise ValueError(described["cid"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError("The update was damaged on its way from the Ray cluster.") from error
    write_atomically(folder / UPDATE_FILE, files[UPDATE_FILE])
