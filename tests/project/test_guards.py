"""The rules of tests/conftest.py: tests reach no other machine and no user's home, and CI must not skip tests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """\
import pytest

def test_skips():
    pytest.skip("no compiler")

@pytest.mark.skipif(True, reason="no compiler")
def test_is_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_fails():
    assert False
"""
SKIPS_WHOLLY = 'import pytest\n\npytest.skip("no compiler", allow_module_level=True)\n'


@pytest.mark.parametrize(
    ("setting", "code", "outcomes"),
    [("", 0, ["3 skipped", "1 xfailed"]), ("1", 1, ["1 failed", "1 xfailed", "2 errors"])],
)
def test_a_skip_fails_where_nothing_may_be_missing(
    setting: str, code: int, outcomes: list[str], tmp_path: Path, root: Path
) -> None:
    conftest = (root / "tests" / "conftest.py").read_text()
    # Only skips matter here, and importing the fixtures would take a second in each process.
    (tmp_path / "conftest.py").write_text(conftest.replace('pytest_plugins = ["tests.world"]\n', ""))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(SKIPS)
    (tmp_path / "test_whole.py").write_text(SKIPS_WHOLLY)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", str(tmp_path)]
    environ = {**os.environ, "DECLOUD_NO_SKIPS": setting}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    closing = done.stdout.splitlines()[-1]
    assert [outcome for outcome in outcomes if outcome not in closing] == [], closing


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.invalid"])  # reserved addresses
def test_another_machine_is_out_of_reach(host: str) -> None:
    with pytest.raises(AssertionError, match=f"tried to reach {host}"):
        socket.create_connection((host, 80), timeout=1)


def test_no_error_promises_a_retry(root: Path) -> None:
    """Only the code that catches an error can tell whether and when to retry, so the error must not promise it."""
    promise = re.compile(r'fix=f?"[^"]*(?:is|are|be) (?:tried|asked|trained|sent|read) again')
    found = [str(path) for path in (root / "decloud_pl").rglob("*.py") if promise.search(path.read_text())]
    assert found == []


def test_loopback_is_within_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()


def test_home_is_the_tests_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    for home in (Path.home(), Path("~").expanduser(), Path(os.environ["DECLOUD_HOME"])):
        assert tmp_path_factory.getbasetemp() in home.parents
    assert list(Path.home().iterdir()) == []
