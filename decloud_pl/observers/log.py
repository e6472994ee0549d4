"""The daemon's log: what it tells its watcher, and warnings of the whole package, in files that rotate."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decloud_pl.domain import format_sol
from decloud_pl.errors import ConfigError
from decloud_pl.redact import redact
from decloud_pl.rounds.events import Changed, Connected, DaemonEvent, Noted, Reporter, Skipped, Trouble

LOG_FILE = "logs/daemon.log"
_BYTES = 5_000_000
_FILES = 5

logger = logging.getLogger(__name__)


class RedactingFormatter(logging.Formatter):
    """Writes log lines, tracebacks included, without the keys in addresses: other libraries log whole ones."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class LoggingReporter:
    """Writes each event to the log, then hands it on."""

    def __init__(self, inner: Reporter) -> None:
        self._inner = inner

    def report(self, event: DaemonEvent) -> None:
        if line := _line(event):
            logger.log(logging.WARNING if isinstance(event, Trouble) else logging.INFO, "%s", line)
        self._inner.report(event)


@contextmanager
def logged(reporter: Reporter, home: Path) -> Iterator[Reporter]:
    """A reporter that also writes to ``logs/daemon.log`` in ``home``: at most six files of 5 MB.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = home / LOG_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
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
