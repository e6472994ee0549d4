"""The revisions of the on-chain program."""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterator

from generated.markdown import code, table


def revisions() -> str:
    """Each revision that the program knows."""
    from decloud_pl.chain.dialects import get_dialect, names

    rows = []
    for name in names():
        dialect = get_dialect(name)
        rows.append((name, dialect.reading.convention, str(len(dialect.datasets))))
    return table(("revision", "how its public validator reads updates", "data set names"), rows)


def program_errors() -> str:
    """Each error code of the program, with the revision that adds it."""
    rows: dict[int, tuple[str, str, str]] = {}
    for revision, module in revision_modules("errors"):
        for one, meaning in module.MEANINGS.items():
            rows.setdefault(int(one), (code(one.name), f"{meaning[:1].upper()}{meaning[1:]}.", revision))
    return table(("code", "name", "meaning", "since"), ((str(one), *row) for one, row in sorted(rows.items())))


def revision_modules(name: str) -> Iterator[tuple[str, types.ModuleType]]:
    """A module of each revision that has it, the oldest first."""
    from decloud_pl.chain.dialects import names

    for revision in names():
        folder = revision.replace(".", "_")
        yield revision, importlib.import_module(f"decloud_pl.chain.dialects.{folder}.{name}")
