"""New folders named by the local time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from decloud_pl.errors import ConfigError


def new_folder(parent: Path, now: datetime) -> Path:
    """Makes a folder that no other process has, ``2026-01-31_18-00-00`` or the same with a number behind it.

    Raises:
        ConfigError: it cannot be made.
    """
    name = now.strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot be made: {error.strerror}.", fix="Check home and its rights."
            ) from error
        return folder
