"""Download data sets: resume interrupted files, verify them, and move only complete files to their places.

A file is written as ``.NAME.part`` next to its destination and moved there when its checksum is correct. ``SHA256SUMS``
lists the complete files, in the format of ``sha256sum -c``.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from decloud_pl.data.entry import DataFolder, Entry, RemoteFile
from decloud_pl.data.fetch.unpack import is_archive, unpack
from decloud_pl.durable import locked, make_private, replace_durably, write_atomically
from decloud_pl.errors import DatasetError, DatasetNotFound

if TYPE_CHECKING:
    import requests

    from decloud_pl.http_client import BoundedSession

logger = logging.getLogger(__name__)

SUMS_FILE = "SHA256SUMS"
MOST_BYTES = 8 << 30
_WAITS = (1.0, 3.0, 10.0, 30.0)  # seconds before each further attempt at one URL
_CHUNK = 1 << 16  # the most bytes that a broken connection loses
_TIMEOUT = (10.0, 60.0)
_LONGEST_TRANSFER = 6 * 3600.0
"""Longest duration of one request, in seconds. The next request continues where it ended."""
_MOST_REDIRECTS = 10
_MOST_DIGITS = 18
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes present and the total bytes (0 if unknown)."""


class _Gone(Exception):
    """The URL does not provide the file. The message is the reason, in a few words."""


class _Interrupted(Exception):
    """The download stopped, but another attempt may succeed. The message is the reason, in a few words."""


def download_entry(
    entry: Entry,
    data: DataFolder,
    *,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Download the missing files of a data set and return its folder.

    If another process is downloading the same data set, wait for it.

    Raises:
        DatasetNotFound: no URL provides a file, or the content is not the published file.
        DatasetError: the folder cannot be written, an archive is damaged or incomplete, or the downloads do not contain
            all files of the data set.
    """
    folder = data.folder / entry.folder
    try:
        make_private(data.folder)  # if it is shared, the user has created it already
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            for item in entry.downloads:
                if not _is_there(entry, item, folder):
                    _get(entry, item, folder, data.mirror, progress, sleep)
    except OSError as error:
        raise DatasetError(
            f"The data set {entry.name} cannot be stored in {folder}: {error.strerror}.",
            fix="Free disk space, or set data.folder to another folder.",
        ) from error
    if entry.find(None, data) is None:
        raise DatasetError(
            f"The downloads of the data set {entry.name} do not contain all of its files.",
            fix="Correct entry.files, entry.splits or entry.downloads in its file.",
        )
    return folder


def _is_there(entry: Entry, item: RemoteFile, folder: Path) -> bool:
    if is_archive(item.file):
        return all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in entry.files)
    return (folder / item.file).is_file()


def _get(
    entry: Entry, item: RemoteFile, folder: Path, mirror: str, progress: Progress | None, sleep: Callable[[float], None]
) -> None:
    urls = (f"{mirror.rstrip('/')}/{entry.name}/{item.file}",) if mirror else item.urls
    target = folder / item.file
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    reasons: list[str] = []
    for url in urls:
        try:
            digest = _fetch(url, item, part, progress, sleep)
        except (_Gone, _Interrupted) as error:
            reasons.append(f"{urlsplit(url).hostname or url}: {error}")
            continue
        if is_archive(item.file):
            try:
                sums = unpack(part, target.name, folder, wanted=entry.files)
            except DatasetError:
                part.unlink()
                raise
            part.unlink()  # not after an error of the disk, so that the next attempt downloads nothing again
        else:
            replace_durably(part, target)
            sums = {item.file: digest}
        _note(folder, sums)
        return
    raise DatasetNotFound(
        f"{item.file} of the data set {entry.name} cannot be downloaded ({'; '.join(reasons)}).",
        fix=f"Retry later, or set paths.{entry.name} to a folder that has the files.",
    )


def _fetch(url: str, item: RemoteFile, part: Path, progress: Progress | None, sleep: Callable[[float], None]) -> str:
    """Download one file into ``part`` and return its SHA-256.

    Raises:
        _Gone: the URL does not provide the file, or provides another file.
        _Interrupted: every attempt was interrupted.
    """
    waits = iter(_WAITS)
    while True:
        have = part.stat().st_size if part.exists() else 0
        try:
            expected = _transfer(url, item, part, have, progress)
        except _Interrupted as error:
            wait = next(waits, None)
            if wait is None:
                raise
            logger.info("Download of %s interrupted: %s. Resuming in %.0f s.", url, error, wait)
            sleep(wait)
            continue
        digest, right = _check(part, item.checksum or expected)
        if right:
            return digest
        part.unlink()
        # A resumed file may mix two versions of the file. The next attempt starts at 0, and its result must match.
        if not have:
            raise _Gone("the content differs from the published file (wrong checksum)")


def _transfer(url: str, item: RemoteFile, part: Path, have: int, progress: Progress | None) -> str:
    """Request the bytes of the file after the ``have`` bytes that ``part`` has, and append them to ``part``.

    Returns:
        The checksum that the server sends, or "".
    """
    import requests

    from decloud_pl.http_client import BoundedSession

    headers = {"User-Agent": "decloud_pl"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with BoundedSession(_LONGEST_TRANSFER) as session:
            *redirects, response = _follow(session, url, headers)
            status, checksum = response.status_code, _linked_checksum([*redirects, response])
            if status == 416 and have:
                _restart_unless_complete(response, part, have)
                return checksum
            if status in _WORTH_ANOTHER_TRY:
                raise _Interrupted(f"the server returned HTTP {status}")
            if status not in (200, 206):
                raise _Gone(f"the server returned HTTP {status}")
            resumed = status == 206 and _range_start(response) == have
            if status == 206 and not resumed:
                part.unlink(missing_ok=True)
                raise _Interrupted("the server returned another part of the file")
            _write(session, response, item, part, have if resumed else 0, progress)
            return checksum
    except requests.exceptions.ContentDecodingError as error:
        raise _Gone("the server compressed the file, which was not requested") from error
    except requests.exceptions.InvalidURL as error:
        raise _Gone("the URL is invalid") from error
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema) as error:
        raise _Gone("the URL must start with http:// or https://") from error
    except requests.Timeout as error:
        raise _Interrupted("the server did not answer in time") from error
    except requests.RequestException as error:
        raise _Interrupted("the connection failed or broke") from error


def _follow(session: BoundedSession, url: str, headers: Mapping[str, str]) -> list[requests.Response]:
    """Request a URL and follow its redirects. Return all responses; the last response is not a redirect."""
    from decloud_pl.http_client import REDIRECTS

    answers: list[requests.Response] = []
    for _ in range(_MOST_REDIRECTS + 1):
        answers.append(session.get(url, headers=headers, timeout=_TIMEOUT))
        if answers[-1].status_code not in REDIRECTS:
            return answers
        try:
            url = urljoin(url, answers[-1].headers.get("Location", ""))
        except ValueError as error:
            raise _Gone("the server redirects to an invalid URL") from error
    raise _Gone(f"the server redirects more than {_MOST_REDIRECTS} times")


def _write(
    session: BoundedSession,
    response: requests.Response,
    item: RemoteFile,
    part: Path,
    start: int,
    progress: Progress | None,
) -> None:
    said = response.headers.get("Content-Length", "")
    rest = int(said) if said.isascii() and said.isdecimal() and len(said) <= _MOST_DIGITS else 0
    total = start + rest if rest else item.size
    if total > MOST_BYTES:
        raise _Gone(f"the server reports a size of {total:,} bytes, more than the limit of {MOST_BYTES:,}")
    # The declared size is for people and may be rounded, but no file is twice as large.
    most = min(MOST_BYTES, 2 * item.size + _CHUNK) if item.size else MOST_BYTES
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in session.body(response, _CHUNK):
            done += len(chunk)
            if done > most:
                raise _Gone(f"the file is larger than the limit of {most:,} bytes")
            file.write(chunk)
            if progress is not None:
                progress(item.file, done, total)


def _restart_unless_complete(response: requests.Response, part: Path, have: int) -> None:
    """Keep ``part`` if it is already the complete file. Otherwise delete it and raise `_Interrupted`."""
    if response.headers.get("Content-Range") != f"bytes */{have}":
        part.unlink()
        raise _Interrupted("the server has another version of the file")


def _range_start(response: requests.Response) -> int | None:
    unit, _, values = response.headers.get("Content-Range", "").partition(" ")
    start = values.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None


def _linked_checksum(answers: Sequence[requests.Response]) -> str:
    """Return the SHA-256 that the Hugging Face hub sends with the redirect to a file, or ""."""
    for answer in answers:
        value = answer.headers.get("X-Linked-ETag", "").strip('"').lower()
        if len(value) == 64 and set(value) <= set("0123456789abcdef"):
            return f"sha256:{value}"
    return ""


def _check(path: Path, checksum: str) -> tuple[str, bool]:
    """Return the file's SHA-256, and whether ``checksum`` matches the file. An empty checksum matches every file."""
    algorithm, _, expected = checksum.partition(":")
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", algorithm or "sha256"}}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    right = not checksum or digests[algorithm].hexdigest() == expected
    return digests["sha256"].hexdigest(), right


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, as `download_entry` stored it."""
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}


def _note(folder: Path, sums: dict[str, str]) -> None:
    everything = {**read_sums(folder), **sums}
    lines = [f"{everything[name]}  {name}\n" for name in sorted(everything)]
    write_atomically(folder / SUMS_FILE, "".join(lines).encode())
