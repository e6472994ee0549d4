"""Files stay complete after a failure, and locks and temporary folders do not outlive their processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.durable import (
    appearing,
    copy_atomically,
    locked,
    make_private,
    scratch_folder,
    write_atomically,
)

_KILLED = "import os\nfrom decloud_pl.durable import scratch_folder\nwith scratch_folder('ours-'):\n    os._exit(1)"


def test_folders_are_private_whichever_is_made_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "shared").mkdir(mode=0o755)
    for folder in (tmp_path / "home/logs", tmp_path / "home/rounds/7", tmp_path / "shared/home", tmp_path / "home"):
        make_private(folder)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"home": 0o700, "logs": 0o700, "rounds": 0o700, "7": 0o700, "shared": 0o755}
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "file")


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


def test_the_folder_of_a_killed_process_is_removed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "ours-being-made").mkdir()
    subprocess.run([sys.executable, "-c", _KILLED], env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=False)
    (left,) = [path for path in tmp_path.iterdir() if (path / ".lock").exists()]
    with scratch_folder("theirs-"):
        assert left.exists()
    with scratch_folder("ours-") as held, scratch_folder("ours-") as other:
        assert not left.exists()
        assert held.exists()
        assert other.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ours-being-made"]


def test_a_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    theirs = tmp_path / "ours-made-by-others"
    theirs.mkdir()
    (theirs / ".lock").touch()
    try:
        os.chown(theirs, os.geteuid() + 1, -1)
    except PermissionError:
        pytest.skip("only the superuser can give a folder to another user")
    with scratch_folder("ours-"):
        pass
    assert theirs.exists()
