"""Show the daemon's log.

Examples:
  decloud-trainer logs
  decloud-trainer logs -n 200
  decloud-trainer logs -f
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click

from decloud_pl.cli.arguments import WholeNumber, command

_LOOK_SECONDS = 0.5


class _Place(NamedTuple):
    """Where reading stopped: a file, identified by its inode because it may be renamed, and an offset in bytes."""

    inode: int
    offset: int


@command(__doc__)
@click.option("-n", "--lines", type=WholeNumber(0), default=50, metavar="N", help="show the last N lines (default 50)")
@click.option("-f", "--follow", is_flag=True, help="show new lines until Ctrl-C")
def run(lines: int, follow: bool) -> int:
    from decloud_pl.config.schema import default_home
    from decloud_pl.observers.log import LOG_FILE, ROTATED

    path = default_home() / LOG_FILE
    if not path.exists():
        print(f"{path} does not exist yet.{' Waiting for it…' if follow else ''}", file=sys.stderr)
        if not follow:
            return 0
    names = [path.name, *(f"{path.name}.{number}" for number in range(1, ROTATED + 1))]
    files = [path.with_name(name) for name in names]
    # The previous file is read as well, because the log may have been rotated a moment ago.
    last, place = _lines_since(None, files[:2])
    _print(last[max(0, len(last) - lines) :])
    while follow:
        time.sleep(_LOOK_SECONDS)
        new, place = _lines_since(place, files)
        _print(new)
    return 0


def _lines_since(place: _Place | None, files: list[Path]) -> tuple[list[bytes], _Place | None]:
    """Return the complete lines of the log after ``place``, and the place where the last of these lines ends.

    ``files`` are the log's current file and its rotated files, the newest first. If ``place`` is None, all of them are
    read. If the file of ``place`` was deleted, only the newest file is read.
    """
    found: dict[int, list[bytes]] = {}
    end = place
    for path in files:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            inode = os.fstat(file.fileno()).st_ino
            is_there = place is not None and inode == place.inode
            begin = file.seek(place.offset if place is not None and is_there else 0)
            data = file.read()
        if inode not in found:  # a file that is rotated meanwhile appears twice
            whole = data[: data.rfind(b"\n") + 1]
            if not found:
                end = _Place(inode, begin + len(whole))
            found[inode] = [line for line in whole.splitlines(keepends=True) if line.strip()]
        if is_there:
            break
    else:
        if place is not None:
            found = dict(list(found.items())[:1])
    return [line for lines in reversed(found.values()) for line in lines], end


def _print(lines: list[bytes]) -> None:
    sys.stdout.write(b"".join(lines).decode(errors="replace"))
    sys.stdout.flush()
