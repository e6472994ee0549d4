"""The reference of the on-chain program."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator

from generated.markdown import code, table


def revisions() -> str:
    """Return a table of the supported revisions."""
    from decloud_pl.chain.dialects import get_dialect, names

    rows = []
    for name in names():
        dialect = get_dialect(name)
        rows.append((name, dialect.reading.convention, str(len(dialect.datasets))))
    return table(("revision", "convention of its public validator", "data set names"), rows)


def program_errors() -> str:
    """Return a table of the program's error codes, each with the revision that adds it."""
    rows: dict[int, tuple[str, str, str]] = {}
    for revision, module in revision_modules("errors"):
        for one, meaning in module.MEANINGS.items():
            rows.setdefault(int(one), (code(one.name), f"{meaning[:1].upper()}{meaning[1:]}.", revision))
    return table(("code", "name", "meaning", "since"), ((str(one), *row) for one, row in sorted(rows.items())))


def revision_modules(name: str) -> Iterator[tuple[str, types.ModuleType]]:
    """Yield a module of each revision that has it, the oldest first."""
    from decloud_pl.chain.dialects import names

    for revision in names():
        folder = revision.replace(".", "_")
        yield revision, importlib.import_module(f"decloud_pl.chain.dialects.{folder}.{name}")
