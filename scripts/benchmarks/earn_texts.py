"""A data set of texts that every installation has: paragraphs from the documentation in Python packages.

The label of a paragraph is the package that it comes from. All these packages are requirements of this program, whose
versions are pinned, so every machine gets the same texts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("matplotlib", "networkx", "numpy", "scipy", "sklearn", "sympy", "torch")
_SHORTEST = 60  # characters
_PER_PACKAGE = 6_000
_PER_TEST = 8
"""One of this many paragraphs is in the test split."""


def path(folder: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Return the folder with the tables ``train.jsonl`` and ``test.jsonl``, and write them if they do not exist yet."""
    tables = folder / "texts"
    if not (tables / "train.jsonl").is_file():
        tables.mkdir(parents=True, exist_ok=True)
        rows = [(text, package) for package in packages for text in sorted(_paragraphs(package), key=_order)]
        rows = sorted(_first_of_each(rows), key=lambda row: _order(row[0]))
        _write(tables / "test.jsonl", rows[::_PER_TEST])
        _write(tables / "train.jsonl", [row for number, row in enumerate(rows) if number % _PER_TEST])
    return tables


def _first_of_each(rows: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the same number of rows of each package, without texts that another package has too."""
    owners: dict[str, set[str]] = {}
    for text, package in rows:
        owners.setdefault(text, set()).add(package)
    taken = dict.fromkeys((package for _, package in rows), 0)
    for text, package in rows:
        if len(owners[text]) == 1 and taken[package] < _PER_PACKAGE:
            taken[package] += 1
            yield text, package


def _paragraphs(package: str) -> set[str]:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise RuntimeError(f"The package {package} is not installed.")
    texts: set[str] = set()
    for file in Path(found.origin).parent.rglob("*.py"):
        if "tests" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
        except SyntaxError:  # a few files need a newer Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                blocks = (ast.get_docstring(node) or "").split("\n\n")
                texts.update(" ".join(block.split()) for block in blocks)
    return {text for text in texts if len(text) >= _SHORTEST}


def _order(text: str) -> str:
    """Return a key that shuffles the texts in the same way on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write(file: Path, rows: list[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8") as out:
        for text, package in rows:
            out.write(json.dumps({"text": text, "label": package}) + "\n")
