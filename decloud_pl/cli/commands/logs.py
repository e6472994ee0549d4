"""Show the daemon's log.

Examples:
  decloud-trainer logs
  decloud-trainer logs -n 200
  decloud-trainer logs -f
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

import click

from decloud_pl.cli.arguments import WholeNumber, command

_LOOK_SECONDS = 0.5


@command(__doc__)
@click.option("-n", "--lines", type=WholeNumber(0), default=50, metavar="N", help="the last N lines (default 50)")
@click.option("-f", "--follow", is_flag=True, help="go on with what is added, until Ctrl-C")
def run(lines: int, follow: bool) -> int:
    import os

    from decloud_pl.config.schema import default_home
    from decloud_pl.observers.log import LOG_FILE

    path = default_home(os.environ) / LOG_FILE
    if not path.exists() and not follow:
        print(f"There is no log yet: {path}", file=sys.stderr)
        return 0
    position = _tail(path, lines)
    while follow:
        position = _more(path, position)
        time.sleep(_LOOK_SECONDS)
    return 0


def _tail(path: Path, lines: int) -> tuple[int, int]:
    """Prints the last lines, those of the file before the last rotation included; returns where it stopped."""
    last: deque[str] = deque(maxlen=lines)
    position = (0, 0)
    for part in (path.with_name(f"{path.name}.1"), path):
        try:
            with _open(part) as file:
                last.extend(file)
                position = _position(part, file)
        except FileNotFoundError:
            continue
    sys.stdout.writelines(last)
    sys.stdout.flush()
    return position


def _more(path: Path, position: tuple[int, int]) -> tuple[int, int]:
    """Prints what came since; a file that was rotated meanwhile is read from its beginning."""
    try:
        with _open(path) as file:
            inode, offset = position
            now = _position(path, file)[0]
            file.seek(offset if now == inode else 0)
            sys.stdout.write(file.read())
            sys.stdout.flush()
            return now, file.tell()
    except FileNotFoundError:
        return position


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")


def _position(path: Path, file: TextIO) -> tuple[int, int]:
    import os

    inode = os.fstat(file.fileno()).st_ino
    return inode, path.stat().st_size if path.stat().st_ino == inode else 0
