"""The daemon's live view, redrawn in place on a terminal.

`picture` renders a `LiveState`, and `LiveReporter` shows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from decloud_pl.cli.ui.live_state import EVENTS, ActiveRound, LiveState
from decloud_pl.cli.ui.terminal import make_console
from decloud_pl.domain import format_sol
from decloud_pl.journal.reader import midnight
from decloud_pl.journal.record import State
from decloud_pl.rounds.events import DaemonEvent

_FRAMES_PER_SECOND = 2
_LINES_BESIDE = 13
_MORE_WHERE_NARROW = 4
_NARROW = 60
_WIDE = 130
_SOON_SECONDS = 120


def picture(state: LiveState, now: float, *, width: int, height: int) -> Group:
    """Return the whole view in at most ``height`` lines: the newest rounds and events, but at least one of each."""
    parts: list[RenderableType] = [_header(state, width), Text()]
    left = height - _LINES_BESIDE - (_MORE_WHERE_NARROW if width < _NARROW else 0)
    shown, hidden = sorted(state.rounds), 0
    if len(shown) > max(1, left - 1):  # one line is for an event, and then one for the number of hidden rounds
        hidden = len(shown) - max(1, left - 2)
        shown = shown[hidden:]
    parts.append(_rounds(state, shown, now, width) if shown else Text("No round is active.", style="dim"))
    if hidden:
        parts.append(Text(f"and {hidden} more", style="dim"))
    room = max(1, min(EVENTS, left - len(shown) - (1 if hidden else 0)))
    parts += [Text(), Text("Last events", style="bold")]
    # A deque cannot be sliced. The newest events are last.
    for at, style, words in list(state.events)[-room:]:
        line = Text(f"{time.strftime('%H:%M:%S', time.localtime(at))}  {words}", style=style, no_wrap=True)
        line.truncate(width, overflow="ellipsis")
        parts.append(line)
    parts += [Text(), _footer(state, now)]
    return Group(*parts)


def _header(state: LiveState, width: int) -> RenderableType:
    facts = state.facts
    wallet = state.wallet if width >= _WIDE or not state.wallet else f"{state.wallet[:4]}…{state.wallet[-4:]}"
    balance = "" if state.balance is None else f" holds {format_sol(state.balance)}"
    entries = [
        ("Wallet", f"{wallet}{balance}" if wallet else "…"),
        ("Network", ", program ".join(filter(None, (facts.get("network"), facts.get("program"))))),
        ("Preset", facts.get("preset", "")),
        ("Filters", facts.get("filters", "")),
        ("Rounds", facts.get("rounds", "")),
        ("Automatic", facts.get("automatic", "")),
        ("Convention", facts.get("convention", "")),
        ("Device", f"{facts.get('device', '')}, precision {facts.get('precision', '')}"),
    ]
    table = Table.grid(padding=(0, 2))
    columns = 1 if width < _NARROW else 2
    for _ in range(columns):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
    for start in range(0, len(entries), columns):
        table.add_row(*(cell for entry in entries[start : start + columns] for cell in entry))
    title = Text("decloud-trainer", style="bold")
    return Group(title, table)


def _rounds(state: LiveState, shown: Sequence[int], now: float, width: int) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", expand=True)
    table.add_column("Round", justify="right", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Left", justify="right", no_wrap=True)
    table.add_column("Progress", ratio=1, no_wrap=True)
    if width >= _NARROW:
        table.add_column("Loss", justify="right", no_wrap=True, min_width=6)
        table.add_column("Accuracy", justify="right", no_wrap=True)
        table.add_column("Reward", justify="right", no_wrap=True)
    for round_id in shown:
        row = state.rounds[round_id]
        cells: list[RenderableType] = [str(round_id), row.record.state.value, _left(row, now), _progress(row)]
        if width >= _NARROW:
            cells += [
                "" if row.loss is None else f"{row.loss:.3f}",
                "" if row.accuracy is None else f"{row.accuracy * 100:.1f} %",
                format_sol(row.record.reward_amount),
            ]
        table.add_row(*cells)
    return table


def _left(row: ActiveRound, now: float) -> Text:
    if row.deadline is None:
        return Text("–", style="dim")
    seconds = int(row.deadline - now)
    return Text(countdown(seconds), style="red" if seconds < _SOON_SECONDS else "")


def countdown(seconds: int) -> str:
    """Format seconds as ``59:59`` or ``1:00:00``, or ``past`` if they are negative."""
    if seconds < 0:
        return "past"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _progress(row: ActiveRound) -> RenderableType:
    uploading = row.record.state is State.PUBLISHING and row.total_steps > 0
    if row.record.state is not State.TRAINING and not uploading:
        return Text(row.record.reason, style="dim", overflow="ellipsis", no_wrap=True)
    if not row.total_steps:
        return Text(f"{row.stage or 'starting'}…", style="dim")
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    count = f"{100 * row.step // row.total_steps} % uploaded" if uploading else f"{row.step}/{row.total_steps}"
    bar.add_row(ProgressBar(total=row.total_steps, completed=row.step), count)
    return bar


def _footer(state: LiveState, now: float) -> Text:
    if state.stopping:
        return Text(state.stopping, style="yellow")
    earned = state.earnings
    if earned is None:
        return Text("Ctrl-C stops", style="dim")
    today = earned.today if midnight(now) <= state.earnings_at else 0
    text = Text.assemble(
        "Earned ", (format_sol(today), "bold"), " today, ", (format_sol(earned.total), "bold"), " in all"
    )
    if earned.spent:
        text.append(f"; fees and deposits {format_sol(earned.spent)}", style="dim")
    return text


class LiveReporter:
    """A context manager that shows events on a terminal. The last view stays on the screen.

    Args:
        facts: see `LiveState`.
        console: the terminal.
        now: returns the current time in Unix seconds.
    """

    def __init__(
        self, facts: Mapping[str, str], *, console: Console | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.console = console or make_console()
        self._now = now
        self._state = LiveState(facts)
        # rich renders in its own thread.
        self._lock = threading.Lock()
        self._live = Live(
            get_renderable=self._paint,
            console=self.console,
            refresh_per_second=_FRAMES_PER_SECOND,
            vertical_overflow="ellipsis",
        )

    def __enter__(self) -> LiveReporter:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def report(self, event: DaemonEvent) -> None:
        with self._lock:
            self._state.apply(event, self._now())

    def stopping(self, words: str) -> None:
        """Show ``words`` in the last line. They describe what the daemon still does before it stops."""
        with self._lock:
            self._state.stopping = words

    def say(self, text: str) -> None:
        """Print a line above the view, or below it after the view has ended."""
        self.console.print(text, markup=False)

    def _paint(self) -> RenderableType:
        with self._lock:
            size = self.console.size
            return picture(self._state, self._now(), width=size.width, height=size.height)
