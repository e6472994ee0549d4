"""Temporary folders, whatever becomes of their processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.durable import scratch_folder

_KILLED = "import os\nfrom decloud_pl.durable import scratch_folder\nwith scratch_folder('ours-'):\n    os._exit(1)"


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
