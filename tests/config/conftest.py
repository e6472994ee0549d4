"""A temporary home folder with a config.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "trainer"


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {"DECLOUD_HOME": str(home)}


@pytest.fixture
def keep(home: Path) -> Write:
    """Write config.json from a dictionary or from text."""

    def write(content: dict[str, object] | str) -> Path:
        home.mkdir(exist_ok=True)
        path = home / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o600)
        return path

    return write
