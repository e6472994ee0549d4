"""CAR archives: a round trip returns the same bytes, and an archive with any changed byte is rejected."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decloud_pl.errors import IntegrityError
from decloud_pl.store.ipfs.car import MAX_BLOCK, ChunkReader, car_header, car_section, file_in_car
from decloud_pl.store.ipfs.cid import DAG_PB, RAW, Cid, Profile
from decloud_pl.store.ipfs.dag import decode_node
from decloud_pl.store.ipfs.unixfs import Importer, uvarint


def blocks_of(data: bytes, *, raw_leaves: bool = True, chunk: int = 50) -> tuple[Cid, dict[Cid, bytes]]:
    blocks: dict[Cid, bytes] = {}
    importer = Importer(
        Profile("test", 1, raw_leaves=raw_leaves, chunk_size=chunk, width=3),
        lambda cid, block: blocks.update({cid: bytes(block)}),
    )
    importer.update(data)
    return importer.finish(), blocks


def depth_first(root: Cid, blocks: dict[Cid, bytes]) -> Iterator[Cid]:
    yield root
    if root.codec == DAG_PB:
        for child, _ in decode_node(blocks[root]).children:
            yield from depth_first(child, blocks)


def pieces(root: Cid, blocks: dict[Cid, bytes]) -> list[bytes]:
    return [car_header(root), *(car_section(cid, blocks[cid]) for cid in depth_first(root, blocks))]


def read(archive: bytes, root: Cid) -> bytes:
    return b"".join(file_in_car(io.BytesIO(archive), root))


DATA = random.Random(3).randbytes(600)  # 12 leaves, three levels
ROOT, BLOCKS = blocks_of(DATA)
PIECES = pieces(ROOT, BLOCKS)
ARCHIVE = b"".join(PIECES)


@given(st.binary(max_size=700), st.booleans(), st.integers(1, 100))
def test_a_file_comes_back_from_its_archive(data: bytes, raw_leaves: bool, step: int) -> None:
    root, blocks = blocks_of(data, raw_leaves=raw_leaves)
    archive = b"".join(pieces(root, blocks))
    assert read(archive, root) == data
    lengths: list[int] = []
    chunks = iter([archive[at : at + step] for at in range(0, len(archive), step)])
    assert b"".join(file_in_car(ChunkReader(chunks, lengths.append), root)) == data
    assert sum(lengths) == len(archive)


def test_bytes_after_the_file_are_not_read() -> None:
    assert read(ARCHIVE + b"\xff" * 100, ROOT) == DATA


def borders() -> list[int]:
    found, at = {0, 1}, 0
    for piece in PIECES:
        at += len(piece)
        found |= {at - 1, at, at + 1, at + 2}
    return sorted(end for end in found if end < len(ARCHIVE))


@pytest.mark.parametrize("end", borders())
def test_a_truncated_archive_is_refused(end: int) -> None:
    with pytest.raises(IntegrityError):
        read(ARCHIVE[:end], ROOT)


def test_only_verified_bytes_come_before_the_refusal() -> None:
    for end in range(len(ARCHIVE)):
        got: list[bytes] = []
        with pytest.raises(IntegrityError):
            got.extend(file_in_car(io.BytesIO(ARCHIVE[:end]), ROOT))
        assert DATA.startswith(b"".join(got))
        assert all(len(part) == 50 for part in got)


def test_a_flipped_byte_is_refused_or_changes_nothing() -> None:
    refused = 0
    for at in range(len(ARCHIVE)):
        changed = bytearray(ARCHIVE)
        changed[at] ^= 0x01
        try:
            # The reader ignores the root in the header and the version of a CID, so these bytes may change.
            assert read(bytes(changed), ROOT) == DATA
        except IntegrityError:
            refused += 1
    assert refused > len(ARCHIVE) - 60


def test_another_root_is_refused() -> None:
    with pytest.raises(IntegrityError):
        read(ARCHIVE, blocks_of(b"other")[0])


def test_blocks_out_of_order_are_refused() -> None:
    for first in range(1, len(PIECES) - 1):
        order = list(PIECES)
        order[first], order[first + 1] = order[first + 1], order[first]
        with pytest.raises(IntegrityError):
            read(b"".join(order), ROOT)


def test_an_archive_without_its_duplicates_is_refused() -> None:
    root, blocks = blocks_of(b"a" * 200)
    sections = pieces(root, blocks)
    assert read(b"".join(sections), root) == b"a" * 200
    with pytest.raises(IntegrityError):
        read(b"".join(dict.fromkeys(sections)), root)


class Bottomless:
    """An archive without end. It records the largest size of a read."""

    def __init__(self, start: bytes) -> None:
        self._start = io.BytesIO(start)
        self.largest = 0

    def read(self, size: int, /) -> bytes:
        self.largest = max(self.largest, size)
        return self._start.read(size) or bytes(size)


@pytest.mark.parametrize("length", [MAX_BLOCK + 65, 1 << 40, (1 << 63) - 1])
def test_a_length_beyond_any_block_is_refused_before_it_is_read(length: int) -> None:
    source = Bottomless(car_header(ROOT) + uvarint(length))
    with pytest.raises(IntegrityError, match="exceeds the limit of 4 MiB"):
        list(file_in_car(source, ROOT))
    assert source.largest < 4096


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x00",
        b"\xff" * 20,
        b"\x80" * 20,
        uvarint(4097),
        uvarint(1 << 50),
        b"\x05hello",
        b"<!doctype html><html>",
        car_header(ROOT).replace(b"\x01", b"\x02"),
        b"\x0a\xa1\x67version\x02",  # a CAR v2 header
    ],
)
def test_a_header_that_is_none_is_refused(start: bytes) -> None:
    with pytest.raises(IntegrityError):
        list(file_in_car(Bottomless(start), ROOT))


@pytest.mark.parametrize("section", [b"", b"x", b"\x01\x71\x12\x20" + bytes(40), bytes(ROOT)[:20], b"\xff" * 60])
def test_a_section_without_a_cid_is_refused_as_a_broken_archive(section: bytes) -> None:
    with pytest.raises(IntegrityError):
        read(car_header(ROOT) + uvarint(len(section)) + section, ROOT)


def test_an_empty_file() -> None:
    root = Cid.of_block(1, RAW, b"")
    assert read(car_header(root) + car_section(root, b""), root) == b""


READ = """
import resource, sys
from pathlib import Path
from decloud_pl.errors import IntegrityError
from decloud_pl.store.ipfs.car import file_in_car
from decloud_pl.store.ipfs.cid import Cid
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, 2 * (pages * resource.getpagesize() + (120 << 20),))
try:
    with open(sys.argv[1], "rb") as file:
        for _ in file_in_car(file, Cid.parse(sys.argv[2])):
            pass
except IntegrityError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts from what /proc says")
@pytest.mark.parametrize(
    ("links", "inline", "sentence"),
    [(90_000, 0, "pending links"), (1, 3 << 20, "deeper than")],
    ids=["links", "bytes"],
)
def test_an_archive_made_to_fill_memory_is_refused_and_does_not(
    links: int, inline: int, sentence: str, tmp_path: Path
) -> None:
    root = Cid.of_block(1, RAW, b"")
    sections: list[bytes] = []
    data = b"\x08\x02\x12" + uvarint(inline) + bytes(inline) + b"\x20\x00" * links
    for _ in range(34):
        name = bytes(root)
        link = b"\x0a" + uvarint(len(name)) + name
        block = (b"\x12" + uvarint(len(link)) + link) * links + b"\x0a" + uvarint(len(data)) + data
        assert len(block) < MAX_BLOCK
        root = Cid.of_block(1, DAG_PB, block)
        sections.append(car_section(root, block))
    path = tmp_path / "archive"
    with path.open("wb") as file:
        file.writelines([car_header(root), *reversed(sections)])
    command = [sys.executable, "-c", READ, str(path), str(root)]
    assert sentence in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path.unlink()
