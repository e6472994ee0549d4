"""Compares the importer with a simple one and with another implementation, and tests decoding and malformed nodes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import aleph_cid
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decloud_pl.errors import IntegrityError
from decloud_pl.store.ipfs.cid import DAG_PB, PROFILES, RAW, Cid, Profile
from decloud_pl.store.ipfs.dag import decode_node, read_file
from decloud_pl.store.ipfs.unixfs import Importer


def varint(number: int) -> bytes:
    return bytes((number,)) if number < 128 else bytes((number % 128 + 128,)) + varint(number // 128)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number * 8) + varint(value)
    return varint(number * 8 + 2) + varint(len(value)) + value


def reference_cid(data: bytes, profile: Profile) -> str:
    """Compute the CID in the simplest way: all leaves, then each level, until one node remains."""
    level: list[tuple[Cid, int, int]] = []  # CID, DAG size, file size
    for start in range(0, len(data), profile.chunk_size) or (0,):
        leaf = data[start : start + profile.chunk_size]
        block = leaf
        if not profile.raw_leaves:
            content = field(2, leaf) if leaf else b""
            block = field(1, field(1, 2) + content + field(3, len(leaf)))
        version, codec = (1, RAW) if profile.raw_leaves else (profile.cid_version, DAG_PB)
        level.append((Cid(version, codec, hashlib.sha256(block).digest()), len(block), len(leaf)))
    while len(level) > 1:
        above = []
        for first in range(0, len(level), profile.width):
            children = level[first : first + profile.width]
            file_size = sum(child[2] for child in children)
            unixfs = field(1, 2) + field(3, file_size) + b"".join(field(4, child[2]) for child in children)
            links = [field(1, bytes(cid)) + field(2, b"") + field(3, dag) for cid, dag, _ in children]
            block = b"".join(field(2, link) for link in links) + field(1, unixfs)
            cid = Cid(profile.cid_version, DAG_PB, hashlib.sha256(block).digest())
            above.append((cid, len(block) + sum(child[1] for child in children), file_size))
        level = above
    return str(level[0][0])


def imported(data: bytes, profile: Profile, pieces: random.Random | None = None) -> str:
    importer = Importer(profile)
    position = 0
    while position < len(data):
        step = pieces.randint(0, 3 * profile.chunk_size) if pieces else len(data)
        importer.update(data[position : position + step])
        position += step
    return str(importer.finish())


def test_the_reference_gives_the_golden_values(
    golden: dict[str, dict[str, str]], golden_file: Callable[[str], Path]
) -> None:
    data = golden_file("f1048577").read_bytes()
    assert reference_cid(data, PROFILES["kubo-v0"]) == golden["f1048577"]["v0_256k_174"]
    assert reference_cid(data, PROFILES["kubo-v1"]) == golden["f1048577"]["v1raw_256k_174"]


@pytest.mark.parametrize("seed", range(10))
def test_any_size_chunk_width_and_pieces_give_the_reference_cid(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        width = chance.randint(2, 9)
        chunk = chance.randint(1, 300)
        version = chance.randint(0, 1)
        raw = chance.random() < 0.5
        profile = Profile("test", version, raw_leaves=raw, chunk_size=chunk, width=width)
        full = chunk * width ** chance.randint(0, 3)  # full trees, and one leaf or byte more or less
        size = max(0, min(200_000, full * chance.randint(0, 3) + chance.choice((-chunk, -1, 0, 1, chunk))))
        data = chance.randbytes(size)
        expected = reference_cid(data, profile)
        assert imported(data, profile) == expected, (profile, size)
        assert imported(data, profile, chance) == expected, (profile, size)


def test_300_random_layouts_have_the_cids_that_the_javascript_importer_gives() -> None:
    cases = json.loads((Path(__file__).parents[2] / "golden" / "random_cids.json").read_text())
    assert len(cases) == 300
    for number, (size, chunk, width, version, raw_leaves, cid) in enumerate(cases):
        profile = Profile("test", version, raw_leaves=raw_leaves, chunk_size=chunk, width=width)
        assert imported(hashlib.shake_256(str(number).encode()).digest(size), profile) == cid, number


OTHER = {
    "kubo-v0": aleph_cid.CidHasher.for_ipfs,
    "kubo-v1": aleph_cid.CidHasher.for_ipfs_v1_raw_leaves,
}
CHUNK = 262_144


@pytest.mark.parametrize("profile", OTHER)
def test_another_implementation_agrees(profile: str) -> None:
    sizes = [0, 1, 127, 128, 16_383, 16_384, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]
    sizes += [random.Random(1).randint(0, 12 * CHUNK) for _ in range(8)]
    for size in sizes:
        data = random.Random(size).randbytes(size)
        other = OTHER[profile]()
        other.update(data)
        assert imported(data, PROFILES[profile]) == other.finalize(), size


@given(
    st.binary(max_size=400),
    st.integers(1, 40),
    st.integers(2, 5),
    st.booleans(),
)
def test_the_blocks_made_give_the_file_back(data: bytes, chunk: int, width: int, raw_leaves: bool) -> None:
    blocks: dict[Cid, bytes] = {}
    importer = Importer(
        Profile("test", 1, raw_leaves=raw_leaves, chunk_size=chunk, width=width),
        lambda cid, block: blocks.update({cid: bytes(block)}),
    )
    importer.update(data)
    root = importer.finish()
    assert all(cid.matches(block) for cid, block in blocks.items())
    assert b"".join(read_file(root, blocks.__getitem__)) == data


def block_of(content: bytes) -> tuple[Cid, bytes]:
    return Cid.of_block(1, DAG_PB, content), content


LEAF = Cid.of_block(1, RAW, b"abc")
LINK = field(2, field(1, bytes(LEAF)) + field(2, b"") + field(3, 3))


@pytest.mark.parametrize(
    "block",
    [
        b"",  # a plain dag-pb node without UnixFS data
        field(1, field(1, 1)),  # a directory
        field(1, field(1, 4) + field(2, b"/etc/passwd")),  # a symbolic link
        field(1, field(1, 5)),  # a sharded directory
        LINK + field(1, field(1, 2)),  # a child without a size
        LINK + field(1, field(1, 2) + field(4, 2)),  # a child with a wrong size
        LINK + field(1, field(1, 2) + field(4, 3) + field(4, 3)),
        field(2, field(2, b"x")) + field(1, field(1, 2) + field(4, 3)),  # a link without a CID
        field(2, field(1, b"\x01\x71\x12\x20" + bytes(32))) + field(1, field(1, 2) + field(4, 3)),  # dag-cbor
        field(2, field(1, b"")) + field(1, field(1, 2) + field(4, 3)),
        b"\x0a\xff",
        b"\x0a\x05abc",
        b"\x0b\x01",
        b"\xff" * 20,
        LINK[:-1],
    ],
)
def test_a_block_that_is_no_file_is_refused_though_it_matches_its_cid(block: bytes) -> None:
    root = Cid.of_block(1, DAG_PB, block)
    blocks = {root: block, LEAF: b"abc"}
    with pytest.raises(IntegrityError):
        b"".join(read_file(root, blocks.__getitem__))


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused(block: bytes) -> None:
    try:
        decode_node(block)
    except IntegrityError:
        return


def test_a_dag_without_end_is_refused() -> None:
    cid, block = block_of(field(1, field(1, 2) + field(2, b"x")))
    blocks = {cid: block}
    for _ in range(40):
        data = field(1, field(1, 2) + field(4, 1))
        cid, block = block_of(field(2, field(1, bytes(cid)) + field(2, b"") + field(3, 1)) + data)
        blocks[cid] = block
    with pytest.raises(IntegrityError, match="deeper"):
        b"".join(read_file(cid, blocks.__getitem__))
