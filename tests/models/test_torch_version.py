"""A torch version that is too old for strangers' files is refused before it opens one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.errors import ConfigError
from decloud_pl.models.torch_version import check_torch


def install(folder: Path, version: str) -> None:
    """Write the metadata that an installer stores about a package."""
    about = folder / f"torch-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")


@pytest.mark.parametrize("version", ["2.10.0", "2.14.1+cu130", "3.0.0a1"])
def test_a_later_one_is_taken(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, version)
    monkeypatch.syspath_prepend(tmp_path)
    check_torch()


@pytest.mark.parametrize("version", ["2.9.1", "2.5.0+cpu", "1.13.1", "unknown"])
def test_an_older_one_is_refused_in_a_sentence(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, version)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_torch()
    assert str(caught.value) == (
        f"torch {version} does not open strangers' files safely; version 2.10 or later is required."
        " Install it with: pip install 'torch>=2.10'"
    )


def test_a_worker_refuses_an_older_one(tmp_path: Path) -> None:
    install(tmp_path / "packages", "2.9.1")
    path = os.pathsep.join(filter(None, (str(tmp_path / "packages"), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "decloud_pl.executors.worker", str(tmp_path)]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert worker.stdout is not None
        assert json.loads(worker.stdout.readline())["error"].startswith("torch 2.9.1 does not open strangers' files")
        assert worker.wait(timeout=30) == ConfigError.exit_code
    finally:
        worker.kill()
        worker.communicate()
