"""./scripts/test-pythons, with real environments and a pytest that only reports how it was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.checkout import PATIENCE, Checkout

HERE = f"3.{sys.version_info.minor}"
ELSEWHERE = "3.12" if HERE != "3.12" else "3.13"
CLASSIFIERS = """\
classifiers = [
    "Programming Language :: Python :: 3.11",
    "Programming Language :: Python :: 3.12",
    "Programming Language :: Python :: 3.13",
]
"""
PYTEST = """\
import os, sys
print("%d.%d" % sys.version_info[:2], *sys.argv[1:], flush=True)
sys.exit(int(os.environ.get("VERDICT", "0")))
"""


@pytest.fixture
def pythons(checkout: Checkout) -> Checkout:
    """A machine with the tests' Python, and a version manager whose other Python refuses to start."""
    with (checkout.folder / "pyproject.toml").open("a") as project:
        project.write(CLASSIFIERS)
    (checkout.folder / "stub").mkdir()
    (checkout.folder / "stub" / "pytest.py").write_text(PYTEST)
    path = checkout.folder / "python"
    for python in path.iterdir():
        python.unlink()
    (path / f"python{HERE}").symlink_to(Path(sys.executable).resolve())
    shim = path / f"python{ELSEWHERE}"
    shim.write_text("#!/bin/sh\necho pyenv: command not found >&2\nexit 127\n")
    shim.chmod(0o755)
    checkout.environ["PYTHONPATH"] = str(checkout.folder / "stub")
    checkout.environ["HOME"] = checkout.environ["PYENV_ROOT"] = str(checkout.folder / "home")
    return checkout


def run(checkout: Checkout, *arguments: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [checkout.folder / "scripts" / "test-pythons", *arguments],
        env=checkout.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_it_runs_the_fast_tests_and_lists_what_is_not_there(pythons: Checkout) -> None:
    code, said, _ = run(pythons, "tests/chain", "-k", "wallet")
    assert code == 0
    assert f"{HERE} -n 2 --dist worksteal --fast tests/chain -k wallet" in said
    assert f"Python {HERE}: passed" in said
    assert f"Python {ELSEWHERE}: not found" in said
    assert (pythons.folder / ".venvs" / HERE / "bin" / "python").exists()

    pythons.environ["VERDICT"] = "1"
    code, said, _ = run(pythons, HERE)
    assert (code, said[-1]) == (1, f"Python {HERE}: failed")

    # It also looks into the folders of pyenv.
    own = pythons.folder / "home" / "versions" / f"{HERE}.0" / "bin"
    own.mkdir(parents=True)
    (own / "python").symlink_to(Path(sys.executable).resolve())
    pythons.environ |= {"PATH": "/usr/bin:/bin", "VERDICT": "0"}
    code, said, _ = run(pythons, HERE)
    assert (code, said[-1]) == (0, f"Python {HERE}: passed")


def test_a_version_that_is_asked_for_and_not_there_is_a_failure(pythons: Checkout) -> None:
    code, said, told = run(pythons, ELSEWHERE)
    assert (code, said[-1]) == (1, f"Python {ELSEWHERE}: not found")
    assert "No supported Python was found" in told


def test_a_version_that_is_not_supported_is_refused(pythons: Checkout) -> None:
    code, _, told = run(pythons, "3.14")
    assert code == 2
    assert told.startswith("Python 3.14 is not supported. Choose from 3.11 3.12 3.13 (3.14 waits for Hydra")
