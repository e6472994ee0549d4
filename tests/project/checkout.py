"""A small project with our set-up scripts, which installs in seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
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
# A build backend in the project, so that pip needs no package. It records each build, and hangs on request.
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


def write_wheel(path: Path) -> str:
    """Write a package with only a name and a version; return the file's SHA-256."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


_ONLY_WHEELS = {"NO_INDEX": "1", "FIND_LINKS": "wheels"}


class Checkout:
    """A folder with our scripts and a project that installs in seconds."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        for name in ("setup", "make_venv.py", "test-pythons"):
            shutil.copy2(root / "scripts" / name, folder / "scripts")
        (folder / "pyproject.toml").write_text(PYPROJECT)
        digest = write_wheel(folder / "wheels" / "pinned-1-py3-none-any.whl")
        self.pins = folder / "requirements.txt"
        self.pins.write_text(f"pinned==1 --hash=sha256:{digest}\n")
        (folder / "backend.py").write_text(BACKEND)
        (folder / "python").mkdir()
        # The tests' interpreter under a name that the set-up looks for. No Python of the machine comes before it.
        (folder / "python" / "python3.11").symlink_to(Path(sys.executable).resolve())
        path = f"{folder / 'python'}:/usr/bin:/bin"
        only_wheels = {f"{tool}_{key}": value for tool in ("PIP", "UV") for key, value in _ONLY_WHEELS.items()}
        self.environ = {**os.environ, "PATH": path, **only_wheels}

    def use_uv(self) -> None:
        """Make uv available, as the extra dev installs it. It takes a tenth of pip's time."""
        found = shutil.which("uv", path=sysconfig.get_path("scripts"))
        if found is None:
            pytest.skip("uv is not installed")
        (self.folder / "python" / "uv").symlink_to(found)

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
        """Run the set-up; return its exit code and its messages to the user."""
        process = self.start()
        output, told = process.communicate(timeout=PATIENCE)
        assert output == "", "standard output belongs to the command that is run after the set-up"
        return process.returncode, told

    def first_line(self) -> str:
        """Start the set-up, and kill it after its first message to the user."""
        process = self.start()
        assert process.stderr is not None
        line = process.stderr.readline()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return line

    def take(self, environment: Path) -> None:
        """Copy a virtual environment to this folder, as if it had been made here."""
        own = self.folder / ".venv"
        shutil.copytree(environment, own, symlinks=True)
        about = own / "pyvenv.cfg"
        about.write_text(about.read_text().replace(str(environment), str(own)))

    @property
    def builds(self) -> int:
        log = self.folder / "builds"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def wait_for_builds(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.builds < number:
            assert time.monotonic() < deadline, "pip did not build the project"
            time.sleep(0.02)

    def installed(self) -> bool:
        python = self.folder / ".venv" / "bin" / "python"
        return subprocess.run([python, "-c", "import pinned, tiny"], check=False, capture_output=True).returncode == 0
