"""The record of an opened base model. With it, the next process need not open the same file in quarantine again.

The record and the model package are in the same folder.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from decloud_pl import __version__
from decloud_pl.durable import link_or_copy, sha256_of, write_atomically
from decloud_pl.errors import ModelError
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.package import read_spec

OPENED_FILE = "opened.json"


def record(model: BaseModel, sha256: str) -> None:
    """Record next to a model's package that the package holds the content of the file with this SHA-256.

    Raises:
        OSError: the package cannot be read, or the record cannot be written.
    """
    content = {
        "version": __version__,
        "sha256": sha256,
        "package": model.weights.name,
        "package_sha256": sha256_of(model.weights),
        "classes": model.classes,
    }
    write_atomically(model.weights.with_name(OPENED_FILE), json.dumps(content).encode())


def hand_over(model: BaseModel, sha256: str, package: Path) -> None:
    """Make the model available in another folder: as the file ``package``, with its record.

    Raises:
        OSError: a file cannot be written.
    """
    link_or_copy(model.weights, package)
    record(replace(model, weights=package), sha256)


def recorded(folder: Path, sha256: str) -> BaseModel | None:
    """Return the recorded content of the file with this SHA-256.

    Return None if the folder has no record of that file, if another version of this program wrote the record, or if the
    package has changed since.
    """
    try:
        content = json.loads((folder / OPENED_FILE).read_bytes())
        package = folder / Path(content["package"]).name
        known = (content["version"], content["sha256"], content["package_sha256"])
        if known != (__version__, sha256, sha256_of(package)):
            return None
        return BaseModel(read_spec(package), package, int(content["classes"]))
    except (OSError, ValueError, TypeError, KeyError, ModelError):
        return None
