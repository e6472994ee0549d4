"""Show progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with a name, the bytes so far and the total bytes (0 if unknown)."""
_LINE_SECONDS = 10.0


@contextmanager
def transfer(title: str, *, monotonic: Callable[[], float] = time.monotonic) -> Iterator[Report]:
    """Yield a function that reports the progress of transfers under a common ``title``."""
    if sys.stderr.isatty():
        with _bars(title) as report_bytes:
            yield report_bytes
        return
    _say(f"{title}…")
    last = monotonic()

    def report(name: str, done: int, total: int) -> None:
        nonlocal last
        if monotonic() - last >= _LINE_SECONDS:
            last = monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            _say(f"{title}: {name}, {done / 1e6:.0f}{of} MB")

    yield report


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield a function that prints each step.

    On a terminal, each step replaces the previous step, and the elapsed time is shown beside it.
    """
    if not sys.stderr.isatty():
        yield _say
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=None)
        yield lambda line: bars.update(bar, description=line)


@contextmanager
def _bars(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        # The bar appears before the first bytes arrive, so that the user sees the wait for a slow server.
        tasks = {"": bars.add_task(title, total=None)}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = tasks.pop("") if "" in tasks else bars.add_task(title)
            bars.update(tasks[name], description=f"{title}: {name}", completed=done, total=total or None)

        yield report


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
