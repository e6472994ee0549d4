"""Decide which names in a user's folders are data, and which class a name stands for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_hidden(name: str) -> bool:
    """Return whether a name marks a hidden file or folder, such as ``.ipynb_checkpoints``, or is ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def visible(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Sort paths inside ``folder``. Leave out each path that is hidden or lies in a hidden subfolder of ``folder``."""
    return sorted(path for path in paths if not any(map(is_hidden, path.relative_to(folder).parts)))


def as_class(name: str) -> str:
    """Strip a class name and reduce repeated spaces to one, because a user cannot see surplus spaces in a name."""
    return " ".join(name.split())
