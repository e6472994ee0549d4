"""Decide which names in a user's folders are data, and which class a name stands for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_hidden(name: str) -> bool:
    """Return whether an operating system or editor created it: ``._cat.png``, ``.ipynb_checkpoints``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def visible(paths: Iterable[Path], folder: Path) -> list[Path]:
    """Return the paths below a folder that are data, sorted."""
    return sorted(path for path in paths if not any(map(is_hidden, path.relative_to(folder).parts)))


def as_class(name: str) -> str:
    """Return the name of a class without surplus spaces, which users cannot see."""
    return " ".join(name.split())
