"""The record of a base model that the quarantine has opened. With it, the next process need not open the file again.

The record and the model package are in the same folder, which only this user can open.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from decloud_pl.durable import link_or_copy, write_atomically
from decloud_pl.errors import ModelError
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.package import read_spec

OPENED_FILE = "opened.json"


def record(model: BaseModel, sha256: str) -> None:
    """Record next to a model's package that the package holds the content of the file with this SHA-256.

    Raises:
        OSError: the record cannot be written.
    """
    content = {"sha256": sha256, "package": model.weights.name, "classes": model.classes}
    write_atomically(model.weights.with_name(OPENED_FILE), json.dumps(content).encode())


def hand_over(model: BaseModel, sha256: str, package: Path) -> None:
    """Make the model available in another folder: as the file ``package``, with its record.

    Raises:
        OSError: a file cannot be written.
    """
    link_or_copy(model.weights, package)
    record(replace(model, weights=package), sha256)


def recorded(folder: Path, sha256: str) -> BaseModel | None:
    """Return the recorded content of the file with this SHA-256; None if the folder has no record of that file."""
    try:
        content = json.loads((folder / OPENED_FILE).read_bytes())
        if content["sha256"] != sha256:
            return None
        package = folder / content["package"]
        return BaseModel(read_spec(package), package, int(content["classes"]))
    except (OSError, ValueError, TypeError, KeyError, ModelError):
        return None
