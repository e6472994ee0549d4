"""CIDs: equal to those of other implementations, and only the canonical form is accepted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decloud_pl.errors import IntegrityError, InvalidCid
from decloud_pl.store.ipfs.cid import DAG_PB, RAW, Cid
from decloud_pl.store.ipfs.unixfs import cid_of_file, profile_of

LAYOUTS = {
    "kubo-v0": "v0_256k_174",
    "kubo-v1": "v1raw_256k_174",
    "v1-1m-174": "v1raw_1m_174",
    "v1-1m-1024": "v1raw_1m_1024",
}
SMALL = ("f0", "f1", "f262144", "f262145", "f1000000", "f1048576", "f1048577")
LARGE = ("f45613056", "f45613057", "f46000000")  # around 174 leaves of 256 KiB, where a second level begins

V0 = "QmcbzQnLC2c9dP74tNrUqnt3jMFDAkt6TMtKGooS7ycos1"
V1 = "bafybeihpxkb3bvefniyfo6hdadganfq3w5wvcjov5vpcks2f23tzowhgvy"
DIGEST = hashlib.sha256(b"x").digest()


def base32(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode().lower().rstrip("=")


@pytest.mark.parametrize("profile", LAYOUTS)
@pytest.mark.parametrize("name", SMALL + LARGE)
def test_a_file_has_the_cid_that_other_implementations_give(
    name: str, profile: str, golden: dict[str, dict[str, str]], golden_file: Callable[[str], Path]
) -> None:
    assert str(cid_of_file(golden_file(name), profile)) == golden[name][LAYOUTS[profile]]


@pytest.mark.parametrize("profile", LAYOUTS)
def test_the_profile_of_a_file_is_found_from_its_cid(
    profile: str, golden: dict[str, dict[str, str]], golden_file: Callable[[str], Path]
) -> None:
    path = golden_file("f1048577")
    found = profile_of(path, Cid.parse(golden["f1048577"][LAYOUTS[profile]]))
    assert found is not None
    # Two layouts give the same CID for such a small file.
    assert str(cid_of_file(path, found)) == golden["f1048577"][LAYOUTS[profile]]
    assert profile_of(path, Cid.parse(golden["f1000000"][LAYOUTS[profile]])) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        "../" + V1[3:],
        "../../../etc/passwd",
        V1 + "/../x",
        "/ipfs/" + V1,
        V1.upper(),
        V1[:-1] + V1[-1].upper(),
        "B" + V1[1:],
        V1 + "=",
        V1 + "=" * 6,
        V1[:-1] + "=",
        V1[:-1],
        V1 + "a",
        V1[:-1] + "z",  # the same bytes, but with unused bits of the encoding set
        V1[:-1] + "1",
        V1[:20] + "\0" + V1[21:],
        V1 + "\0",
        V1 + "\n",
        " " + V1,
        V1[:20] + "\u0456" + V1[21:],
        "b" + "ß" * 58,
        "Qm" + "\ud800" * 44,
        V0.lower(),
        V0[:-1],
        V0 + "1",
        V0[:-1] + "0",  # not a base58 digit
        V0[:-1] + "\0",
        V0[:-1] + " ",
        V0[:-1] + "é",
        "Qm" + "z" * 44,  # more than 34 bytes
        "Qm" + "1" * 44,
        "z" + base58.b58encode(bytes((1, RAW)) + b"\x12\x20" + DIGEST).decode(),
        base32(b"\x12\x20" + DIGEST),  # CID version 0 has no base32 form
        base32(bytes((2, RAW)) + b"\x12\x20" + DIGEST),
        base32(bytes((1, 0x71)) + b"\x12\x20" + DIGEST),  # dag-cbor
        base32(bytes((1, 0x72)) + b"\x12\x20" + DIGEST),  # libp2p-key
        base32(bytes((1, RAW)) + b"\x11\x20" + DIGEST),  # not SHA-256
        base32(bytes((1, RAW)) + b"\x12\x1f" + DIGEST),
        base32(bytes((1, RAW)) + b"\x00\x20" + DIGEST),  # the identity hash
        base32(bytes((1, RAW)) + b"\x12\x20" + DIGEST[:-1]),
        base32(bytes((1, RAW)) + b"\x12\x20" + DIGEST + b"\0"),
        "b" * 59,
        "a" * 1_000_000,
    ],
)
def test_text_that_is_not_a_canonical_cid_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(InvalidCid) as refused:
        Cid.parse(text)
    message = str(refused.value)
    assert len(message) < 600
    assert "\n" not in message
    assert "\0" not in message


@given(st.sampled_from([(0, DAG_PB), (1, DAG_PB), (1, RAW)]), st.binary(min_size=32, max_size=32))
def test_every_cid_survives_text_and_bytes(kind: tuple[int, int], digest: bytes) -> None:
    cid = Cid(*kind, digest)
    assert Cid.parse(str(cid)) == cid
    assert Cid.from_bytes(bytes(cid) + b"rest") == (cid, len(bytes(cid)))


@given(st.sampled_from([V0, V1]), st.integers(0, 58), st.characters())
def test_whatever_is_accepted_is_written_the_same_way(text: str, position: int, character: str) -> None:
    changed = text[:position] + character + text[position + 1 :]
    try:
        cid = Cid.parse(changed)
    except InvalidCid:
        return
    assert str(cid) == changed
    assert changed.isascii()
    assert changed.isalnum()


@given(st.binary(max_size=40))
def test_bytes_are_a_cid_or_refused(data: bytes) -> None:
    try:
        cid, end = Cid.from_bytes(data)
    except IntegrityError:
        return
    assert bytes(cid) == data[:end]


@pytest.mark.parametrize("length", range(36))
def test_a_binary_cid_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        Cid.from_bytes((bytes((1, RAW)) + b"\x12\x20" + DIGEST)[:length])


def test_a_block_matches_its_own_cid_only() -> None:
    cid = Cid.of_block(1, RAW, b"x")
    assert cid.digest == DIGEST
    assert cid.matches(b"x")
    assert not cid.matches(b"y")
