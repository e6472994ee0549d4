"""The commands and their exit codes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from sphinx.application import Sphinx

from decloud_pl.errors import DecloudError
from generated.markdown import code, summary, table


def commands() -> str:
    """A section of sphinx-click's for each command."""
    from decloud_pl.cli import NAME, Program

    parts = []
    for name in sorted(Program().commands):
        module = f"decloud_pl.cli.commands.{name.replace('-', '_')}"
        importlib.import_module(module)
        parts.append(f".. click:: {module}:run\n   :prog: {NAME} {name}\n   :nested: full\n")
    return "\n".join(parts)


def literal_examples(app: Sphinx, context: object, lines: list[str]) -> None:  # noqa: ARG001 - an event's signature
    """Shows the examples at the end of a command's help as they are written."""
    if lines and lines[0].startswith("Examples:"):
        lines[:] = [".. rubric:: Examples", "", "::", "", *(f"   {line.strip()}" for line in lines[1:]), ""]


def exit_codes() -> str:
    """Every exit code, with the errors that lead to it."""
    from decloud_pl.cli import exit_codes as cli

    rows: dict[int, tuple[str, str]] = {
        0: ("", "The command did what it was asked for."),
        1: ("", "An unexpected failure: a defect of the program."),
        cli.EXIT_UNWELL: ("", "`doctor` found something that needs you."),
        cli.EXIT_INTERRUPTED: ("", "Ctrl-C."),
    }
    for error in _with_subclasses(DecloudError):
        if error is not DecloudError and "exit_code" in vars(error):
            family = [one for one in _with_subclasses(error) if one.exit_code == error.exit_code]
            names = ", ".join(code(one.__name__) for one in family)
            rows.setdefault(error.exit_code, (names, summary(error)))
    lines = [(str(number), text, names) for number, (names, text) in sorted(rows.items())]
    return table(("code", "meaning", "errors"), lines)


def _with_subclasses(of: type[DecloudError]) -> Iterator[type[DecloudError]]:
    yield of
    for one in of.__subclasses__():
        yield from _with_subclasses(one)
