"""Standard output and standard error as they may be: closed, full, or of an encoding without our characters."""

from __future__ import annotations

import io
import json
import os
import sys

from decloud_pl.errors import PASSING, DecloudError, UsageError


def prepare_streams() -> None:
    """Makes printing safe: a closed stream swallows, an encoding that lacks a character gets a ``?`` for it.

    A daemon must neither end because of an ellipsis nor, with its output closed, write into a file that was opened
    under the freed descriptor.
    """
    # Before anything else takes descriptor 1 or 2.
    if sys.stdout is None:
        sys.stdout = _nowhere(1)
    if sys.stderr is None:
        sys.stderr = _nowhere(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_document(value: object) -> None:
    """Prints one JSON document on one line and sees to it that it has left."""
    print(json.dumps(value), flush=True)


def with_advice(error: DecloudError) -> str:
    """What a command says when it ends with an error: nothing is retried after that."""
    if error.fix or not isinstance(error, PASSING):
        return str(error)
    wait = getattr(error, "retry_after", None)
    return f"{error} Run the command again {'later' if wait is None else f'in {wait:.0f} s'}."


def cannot_be_written(error: OSError) -> UsageError:
    """The words for it; what is still buffered is dropped, since Python would try once more at exit."""
    sys.stdout = _nowhere(1)
    what = error.filename or "The output"
    return UsageError(f"{what} cannot be written: {error.strerror}.", fix="Free disk space or send it elsewhere.")


def _nowhere(descriptor: int) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_WRONLY)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    return open(descriptor, "w", encoding="utf-8", closefd=False)
