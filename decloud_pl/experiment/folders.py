"""Choose an experiment's folder: that of an interrupted experiment with the same settings, or else a new folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from decloud_pl.durable import locked, make_private, sha256_of, write_atomically
from decloud_pl.errors import ConfigError
from decloud_pl.experiment.results import RESULT_FILE
from decloud_pl.train.plan import CHECKPOINT_FILE

KEY_FILE = "settings.sha256"
_LOCK_FILE = ".lock"


def settings_key(parameters: Mapping[str, Any], paths: Mapping[str, str]) -> str:
    """Return a hash that is equal for two experiments with the same settings, paths and base model.

    Equal keys do not prove that a checkpoint fits. The resumed training checks this itself.

    Args:
        parameters: see `Result`.
        paths: the paths that the user has set for data sets.
    """
    name = str(parameters["base_model"])
    model = Path(name).expanduser()
    weights = sha256_of(model) if name and model.is_file() else ""
    text = json.dumps([parameters, paths, weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def at_work(folder: Path, key: str) -> Iterator[None]:
    """Lock an experiment's folder during the block, so that no other process resumes the experiment.

    Also write ``key`` into the folder, where `unfinished` looks for it.
    """
    with locked(folder / _LOCK_FILE):
        write_atomically(folder / KEY_FILE, key.encode())
        yield


def unfinished(parent: Path, key: str) -> Path | None:
    """Return the newest folder with this key that has a checkpoint, no result and no running process.

    Return None if there is no such folder.
    """
    for file in sorted(parent.glob(f"*/{KEY_FILE}"), reverse=True):
        folder = file.parent
        if (folder / RESULT_FILE).exists() or not (folder / CHECKPOINT_FILE).is_file():
            continue
        if file.read_text(encoding="utf-8") != key:
            continue
        with suppress(BlockingIOError), locked(folder / _LOCK_FILE, wait=False):
            return folder
    return None


def new_folder(parent: Path, now: datetime) -> Path:
    """Create a folder named after the time, such as ``2026-01-31_18-00-00``. Append a number if the name is in use.

    Raises:
        ConfigError: the folder cannot be created.
    """
    name = now.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}_{number}")
        try:
            make_private(parent)
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise ConfigError(
                f"Cannot create {folder}: {error.strerror}.",
                fix="Make its parent folder writable, or set DECLOUD_HOME to another folder.",
            ) from error
        return folder
