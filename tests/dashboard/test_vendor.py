"""The libraries of others are those that their note names, byte for byte, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

import decloud_pl.dashboard

PACKAGE = Path(decloud_pl.dashboard.__file__).parent
VENDOR = PACKAGE / "static" / "vendor"


def test_every_file_has_the_digest_of_the_note() -> None:
    noted = dict(
        re.findall(r"^\| `(\S+)` \| `([A-Za-z0-9+/]{64})` \|$", (VENDOR / "README.md").read_text(), re.MULTILINE)
    )
    files = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert set(noted) == files
    for name, digest in noted.items():
        data = (VENDOR / name).read_bytes()
        assert base64.b64encode(hashlib.sha384(data).digest()).decode() == digest, name


def test_every_library_comes_with_its_licence() -> None:
    assert "BSD" in (VENDOR / "htmx.LICENSE").read_text()
    assert "The MIT License" in (VENDOR / "uPlot.LICENSE").read_text()


@pytest.mark.parametrize("pattern", ["templates/*.html", "static/*.css", "static/*.js"])
def test_pages_load_nothing_from_elsewhere(pattern: str) -> None:
    for path in PACKAGE.glob(pattern):
        text = path.read_text()
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text), path
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|javascript:", text), path
