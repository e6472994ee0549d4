"""Download data sets in the background, while the daemon looks for rounds with other data sets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from decloud_pl.data.entry import DataFolder, Entry
from decloud_pl.data.fetch.download import download_entry
from decloud_pl.errors import DatasetError, DatasetNotReady, DecloudError
from decloud_pl.shortage import shortage

logger = logging.getLogger(__name__)

RETRY_AFTER = 300.0


class _Job:
    """Downloads a data set in a thread.

    If the process ends during the download, the next download of the data set continues from the bytes on disk.
    """

    def __init__(self, entry: Entry, data: DataFolder, on_end: Callable[[], object]) -> None:
        self.done_bytes = 0
        self.is_running = True
        self.failure: DecloudError | None = None
        self._on_end = on_end
        self._entry = entry
        self._data = data
        self._files: dict[str, int] = {}
        threading.Thread(target=self._run, name=f"download-{entry.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            download_entry(self._entry, self._data, progress=self._progress)
        except DatasetError as error:
            self.failure = error
        except Exception as error:  # in a thread of its own, nobody else would report it or wait before the next try
            logger.exception("Internal error in the download of the data set %s", self._entry.name)
            self.failure = shortage(error) or DatasetError(
                f"The data set {self._entry.name} cannot be downloaded: internal error ({type(error).__name__}).",
                fix="See logs/daemon.log and please report it.",
            )
        finally:
            self.is_running = False
            self._on_end()

    def _progress(self, file: str, done: int, _total: int) -> None:
        self._files[file] = done
        self.done_bytes = sum(self._files.values())


class BackgroundDownloads:
    """Downloads data sets in threads, at most one thread per data set. ``monotonic`` returns the time in seconds."""

    def __init__(self, data: DataFolder, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._monotonic = monotonic
        self._jobs: dict[str, _Job] = {}
        self._on_end: Callable[[], object] = lambda: None
        self._failed_at: dict[str, float] = {}

    def on_end(self, call: Callable[[], object]) -> None:
        """Set a function to call after each download, successful or not. It runs in the download's thread."""
        self._on_end = call

    def ensure(self, entry: Entry) -> None:
        """Check that a data set's files are present. If they are missing, download them in the background.

        After a failed download, the next download starts five minutes later at the earliest.

        Raises:
            DatasetNotReady: the files are not present yet. The message states the progress, or why a download failed.
        """
        if entry.find(None, self._data) is not None:
            return
        job = self._jobs.get(entry.name)
        if job is not None and job.is_running:
            raise DatasetNotReady(
                f"the data set {entry.name} is being downloaded ({job.done_bytes / 1e6:.0f} MB so far)"
            )
        if job is not None and job.failure is not None:
            failed_at = self._failed_at.setdefault(entry.name, self._monotonic())
            if self._monotonic() - failed_at < RETRY_AFTER:
                raise DatasetNotReady(job.failure.message, fix=job.failure.fix)
        self._failed_at.pop(entry.name, None)
        self._jobs[entry.name] = _Job(entry, self._data, self._on_end)
        raise DatasetNotReady(f"the data set {entry.name} is being downloaded")
