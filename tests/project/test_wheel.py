"""The wheel is the complete program: it is built from the source distribution and installed alone."""

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
    # Build the wheel from the source distribution: a file missing there is then also missing in the wheel.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def clean(home: Path, folder: Path, *package: str) -> Run:
    """Install into a clean environment; return a function that runs a command in a folder and returns its output."""
    venv.create(home, with_pip=False)
    # The dependencies come from the outer environment, because installing them again would take 6 GB. Python does not
    # search a path from a .pth file for more .pth files, so the outer editable installation stays invisible.
    (site_packages,) = home.glob("lib/python3.*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *package], check=True, capture_output=True, text=True)

    def execute(*arguments: str) -> str:
        command = [str(home / "bin" / arguments[0]), *arguments[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return execute


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The built wheel, installed away from the checkout."""
    return clean(tmp_path_factory.mktemp("clean"), tmp_path_factory.mktemp("elsewhere"), str(wheel))


def test_it_holds_every_file_of_the_package_conf_and_notebooks(wheel: Path, root: Path, tracked: list[Path]) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = [path.relative_to(root) for path in tracked]
    expected = {str(path) for path in inside if path.parts[0] == "decloud_pl"}
    expected |= {f"decloud_pl/{path}" for path in inside if path.parts[0] in ("conf", "notebooks")}
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


_EVERY_HELP = """
from click.testing import CliRunner
from decloud_pl.cli import Program
program = Program()
for name in program.list_commands(None):
    shown = CliRunner().invoke(program, [name, "--help"])
    print(name, shown.exit_code, shown.output.startswith("Usage:"))
"""


def test_its_commands_run(run: Run, root: Path) -> None:
    assert run("decloud-trainer", "--help").startswith("Usage: decloud-trainer ")
    assert run("decloud-trainer", "--version") == run("python", "-m", "decloud_pl.cli", "--version")
    every = {path.stem.replace("_", "-") for path in (root / "decloud_pl" / "cli" / "commands").glob("[!_]*.py")}
    assert run("python", "-c", _EVERY_HELP).splitlines() == [f"{name} 0 True" for name in sorted(every)]


def test_it_brings_the_notebooks(run: Run, root: Path) -> None:
    copies = [Path(line) for line in run("decloud-trainer", "notebooks", "--to", "mine").splitlines()]
    assert [copy.name for copy in copies] == sorted(path.name for path in (root / "notebooks").glob("*.ipynb"))
    with pytest.raises(AssertionError, match="already exists"):
        run("decloud-trainer", "notebooks", "--to", "mine")


@pytest.mark.slow
def test_an_editable_installation_is_the_checkout(root: Path, tmp_path: Path) -> None:
    run = clean(tmp_path / "clean", tmp_path, "--no-build-isolation", "-e", str(root))
    assert run("python", "-c", "import decloud_pl; print(decloud_pl.__file__)") == str(root / "decloud_pl/__init__.py")
    assert run("decloud-trainer", "--version")
    found = run("python", "-c", "from decloud_pl.config_dir import config_dir; print(config_dir())")
    assert Path(found) == root / "conf"
    assert len(run("decloud-trainer", "notebooks").splitlines()) == len(list((root / "notebooks").glob("*.ipynb")))
