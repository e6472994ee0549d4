"""The oldest torch that may open strangers' files."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from decloud_pl.errors import ConfigError

OLDEST = (2, 10)
"""Versions before it have two holes in ``torch.load(weights_only=True)``."""


def check_torch() -> None:
    """Looks at the version that is installed, without an import of it.

    Raises:
        ConfigError: it is too old, or there is none.
    """
    try:
        installed = version("torch")
    except PackageNotFoundError:
        raise ConfigError("torch is not installed.", fix="Install decloud_pl again.") from None
    number = re.match(r"(\d+)\.(\d+)", installed)
    if number is None or (int(number[1]), int(number[2])) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"torch {installed} does not open strangers' files safely; {least} and later do.",
            fix=f"Run: pip install 'torch>={least}'",
        )
