"""The files of the golden CIDs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "cids.json"


@pytest.fixture(scope="session")
def golden() -> dict[str, dict[str, str]]:
    """CIDs by file name and layout, computed by other implementations."""
    values: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cids"]
    return values


@pytest.fixture(scope="session")
def golden_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Create the golden file with a name, once per session. Tests must not change it."""
    folder = tmp_path_factory.mktemp("golden")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            size = int(name[1:])
            path.write_bytes(b"a" if size == 1 else random.Random(42).randbytes(size))
        return path

    return make
