"""The rich console that prints live views, progress bars and the daemon's events."""

from __future__ import annotations

import os

from rich.console import Console


class PatientConsole(Console):
    """A console that ignores a closed pipe. The console of rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.file.fileno())  # buffered output must not cause an error at exit
        os.close(null)


def make_console(*, stderr: bool = False, plain: bool = False) -> Console:
    """Return a console that shows colours and live views on a terminal only, and not if ``plain`` is True."""
    return PatientConsole(
        stderr=stderr,
        highlight=False,
        soft_wrap=True,
        force_terminal=False if plain else None,
        no_color=True if plain else None,
    )
