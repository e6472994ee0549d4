"""./scripts/setup, with the real venv and pip, on a project without dependencies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
"""
# A build backend in the tree, so that pip needs no package at all. It notes each build, and hangs when told to.
BACKEND = """\
import pathlib, time, zipfile

HERE = pathlib.Path(__file__).parent

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with HERE.joinpath("builds").open("a") as log:
        log.write("build\\n")
    while HERE.joinpath("hang").exists():
        time.sleep(0.05)
    name = "tiny-1-py3-none-any.whl"
    info = "tiny-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\nProvides-Extra: dev\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PATIENCE = 60.0


class Checkout:
    """A folder with our scripts and a project that installs in seconds."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        for name in ("setup", "make_venv.py"):
            shutil.copy2(root / "scripts" / name, folder / "scripts")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        (folder / "constraints.txt").write_text("# none\n")
        (folder / "backend.py").write_text(BACKEND)
        (folder / "python").mkdir()
        # The interpreter of the tests under a name that is looked for, and nothing of the machine's before it.
        (folder / "python" / "python3.11").symlink_to(Path(sys.executable).resolve())
        self.environ = {**os.environ, "PATH": f"{folder / 'python'}:/usr/bin:/bin", "PIP_NO_INDEX": "1"}

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.folder / "scripts" / "setup"],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def setup(self) -> tuple[int, str]:
        """Runs it to its end; returns exit code and what it told the user."""
        process = self.start()
        output, told = process.communicate(timeout=PATIENCE)
        assert output == "", "standard output belongs to the command that is run after the set-up"
        return process.returncode, told

    @property
    def builds(self) -> int:
        log = self.folder / "builds"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def wait_for_builds(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.builds < number:
            assert time.monotonic() < deadline, "pip never came to build the project"
            time.sleep(0.02)

    def installed(self) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        return subprocess.run([python, "-c", "import tiny"], check=False, capture_output=True).returncode == 0


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout", root)


def test_it_installs_once_again_after_a_change_and_says_why_it_failed(checkout: Checkout) -> None:
    code, told = checkout.setup()
    assert (code, checkout.builds, checkout.installed()) == (0, 1, True), told
    assert "Creating .venv" in told
    assert checkout.setup() == (0, "")
    assert checkout.builds == 1

    (checkout.folder / "constraints.txt").write_text("# changed\n")
    code, told = checkout.setup()
    assert (code, checkout.builds) == (0, 2)
    assert "up to date" in told
    assert "Creating" not in told

    backend = checkout.folder / "backend.py"
    backend.write_text(backend.read_text().replace("Provides-Extra: dev", "Requires-Dist: no-such-package"))
    (checkout.folder / "constraints.txt").write_text("# changed again\n")
    code, told = checkout.setup()
    assert (code, checkout.builds) == (1, 3)
    why = "pip could not install the packages: No matching distribution found for no-such-package"
    assert told.splitlines()[-1].startswith(why)
    assert "Traceback" not in told


def test_an_interrupted_installation_is_made_anew_by_one_of_two_starts(checkout: Checkout) -> None:
    hang = checkout.folder / "hang"
    hang.touch()
    first = checkout.start()
    checkout.wait_for_builds(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()

    second = checkout.start()
    checkout.wait_for_builds(2)
    third = checkout.start()
    assert third.stderr is not None
    assert "waiting" in third.stderr.readline()
    hang.unlink()
    told = second.communicate(timeout=PATIENCE)[1]
    third.communicate(timeout=PATIENCE)
    assert "the last installation was interrupted" in told
    assert (second.returncode, third.returncode, checkout.builds, checkout.installed()) == (0, 0, 2, True)


def test_a_machine_without_a_fitting_python_is_told_so(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "python")
    tools = checkout.folder / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    checkout.environ["PATH"] = str(tools)
    code, told = checkout.setup()
    assert code == 1
    assert told.startswith("There is no Python 3.11, 3.12 or 3.13 here")
    assert len(told.splitlines()) == 1


def test_a_python_without_venv_is_told_so(checkout: Checkout) -> None:
    python = checkout.folder / "python" / "python3.11"
    real = python.resolve()
    python.unlink()
    # Debian's python3 without python3-venv: it runs, and has no ensurepip.
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {real} "$@"\n')
    python.chmod(0o755)
    for name in ("python3.12", "python3.13", "python3", "python"):
        (checkout.folder / "python" / name).symlink_to("/bin/false")
    code, told = checkout.setup()
    assert code == 1
    assert "install its venv module" in told
    assert len(told.splitlines()) == 1
