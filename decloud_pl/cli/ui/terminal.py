"""The console that everything is printed to."""

from __future__ import annotations

import os

from rich.console import Console


class PatientConsole(Console):
    """Goes on in silence when nobody reads any more; rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.file.fileno())  # what is still buffered must not complain at exit
        os.close(null)


def make_console(*, stderr: bool = False, plain: bool = False) -> Console:
    """A console for people; colours and pictures only on a terminal, and neither with ``plain``."""
    return PatientConsole(
        stderr=stderr,
        highlight=False,
        soft_wrap=True,
        force_terminal=False if plain else None,
        no_color=True if plain else None,
    )
