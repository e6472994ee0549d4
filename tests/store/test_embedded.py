"""The embedded store: it stores complete files only, and returns the original bytes or an error."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, StoreError
from decloud_pl.store import Store
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.ipfs.car import file_in_car
from decloud_pl.store.ipfs.cid import PROFILES, Cid
from tests.store.conformance import StoreConformance

DATA = random.Random(9).randbytes(600_001)


class TestConformance(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> EmbeddedStore:
        return EmbeddedStore(tmp_path / "store")

    def kept(self, store: Store, cid: str) -> bytes | None:
        assert isinstance(store, EmbeddedStore)
        if not store.has(cid):
            return None
        with store.open(cid) as file:
            return file.read()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


@pytest.fixture
def store(root: Path) -> EmbeddedStore:
    return EmbeddedStore(root)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def read_open(store: EmbeddedStore, cid: str) -> bytes:
    with store.open(cid) as file:
        return file.read()


def read_car(store: EmbeddedStore, cid: str) -> bytes:
    archive = io.BytesIO(b"".join(store.car(cid)))
    data = b"".join(file_in_car(archive, Cid.parse(cid)))
    assert not archive.read(), "the archive must end after the last block"
    return data


def read_block(store: EmbeddedStore, cid: str) -> bytes:
    block = store.block(cid)
    assert Cid.parse(cid).matches(block)
    return block


READS: list[Callable[[EmbeddedStore, str], bytes]] = [read_open, read_car, read_block]


@pytest.mark.parametrize("size", [0, 1, 262_144, 600_001])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_handed_out_in_every_form(profile: str, size: int, store: EmbeddedStore, source: Path) -> None:
    source.write_bytes(DATA[:size])
    stored = store.put(source, profile)
    assert (stored.profile, stored.size) == (profile, size)
    assert store.stat(stored.cid) == stored
    assert read_open(store, stored.cid) == DATA[:size]
    assert read_car(store, stored.cid) == DATA[:size]
    read_block(store, stored.cid)


def test_a_file_of_equal_blocks_is_handed_out(store: EmbeddedStore, source: Path) -> None:
    source.write_bytes(bytes(1_000_000))
    for profile in PROFILES:
        assert read_car(store, store.put(source, profile).cid) == bytes(1_000_000)


@pytest.mark.parametrize("profile", ["kubo-v0", "kubo-v1"])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("at", [0, 300_000, -1])
def test_a_changed_byte_is_never_handed_out(
    at: int, read: Callable[[EmbeddedStore, str], bytes], profile: str, store: EmbeddedStore, source: Path, root: Path
) -> None:
    cid = store.put(source, profile).cid
    changed = bytearray(DATA)
    changed[at] ^= 1
    (root / cid).write_bytes(changed)
    with pytest.raises(IntegrityError):
        read(store, cid)
    store.put(source, profile)  # the remedy in the message
    read(store, cid)


@pytest.mark.parametrize("read", [*READS, EmbeddedStore.stat])
@pytest.mark.parametrize("size", [0, 262_144, 600_000])
def test_a_shortened_file_is_never_handed_out(
    size: int, read: Callable[[EmbeddedStore, str], object], store: EmbeddedStore, source: Path, root: Path
) -> None:
    cid = store.put(source).cid
    os.truncate(root / cid, size)
    with pytest.raises(IntegrityError):
        read(store, cid)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{}",
        "[]",
        "null",
        "\xff",
        '{"profile": "kubo-v1"}',
        '{"profile": "unknown", "size": 600001}',
        '{"profile": [], "size": 600001}',
        '{"profile": "kubo-v1", "size": "600001"}',
        '{"profile": "kubo-v1", "size": 600000}',
        "[" * 100_000,
    ],
)
def test_a_damaged_note_is_an_integrity_error(note: str, store: EmbeddedStore, source: Path, root: Path) -> None:
    cid = store.put(source).cid
    (root / f"{cid}.json").write_text(note, encoding="latin-1")
    with pytest.raises(IntegrityError):
        store.stat(cid)


@pytest.mark.parametrize("gone", ["", ".json"])
@pytest.mark.parametrize("read", [*READS, EmbeddedStore.stat])
def test_half_an_entry_is_none(
    read: Callable[[EmbeddedStore, str], object], gone: str, store: EmbeddedStore, source: Path, root: Path
) -> None:
    cid = store.put(source).cid
    (root / f"{cid}{gone}").unlink()
    with pytest.raises(ContentNotFound):
        read(store, cid)
    assert store.has(cid) is False
    store.put(source)
    read(store, cid)


@pytest.mark.parametrize("read", [*READS, EmbeddedStore.stat, EmbeddedStore.has])
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "secret", ".", "a\0b"])
def test_no_name_leads_out_of_the_folder(
    name: str, read: Callable[[EmbeddedStore, str], object], store: EmbeddedStore, source: Path, root: Path
) -> None:
    store.put(source)
    for folder in (root, root.parent):
        (folder / "secret").write_bytes(DATA)
        (folder / "secret.json").write_text(json.dumps({"profile": "kubo-v1", "size": len(DATA)}), encoding="ascii")
    with pytest.raises(InvalidCid):
        read(store, name)


def test_nothing_is_kept_in_an_empty_or_absent_folder(store: EmbeddedStore) -> None:
    cid = str(Cid.of_block(1, 0x55, b""))
    assert store.has(cid) is False
    assert store.gc(()) == []
    with pytest.raises(ContentNotFound):
        store.stat(cid)


def test_gc_removes_what_nobody_wants(store: EmbeddedStore, source: Path, root: Path) -> None:
    kept = store.put(source)
    source.write_bytes(b"other")
    unwanted = store.put(source)
    assert store.gc({kept.cid}) == [unwanted.cid]
    assert not store.has(unwanted.cid)
    assert read_open(store, kept.cid) == DATA
    assert sorted(path.name for path in root.iterdir()) == [kept.cid, f"{kept.cid}.json"]


def test_a_folder_that_cannot_be_one_is_a_store_error(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be written"):
        EmbeddedStore(tmp_path / "file" / "store").put(source)


PUT_FOREVER = """
import sys
from pathlib import Path
from decloud_pl.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
sources = [Path(name) for name in sys.argv[2:]]
print("ready", flush=True)
while True:
    for source in sources:
        store.put(source)
        print("put", flush=True)
"""


def putting(root: Path, *sources: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", PUT_FOREVER, str(root), *map(str, sources)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE)


def check_all(store: EmbeddedStore, root: Path, allowed: set[bytes]) -> int:
    notes = list(root.glob("*.json"))
    for note in notes:
        assert read_open(store, note.stem) in allowed
    return len(notes)


def test_a_killed_put_leaves_no_bad_entry(store: EmbeddedStore, root: Path, tmp_path: Path) -> None:
    sources = [tmp_path / f"source{number}" for number in range(40)]
    for number, path in enumerate(sources):
        path.write_bytes(random.Random(number).randbytes(700_000))
    allowed = {path.read_bytes() for path in sources}
    for attempt in range(5):
        with putting(root, *sources[attempt * 8 : attempt * 8 + 8]) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(random.Random(attempt).random() * 0.05)  # at a random time during the eight uploads
            child.send_signal(signal.SIGKILL)
        check_all(store, root, allowed)
    for path in sources:
        store.put(path)
    assert check_all(store, root, allowed) == len(sources)


def test_processes_may_put_the_same_files_at_once(store: EmbeddedStore, root: Path, tmp_path: Path) -> None:
    sources = [tmp_path / f"source{number}" for number in range(3)]
    for number, path in enumerate(sources):
        path.write_bytes(random.Random(number).randbytes(300_000))
    allowed = {path.read_bytes() for path in sources}
    with putting(root, *sources) as one, putting(root, *reversed(sources)) as other:
        try:
            for child in (one, other):
                assert child.stdout is not None
                for _ in range(1 + 2 * len(sources)):
                    assert child.stdout.readline(), "the child has ended"
                    check_all(store, root, allowed)
        finally:
            one.kill()
            other.kill()
    assert check_all(store, root, allowed) == len(sources)
