"""./scripts/setup, with the real venv, pip and uv, on a project with one dependency."""

from __future__ import annotations

import os
import shutil
import signal
import socket

import pytest

from tests.project.checkout import PATIENCE, Checkout, write_wheel


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_it_installs_once_again_after_a_change_and_says_why_it_failed(checkout: Checkout, tool: str) -> None:
    if tool == "uv":
        checkout.use_uv()
    code, told = checkout.setup()
    assert (code, checkout.builds, checkout.installed()) == (0, 1, True), told
    assert "Creating .venv" in told
    assert checkout.setup() == (0, "")
    assert checkout.builds == 1

    checkout.pins.write_text(f"# changed\n{checkout.pins.read_text()}")
    code, told = checkout.setup()
    assert (code, checkout.builds) == (0, 2)
    assert "up to date" in told
    assert "Creating" not in told

    # Another file with the same name and version must not be installed.
    write_wheel(checkout.folder / "wheels" / "pinned-2-py3-none-any.whl")
    checkout.pins.write_text(checkout.pins.read_text().replace("==1", "==2"))
    code, told = checkout.setup()
    assert (code, checkout.builds) == (1, 2)
    assert "hash" in told.lower()
    assert "Traceback" not in told


def test_an_environment_that_was_moved_or_has_lost_its_python_is_made_anew(prepared: Checkout) -> None:
    checkout = prepared
    checkout.use_uv()
    checkout.setup()
    moved = checkout.folder.with_name("moved")
    checkout.folder.rename(moved)
    checkout.folder = moved
    checkout.environ["PATH"] = f"{moved / 'python'}:/usr/bin:/bin"
    code, told = checkout.setup()
    assert (code, checkout.installed()) == (0, True), told
    assert "Creating .venv" in told
    (moved / ".venv" / "bin" / "python").unlink()
    assert "Creating .venv" in checkout.first_line()


def test_an_environment_of_the_users_own_is_not_made_anew(prepared: Checkout) -> None:
    own = prepared.folder / ".venv"
    (own / "mine").touch()
    code, told = prepared.setup()
    assert (code, prepared.installed(), (own / "mine").exists()) == (0, True, True), told
    assert "up to date" in told


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_missing_network_is_one_sentence(prepared: Checkout, tool: str) -> None:
    if tool == "uv":
        prepared.use_uv()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        nowhere = {"PIP_INDEX_URL": index, "UV_INDEX_URL": index, "PIP_RETRIES": "1", "UV_HTTP_RETRIES": "0"}
        unset = ("PIP_NO_INDEX", "UV_NO_INDEX", "PIP_FIND_LINKS", "UV_FIND_LINKS")
        prepared.environ = {name: value for name, value in prepared.environ.items() if name not in unset}
        prepared.environ |= {**nowhere, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
        code, told = prepared.setup()
    assert code == 1
    assert told.splitlines()[1:] == [
        "Cannot reach the package index. The first start needs the internet: connect and start again."
    ]


def test_a_full_disk_is_one_sentence(prepared: Checkout) -> None:
    uv = prepared.folder / "python" / "uv"
    uv.write_text("#!/bin/sh\necho 'error: Failed to install: No space left on device (os error 28)' >&2\nexit 2\n")
    uv.chmod(0o755)
    code, told = prepared.setup()
    assert code == 1
    assert told.splitlines()[1].startswith("The disk or the folder for temporary files is full. Free some space")
    assert len(told.splitlines()) == 2
    uv.unlink()
    prepared.use_uv()
    assert "the last installation was interrupted" in prepared.first_line()


def test_an_interrupted_installation_is_made_anew_by_one_of_two_starts(prepared: Checkout) -> None:
    prepared.use_uv()
    hang = prepared.folder / "hang"
    hang.touch()
    first = prepared.start()
    prepared.wait_for_builds(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()

    second = prepared.start()
    prepared.wait_for_builds(2)
    third = prepared.start()
    assert third.stderr is not None
    assert "Waiting" in third.stderr.readline()
    hang.unlink()
    told = second.communicate(timeout=PATIENCE)[1]
    third.communicate(timeout=PATIENCE)
    assert "the last installation was interrupted" in told
    assert (second.returncode, third.returncode, prepared.builds, prepared.installed()) == (0, 0, 2, True)


def test_a_machine_without_a_fitting_python_is_told_so(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / "python")
    tools = checkout.folder / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    checkout.environ["PATH"] = str(tools)
    code, told = checkout.setup()
    assert code == 1
    assert told.startswith("Python 3.11, 3.12 or 3.13 was not found")
    assert len(told.splitlines()) == 1


def test_a_python_without_venv_is_told_so(checkout: Checkout) -> None:
    python = checkout.folder / "python" / "python3.11"
    real = python.resolve()
    python.unlink()
    # Like Debian's python3 without python3-venv: it runs, but has no ensurepip.
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {real} "$@"\n')
    python.chmod(0o755)
    for name in ("python3.12", "python3.13", "python3", "python"):
        (checkout.folder / "python" / name).symlink_to("/bin/false")
    code, told = checkout.setup()
    assert code == 1
    assert "Install its venv module" in told
    assert len(told.splitlines()) == 1
