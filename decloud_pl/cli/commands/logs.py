"""``decloud-trainer logs``: the daemon's log."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from decloud_pl.cli.arguments import add_command
from decloud_pl.errors import UsageError

_EXAMPLES = """\
decloud-trainer logs
decloud-trainer logs -n 200
decloud-trainer logs -f
"""
_LOOK_SECONDS = 0.5


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "logs", "show the daemon's log", _EXAMPLES)
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N lines (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is added, until Ctrl-C")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import os

    from decloud_pl.observers.log import LOG_FILE
    from decloud_pl.settings.schema import default_home

    if arguments.lines < 0:
        raise UsageError(f"--lines is {arguments.lines}.", fix="Give 0 or more.")
    path = default_home(os.environ) / LOG_FILE
    if not path.exists() and not arguments.follow:
        print(f"There is no log yet: {path}", file=sys.stderr)
        return 0
    position = _tail(path, arguments.lines)
    while arguments.follow:
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
