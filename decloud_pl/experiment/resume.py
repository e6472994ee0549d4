"""Going on with an experiment that was interrupted: the same settings find its folder again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decloud_pl.experiment.results import RESULT_FILE
from decloud_pl.train.plan import CHECKPOINT_FILE

KEY_FILE = "settings.sha256"


def settings_key(parameters: Mapping[str, Any], paths: Mapping[str, str]) -> str:
    """The same for two experiments that take the same course; the training checks its checkpoint once more.

    Args:
        parameters: see `Result`.
        paths: where the user's data sets are.
    """
    name = str(parameters["base_model"])
    model = Path(name).expanduser()
    weights = hashlib.sha256(model.read_bytes()).hexdigest() if name and model.is_file() else ""
    text = json.dumps([parameters, paths, weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def at_work(folder: Path, key: str) -> Iterator[None]:
    """Holds an experiment's folder for this process, so that no other one goes on with it meanwhile."""
    file = folder / KEY_FILE
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, key.encode())
        yield
    finally:
        os.close(descriptor)


def unfinished(parent: Path, key: str) -> Path | None:
    """The newest experiment of these settings that has a checkpoint, no result, and nobody at work."""
    for file in sorted(parent.glob(f"*/{KEY_FILE}"), reverse=True):
        folder = file.parent
        if (folder / RESULT_FILE).exists() or not (folder / CHECKPOINT_FILE).is_file():
            continue
        if file.read_text(encoding="utf-8") == key and not _is_held(file):
            return folder
    return None


def _is_held(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
