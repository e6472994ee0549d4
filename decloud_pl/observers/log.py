"""The daemon's log: its events and the log messages of the whole package, in rotating files."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from decloud_pl.domain import format_sol
from decloud_pl.durable import make_private, private
from decloud_pl.errors import ConfigError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.legible import legible
from decloud_pl.redact import redact
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Noted, Reporter, Skipped, Trouble

LOG_FILE = "logs/daemon.log"
ROTATED = 5
"""The number of older files to keep. ``daemon.log.1`` is the latest of them."""
_BYTES = 5_000_000

logger = logging.getLogger(__name__)


class RedactingFormatter(logging.Formatter):
    """Shortens the URLs in log lines and tracebacks, because other libraries log complete URLs with API keys.

    Each message stays on one line, so that untrusted text cannot imitate a line of the log.
    """

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(redact(legible(line)) for line in super().format(record).split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = legible(record.message)
        return super().formatMessage(record)


class LoggingReporter:
    """Writes events to the log, and passes every event to ``inner``.

    If a round changes but stays in the same state, the change is logged only if it has a new reason.
    """

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner
        self._written: dict[int, tuple[State, str]] = {}

    def report(self, event: DaemonEvent) -> None:
        if (line := _line(event)) and not (isinstance(event, Changed) and self._is_written(event.record)):
            logger.log(logging.WARNING if isinstance(event, Trouble) else logging.INFO, "%s", line)
        self._inner.report(event)

    def _is_written(self, record: RoundRecord) -> bool:
        """Return whether to skip the log line for a changed round. If not, remember the round's state and reason.

        A line with a new state is never skipped. A line with the same state as the round's previous line is skipped in
        three cases: the reason is empty, the reason is the same as in the previous line, or the daemon will retry the
        step. Before a retry, the daemon also reports the reason as a `Trouble` event, which has its own line.
        """
        state, reason = self._written.get(record.round_id, (None, ""))
        if state is record.state and (record.next_try_at or record.reason in ("", reason)):
            return True
        self._written[record.round_id] = record.state, record.reason
        if record.state.is_final:
            del self._written[record.round_id]
        return False


class _File(logging.handlers.RotatingFileHandler):
    """A log file that only this user can read.

    It reports a write failure once. `logging` alone would print a traceback for every line.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        super().__init__(path, maxBytes=_BYTES, backupCount=ROTATED, encoding="utf-8")
        self._reporter = reporter
        self._is_failing = False

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=private)

    def emit(self, record: logging.LogRecord) -> None:
        was_failing, self._is_failing = self._is_failing, False
        super().emit(record)
        if self._is_failing and not was_failing:
            self._reporter.report(
                Trouble(
                    None,
                    f"The log {self.baseFilename} cannot be written, so log lines are lost. Free disk space, or "
                    "correct the file's permissions.",
                )
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):  # on a full disk, buffered lines cannot be written
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's name
        self._is_failing = True


@contextmanager
def logged(reporter: Reporter, home: Path) -> Iterator[Reporter]:
    """Yield a reporter that also writes to ``logs/daemon.log`` in ``home``, at most six files of 5 MB.

    Raises:
        ConfigError: the log file cannot be written.
    """
    path = home / LOG_FILE
    try:
        make_private(path.parent)
        handler = _File(path, reporter)
    except OSError as error:
        raise ConfigError(
            f"The log {path} cannot be written: {error.strerror}.", fix="Set DECLOUD_HOME to another folder."
        ) from error
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    package = logging.getLogger("decloud_pl")
    level = package.level
    package.addHandler(handler)
    package.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield LoggingReporter(reporter)
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()


def _line(event: DaemonEvent) -> str:
    if isinstance(event, Connected):
        return f"wallet {event.wallet} holds {format_sol(event.balance)}"
    if isinstance(event, Skipped):
        return f"round {event.round_id} not joined: {event.reason}"
    if isinstance(event, Changed):
        record = event.record
        return f"round {record.round_id} {record.state.value}{': ' if record.reason else ''}{record.reason}"
    if isinstance(event, (Noted, Trouble)):
        return event.message if event.round_id is None else f"round {event.round_id}: {event.message}"
    return ""
