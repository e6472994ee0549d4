"""A store in a folder of this machine.

The name of a file is its CID in canonical form, built from the parsed CID and never from untrusted text. The file
``<cid>.json`` next to it holds the profile and the size. The JSON file is written last, and a file without it does not
count as stored. Both files appear by an atomic rename. So several processes may write to the same folder, and a killed
process leaves no incomplete entry.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from decloud_pl.durable import make_private, replace_durably, write_atomically
from decloud_pl.errors import ContentNotFound, IntegrityError, StoreError
from decloud_pl.store import Progress, Stored
from decloud_pl.store.ipfs.car import car_header, car_section
from decloud_pl.store.ipfs.cid import DEFAULT_PROFILE, PROFILES, RAW, Cid
from decloud_pl.store.ipfs.dag import decode_node
from decloud_pl.store.ipfs.unixfs import cid_of_file
from decloud_pl.store.sending import SentFile, checked_file

_SCRATCH_SECONDS = 86_400
"""After a day, no running process still writes to a scratch file."""


@dataclass(frozen=True, slots=True)
class _Dag:
    """The blocks of a file.

    Attributes:
        nodes: maps the CID of each dag-pb block to the block's bytes. Leaves that are wrapped in dag-pb are included.
        leaves: maps the CID of each raw leaf to the (offset, length) of the leaf's bytes in the file.
    """

    nodes: dict[Cid, bytes]
    leaves: dict[Cid, tuple[int, int]]


class EmbeddedStore:
    """A store in the folder ``root``. It returns only bytes that it has verified against their CID."""

    name = "embedded"

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root).expanduser()

    def put(self, path: Path, profile: str = DEFAULT_PROFILE, *, progress: Progress | None = None) -> Stored:
        """Copy a file into the store; return once the copy is on disk.

        Raises:
            StoreError: the file cannot be read, the folder is not writable, or the disk is full.
        """
        checked_file(path)
        scratch = self._root / f".{os.getpid()}-{os.urandom(8).hex()}.part"
        try:
            make_private(self._root)
            with SentFile(path, progress) as source, scratch.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            # Hash the copy: the CID must describe the copy, and the source may change meanwhile.
            cid, size = cid_of_file(scratch, profile), scratch.stat().st_size
            replace_durably(scratch, self._data_path(cid))
            write_atomically(self._note_path(cid), json.dumps({"profile": profile, "size": size}).encode())
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
        return Stored(str(cid), profile, size)

    def has(self, cid: str) -> bool:
        parsed = Cid.parse(cid)
        return self._note_path(parsed).exists() and self._data_path(parsed).exists()

    def check(self) -> str:
        """Check that the folder is writable, and return a one-line description of the store.

        Raises:
            StoreError: the folder is not writable.
        """
        scratch = self._root / f".{os.getpid()}-{os.urandom(8).hex()}.part"
        try:
            make_private(self._root)
            scratch.write_bytes(b"")
            scratch.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        return f"The folder {self._root} is writable and holds {len(self.cids())} files."

    def cids(self) -> list[str]:
        """Return the CIDs of all stored files."""
        return sorted(note.stem for note in self._root.glob("*.json"))

    def stat(self, cid: str) -> Stored:
        """Return what the store has recorded about a file: the profile and the size.

        Raises:
            InvalidCid: ``cid`` is not a CID.
            ContentNotFound: the store does not have the file.
            IntegrityError: the entry is damaged.
        """
        parsed = Cid.parse(cid)
        try:
            note = json.loads(self._note_path(parsed).read_text(encoding="ascii"))
            stored = Stored(cid, note["profile"], note["size"])
            if stored.profile not in PROFILES or self._data_path(parsed).stat().st_size != stored.size:
                raise self._damaged(cid)
        except FileNotFoundError:
            raise ContentNotFound(f"The store does not have {cid}.", fix="Add the file first.") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damaged(cid) from error
        return stored

    def open(self, cid: str) -> BinaryIO:
        """Verify a file and open it for reading.

        Raises:
            ContentNotFound: the store does not have the file.
            IntegrityError: the file's bytes have changed.
        """
        stored = self.stat(cid)
        path = self._data_path(Cid.parse(cid))
        if str(cid_of_file(path, stored.profile)) != cid:
            raise self._damaged(cid)
        return path.open("rb")

    def block(self, cid: str) -> bytes:
        """Return the root block of a file.

        Raises:
            ContentNotFound: the store does not have the file.
            IntegrityError: the file's bytes have changed.
        """
        root = Cid.parse(cid)
        dag = self._dag(root)
        return dag.nodes[root] if root in dag.nodes else self._leaf(root, root, dag)

    def car(self, cid: str) -> Iterator[bytes]:
        """Yield the pieces of a CAR archive of a file. The blocks are in depth-first order and may be repeated.

        Raises:
            ContentNotFound: the store does not have the file.
            IntegrityError: the file's bytes have changed.
        """
        root = Cid.parse(cid)
        dag = self._dag(root)
        yield car_header(root)
        yield from self._sections(root, root, dag)

    def gc(self, keep: Collection[str]) -> list[str]:
        """Remove every file whose CID is not in ``keep``, and return the CIDs of the removed files.

        Also remove scratch files that are older than a day.
        """
        removed: list[str] = []
        for scratch in self._root.glob(".*.part"):
            if scratch.stat().st_mtime < time.time() - _SCRATCH_SECONDS:
                scratch.unlink(missing_ok=True)
        for note in sorted(self._root.glob("*.json")):
            if note.stem not in keep:
                # Remove the note first: without it the entry does not exist, so no entry is ever without its bytes.
                note.unlink(missing_ok=True)
                note.with_suffix("").unlink(missing_ok=True)
                removed.append(note.stem)
        return removed

    def _sections(self, cid: Cid, root: Cid, dag: _Dag) -> Iterator[bytes]:
        block = dag.nodes.get(cid)
        if block is None:
            yield car_section(cid, self._leaf(cid, root, dag))
            return
        yield car_section(cid, block)
        for child, _ in decode_node(block).children:
            yield from self._sections(child, root, dag)

    def _leaf(self, cid: Cid, root: Cid, dag: _Dag) -> bytes:
        offset, length = dag.leaves[cid]
        with self._data_path(root).open("rb") as file:
            file.seek(offset)
            block = file.read(length)
        if not cid.matches(block):
            raise self._damaged(str(root))
        return block

    def _dag(self, root: Cid) -> _Dag:
        """Read and verify a file; return its dag-pb blocks and the positions of its raw leaves."""
        stored = self.stat(str(root))
        dag = _Dag({}, {})
        position = 0

        def remember(cid: Cid, block: bytes | memoryview) -> None:
            nonlocal position
            if cid.codec == RAW:
                dag.leaves[cid] = (position, len(block))
                position += len(block)
            else:
                # A wrapped leaf is not a slice of the file, so keep it whole.
                dag.nodes[cid] = bytes(block)

        if cid_of_file(self._data_path(root), stored.profile, remember) != root:
            raise self._damaged(str(root))
        return dag

    def _data_path(self, cid: Cid) -> Path:
        return self._root / str(cid)

    def _note_path(self, cid: Cid) -> Path:
        return self._root / f"{cid}.json"

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"The store {self._root} cannot be written: {error.strerror}.",
            fix="Free disk space or choose another folder with storage.path.",
        )

    def _damaged(self, cid: str) -> IntegrityError:
        return IntegrityError(
            f"The store's copy of {cid} in {self._root} is damaged.", fix="Remove the copy and add the file again."
        )
