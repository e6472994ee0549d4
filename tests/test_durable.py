"""Files that are whole after a failure, and locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.durable import appearing, copy_atomically, locked, write_atomically


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with appearing(tmp_path / "file") as scratch:
        scratch.write_text("new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def fail_halfway() -> None:
        with appearing(tmp_path / "file") as scratch:
            scratch.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_mode_holds_from_the_first_byte(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", b"key", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    copy_atomically(tmp_path / "secret", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"key"


def test_a_lock_is_held_against_other_processes_until_its_own_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    hold = (
        "import sys, pathlib\nfrom decloud_pl.durable import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="Another process holds"), locked(path, wait=False):
            pass
        child.kill()
    with locked(path):
        assert path.exists()
