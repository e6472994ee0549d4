"""Check that the installed torch can open strangers' files safely."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from decloud_pl.errors import ConfigError

OLDEST = (2, 10)
"""Earlier versions have two security holes in ``torch.load(weights_only=True)``."""


def check_torch() -> None:
    """Check the installed version of torch without importing torch.

    Raises:
        ConfigError: torch is too old or not installed.
    """
    try:
        installed = version("torch")
    except PackageNotFoundError:
        raise ConfigError("torch is not installed.", fix="Reinstall decloud_pl.") from None
    number = re.match(r"(\d+)\.(\d+)", installed)
    if number is None or (int(number[1]), int(number[2])) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"torch {installed} does not open strangers' files safely; version {least} or later is required.",
            fix=f"Install it with: pip install 'torch>={least}'",
        )
