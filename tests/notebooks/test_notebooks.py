"""Every notebook runs from clean, quickly, and is kept without outputs."""

from __future__ import annotations

import ast
import json
import resource
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import decloud_pl

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 90.0
"""Processor seconds of the kernel and all that it starts: they bound the time that it takes on an idle machine, and a
busy one does not change them. `scripts/bench notebooks` measures by the clock."""
PATIENCE = 300
# What a notebook must show, so that one whose cells were emptied does not pass.
PICTURES = {"01_first_round": 2, "02_sweep": 1, "03_your_own_data_and_model": 0}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def _processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_all_are_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(PICTURES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.source for cell in code if cell.outputs or cell.execution_count is not None] == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `jupyter execute` runs it, for a user whose settings are for another network and other data sets."""
    for name in ("ipython", "notebooks", "trainer"):
        (tmp_path / name).mkdir()
    settings = {"network": "devnet", "preset": "image-all", "datasets": ["mnist"], "min_reward": "5", "max_batches": 5}
    (tmp_path / "trainer" / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("DECLOUD_HOME", str(tmp_path / "trainer"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook, folder = read(path), tmp_path / "notebooks"
    begun = _processor_seconds()
    NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(folder)}}).execute()
    assert 0 < _processor_seconds() - begun < LONGEST
    assert list(folder.iterdir()) == []
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == PICTURES[path.stem]
    assert not [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_needs_public_names_alone(path: Path) -> None:
    source = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    imports = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom | ast.Import) and "decloud_pl" in ast.unparse(node)
    ]
    (only,) = imports
    assert isinstance(only, ast.ImportFrom)
    assert only.module == "decloud_pl"
    assert {alias.name for alias in only.names} <= set(decloud_pl.__all__)
    assert "__aenter__" not in source
    assert "__enter__" not in source
