"""All dependencies are pinned, and all files list the same Python versions."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


def pins(root: Path) -> dict[str, list[tuple[Requirement, str]]]:
    """Return each package's pins and versions: one for all Pythons, or one per range. Every pin has hashes."""
    found: dict[str, list[tuple[Requirement, str]]] = {}
    text = (root / "requirements.txt").read_text().replace("\\\n", "")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            named, *digests = re.split(r"\s+--hash=", line)
            assert digests
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", digest) for digest in digests), named
            pin = Requirement(named)
            (exact,) = pin.specifier
            assert exact.operator == "=="
            found.setdefault(canonicalize_name(pin.name), []).append((pin, exact.version))
    return found


def test_the_pins_are_of_the_public_index_and_say_how_they_were_made(root: Path) -> None:
    text = (root / "requirements.txt").read_text()
    assert "://" not in text
    command = next(line for line in text.splitlines() if "uv pip compile" in line).lstrip("# ")
    assert command in (root / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_once_within_its_range(python: str, root: Path) -> None:
    pinned = pins(root)
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": "dev"}
    for line in requires("decloud_pl") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate(environment):
            continue
        versions = [
            version
            for pin, version in pinned.get(canonicalize_name(wanted.name), [])
            if pin.marker is None or pin.marker.evaluate(environment)
        ]
        assert len(versions) == 1, f"{wanted.name} has the pins {versions}"
        assert wanted.specifier.contains(versions[0], prereleases=True), f"{line} against {versions[0]}"


def test_every_place_names_the_same_pythons(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    supported = SpecifierSet(project["project"]["requires-python"])
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", "\n".join(project["project"]["classifiers"]))
    asked = [f"3.{minor}" for minor in range(30) if supported.contains(f"3.{minor}.0")]
    assert named == asked
    assert project["tool"]["ruff"]["target-version"] == f"py{asked[0].replace('.', '')}"
    assert project["tool"]["mypy"]["python_version"] == asked[0]
    for script in ("setup", "make_venv.py"):
        assert re.findall(r"\((3, \d+)\)", (root / "scripts" / script).read_text()) == [
            asked[0].replace(".", ", "),
            f"3, {int(asked[-1][2:]) + 1}",
        ]
    for version in asked:
        assert f"python{version}" in (root / "scripts" / "setup").read_text()
