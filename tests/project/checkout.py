"""A project that installs in seconds, with our set-up scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

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
        for name in ("setup", "make_venv.py", "test-pythons"):
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
