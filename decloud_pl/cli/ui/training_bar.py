"""Show the progress of a training in this process on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from decloud_pl.cli.ui.terminal import make_console

if TYPE_CHECKING:
    from decloud_pl.train.progress import Progress

_STAGES = {
    "prepare": "preparing",
    "probe": "searching the learning rate",
    "evaluate": "measuring the accuracy",
    "choose": "choosing the weights",
    "encode": "writing the update",
    "score": "scoring",
    "last fit": "training on all the data",
}


@contextmanager
def training_bar() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress in a temporary bar. Without a terminal, the function has no effect."""
    console = make_console()
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[steps]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(_STAGES["prepare"], total=None, steps="")

        def show(progress: Progress) -> None:
            if progress.note:
                console.print(progress.note, markup=False)
            if progress.stage == "fit" and progress.total_steps:
                loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
                bars.update(
                    bar,
                    description=f"training, epoch {progress.epoch + 1}",
                    completed=progress.step,
                    total=progress.total_steps,
                    steps=f"{progress.step}/{progress.total_steps} steps{loss}",
                )
            elif progress.stage in _STAGES:
                bars.update(bar, description=_STAGES[progress.stage])

        yield show
