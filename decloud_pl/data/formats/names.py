"""Decide which names in a user's folders are data, and which class a name stands for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_hidden(name: str) -> bool:
    """Return whether a name marks a hidden file or folder, such as ``.ipynb_checkpoints``, or is ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def visible(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Return ``paths`` sorted, without those that are hidden or inside a hidden folder below ``folder``."""
    return sorted(path for path in paths if not any(map(is_hidden, path.relative_to(folder).parts)))


def as_class(name: str) -> str:
    """Return a class name without the surplus spaces, which a user cannot see in a folder's name or a table."""
    return " ".join(name.split())
