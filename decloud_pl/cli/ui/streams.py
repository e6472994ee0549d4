"""Make printing safe if standard output or standard error is closed, full or has a limited encoding."""

from __future__ import annotations

import io
import json
import os
import sys

from decloud_pl.errors import PASSING, DecloudError, UsageError


def prepare_streams() -> None:
    """Redirect closed streams to /dev/null, and print ``?`` for characters that the encoding lacks.

    This prevents two failures. A character such as ``…`` could stop the daemon. And a file that is opened later could
    get the descriptor of a closed stream, so that printed text would end up in that file.
    """
    # This comes first, before an opened file gets descriptor 1 or 2.
    if sys.stdout is None:
        sys.stdout = _nowhere(1)
    if sys.stderr is None:
        sys.stderr = _nowhere(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_document(value: object) -> None:
    """Print one JSON document on one line and flush stdout."""
    print(json.dumps(value), flush=True)


def with_advice(error: DecloudError) -> str:
    """Return an error's message, with the advice to run the command again if the failure is temporary."""
    if error.fix or not isinstance(error, PASSING):
        return str(error)
    wait = getattr(error, "retry_after", None)
    return f"{error} Run the command again {'later' if wait is None else f'in {wait:.0f} s'}."


def cannot_be_written(error: OSError) -> UsageError:
    """Return the error for output that cannot be written, and redirect standard output to /dev/null.

    Without the redirection, Python would try to write the output again at exit.
    """
    sys.stdout = _nowhere(1)
    what = error.filename or "The output"
    return UsageError(f"{what} cannot be written: {error.strerror}.", fix="Free disk space or use another disk.")


def _nowhere(descriptor: int) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_WRONLY)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    return open(descriptor, "w", encoding="utf-8", closefd=False)
