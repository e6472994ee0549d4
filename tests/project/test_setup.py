"""./scripts/setup, with the real venv and pip, on a project without dependencies."""

from __future__ import annotations

import os
import shutil
import signal

from tests.project.checkout import PATIENCE, Checkout


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
