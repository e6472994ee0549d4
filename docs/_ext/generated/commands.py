"""The commands and their exit codes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from sphinx.application import Sphinx

from decloud_pl.errors import DecloudError
from generated.markdown import code, summary, table


def commands() -> str:
    """Return a section of sphinx-click for each command."""
    from decloud_pl.cli import NAME, Program

    parts = []
    for name in sorted(Program().commands):
        module = f"decloud_pl.cli.commands.{name.replace('-', '_')}"
        importlib.import_module(module)
        parts.append(f".. click:: {module}:run\n   :prog: {NAME} {name}\n   :nested: full\n")
    return "\n".join(parts)


def literal_examples(app: Sphinx, context: object, lines: list[str]) -> None:  # noqa: ARG001 - an event's signature
    """Show the examples at the end of a command's help literally."""
    if lines and lines[0].startswith("Examples:"):
        lines[:] = [".. rubric:: Examples", "", "::", "", *(f"   {line.strip()}" for line in lines[1:]), ""]


def exit_codes() -> str:
    """Return a table of every exit code with its errors."""
    from decloud_pl.cli import exit_codes as cli

    rows: dict[int, tuple[str, str]] = {
        0: ("", "The command succeeded."),
        1: ("", "An internal error of the program."),
        cli.EXIT_UNWELL: ("", "`doctor` found a problem."),
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
