"""The repository has the files it needs, and no traces of the machine or the time at which they were written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import MARKED

LARGEST = 1_000_000
LONGEST = 250
# The patterns are written so that they do not match their own lines.
FORBIDDEN = {
    "an issue's number": r"(?i)\bissues? [#]?\d|(?<![\w&/#\[(])#\d{1,4}\b(?![.\w])",
    "a path of a machine": r"(?<![\w.~}])[/](?:work|farm|root|home/\w+|Users/\w+)/",
    "a package registry": r"(?i)\b(?:pypi[.]org|pythonhosted[.]org|registry[.]npmjs|download[.]pytorch[.]org)",
    "a merge conflict": r"^(?:<{7} |>{7} )",
}


def text_of(path: Path) -> str | None:
    data = path.read_bytes()
    return None if b"\0" in data else data.decode()


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str, root: Path, tracked: list[Path]) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in tracked:
        for number, line in enumerate((text_of(path) or "").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("an issue's number", "fixes issue " + "12"),
        ("an issue's number", "see #" + "7"),
        ("a path of a machine", "cd /" + "home/ann/decloud"),
        ("a path of a machine", "'/" + "root/.cache'"),
        ("a package registry", "https://files.pythonhosted" + ".org/x"),
        ("a merge conflict", "<" * 7 + " HEAD"),
    ],
)
def test_what_is_forbidden_is_found(what: str, line: str) -> None:
    assert re.search(FORBIDDEN[what], line)


def test_text_files_end_in_one_newline_and_have_no_stray_blanks(root: Path, tracked: list[Path]) -> None:
    wrong = []
    for path in tracked:
        text = None if "golden" in path.parts else text_of(path)  # golden files are recorded byte for byte
        if text and (not text.endswith("\n") or text.endswith("\n\n") or "\r" in text or re.search(r"[ \t]\n", text)):
            wrong.append(str(path.relative_to(root)))
    assert wrong == []


def test_no_file_is_a_library_of_others(root: Path, tracked: list[Path]) -> None:
    """Other people's libraries come with their packages, and minified files cannot be read."""
    found = []
    for path in tracked:
        inside = path.relative_to(root)
        is_vendored = bool({"vendor", "third_party", "node_modules"} & set(inside.parts[:-1])) or ".min." in path.name
        is_script = path.suffix in (".js", ".mjs", ".css")
        if is_vendored or (is_script and max(map(len, path.read_text().splitlines()), default=0) > LONGEST):
            found.append(str(inside))
    assert found == []
    assert [
        str(path) for path in tracked if path.suffix in (".js", ".mjs") and root / "decloud_pl" in path.parents
    ] == []


def test_no_file_is_large(root: Path, tracked: list[Path]) -> None:
    assert [str(path.relative_to(root)) for path in tracked if path.stat().st_size > LARGEST] == []


SCRIPTS = (
    "scripts/bench",
    "scripts/docs",
    "scripts/pictures",
    "scripts/setup",
    "scripts/demo",
    "scripts/test",
    "scripts/test-pythons",
    "scripts/install-service",
    ".ci/run",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_executable_and_valid(script: str, root: Path) -> None:
    path = root / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", path], check=True)


def test_every_script_is_checked_here(root: Path, tracked: list[Path]) -> None:
    shells = {str(path.relative_to(root)) for path in tracked if (text_of(path) or "").startswith("#!")}
    assert shells == set(SCRIPTS)


def test_what_has_a_mark_is_there(root: Path) -> None:
    names = [name for marked in MARKED.values() for name in marked]
    assert [name for name in names if not (root / "tests" / name).exists()] == []
