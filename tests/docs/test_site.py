"""The site builds without warnings and dead links, loads no remote files, and covers the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

import decloud_pl
from decloud_pl import errors
from decloud_pl.cli import Program
from decloud_pl.config.layers import variable_of
from decloud_pl.config.names import settings_by_name
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import DecloudError
from tests.harness.pages import DOCS, PAGES


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site. One of pytest's processes builds it for all."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    out, is_built = shared / "site", shared / "site-is-built"
    with FileLock(shared / "site.lock"):
        if not is_built.exists():
            options = ["-E", "-W", "-n", "-q", "--keep-going", "-b", "html", "-d", str(shared / "doctrees")]
            command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            is_built.touch()
    return out


def test_it_builds_and_has_a_page_for_each_source(site: Path) -> None:
    for page in PAGES:
        if page.is_relative_to(DOCS):
            assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file()


def test_every_page_is_complete_without_another_machine(site: Path) -> None:
    """A page loads no files from other hosts. Only links lead to them."""
    loaded = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    for path in site.rglob("*.html"):
        assert loaded.findall(path.read_text(encoding="utf-8")) == [], path


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DOCS / '_ext')!r})\nextensions = ['links']\nhtml_theme = 'basic'\n"
    )
    (tmp_path / "index.rst").write_text(
        "Top\n===\n\n.. raw:: html\n\n   <a href='gone.html'>x</a><a href='#no'>y</a>\n"
    )
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-q",
        "--keep-going",
        "-b",
        "html",
        str(tmp_path),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "index.html: gone.html" in done.stderr
    assert "index.html: #no" in done.stderr


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in decloud_pl.__all__:
        place = "decloud_pl.errors" if name in errors.__all__ else "decloud_pl"
        assert f'id="{place}.{name}"' in page, name


def test_the_reference_has_every_command_setting_and_code(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in Program().commands if f'id="decloud-trainer-{name}"' not in commands] == []
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    assert [name for name in settings_by_name() if f">{name}<" not in settings] == []
    assert [name for name in settings_by_name() if variable_of(name) not in settings] == []
    choices = (site / "reference" / "groups.html").read_text(encoding="utf-8")
    files = [path for path in config_dir().glob("*/*.yaml") if f"{path.parent.name}={path.stem}" not in choices]
    assert files == []
    codes = (site / "reference" / "exit-codes.html").read_text(encoding="utf-8")
    named = {error.exit_code for error in _errors(DecloudError)}
    assert [code for code in named if f"<p>{code}</p>" not in codes] == []


def _errors(of: type[DecloudError]) -> Iterator[type[DecloudError]]:
    yield of
    for one in of.__subclasses__():
        yield from _errors(one)
