"""The wheel, built from the source distribution and installed alone, is the whole program."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from decloud_pl.localnet.program import REVISIONS, file_name

Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Both, one from the other: a file that the source distribution lacks is then missing in the wheel too.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command of a clean environment, in an empty folder, and returns what it prints."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, text=True)
    # The dependencies are the outer environment's: installing them again would take 6 GB. A path that a .pth file
    # adds is not searched for .pth files in turn, so the editable installation out there stays invisible.
    (site_packages,) = home.glob("lib/python3.*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder = tmp_path_factory.mktemp("elsewhere")

    def execute(*arguments: str) -> str:
        command = [str(home / "bin" / arguments[0]), *arguments[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return execute


def test_it_holds_every_file_of_the_package_and_of_conf(wheel: Path, root: Path, tracked: list[Path]) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = [path.relative_to(root) for path in tracked]
    expected = {str(path) for path in inside if path.parts[0] == "decloud_pl"}
    expected |= {f"decloud_pl/{path}" for path in inside if path.parts[0] == "conf"}
    assert {
        "decloud_pl/py.typed",
        *(f"decloud_pl/localnet/program/{file_name(name)}" for name in REVISIONS),
    } <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_it_finds_its_own_conf(run: Run, root: Path) -> None:
    found = Path(run("python", "-c", "from decloud_pl.config_dir import config_dir; print(config_dir())"))
    assert found.parts[-3:] == ("site-packages", "decloud_pl", "conf")
    shipped = {path.relative_to(found) for path in found.rglob("*.yaml")}
    assert shipped == {path.relative_to(root / "conf") for path in (root / "conf").rglob("*.yaml")}


def test_it_composes_its_configuration(run: Run) -> None:
    code = "from decloud_pl.config import compose; print(compose(['preset=quick-test']).network.name)"
    assert run("python", "-c", code) == "local"


def test_it_finds_the_program_of_the_local_network(run: Run) -> None:
    code = "from decloud_pl.localnet.program import shared_object; print(shared_object('v1.2')[:4])"
    assert run("python", "-c", code) == repr(b"\x7fELF")


def test_its_command_runs(run: Run) -> None:
    assert run("decloud-trainer", "--help").startswith("Usage: decloud-trainer ")
    assert run("decloud-trainer", "--version") == run("python", "-m", "decloud_pl.cli", "--version")
