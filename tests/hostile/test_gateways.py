"""Hostile answers of gateways."""

from __future__ import annotations

import pytest

from decloud_pl.store.ipfs.car import CONTENT_TYPE
from tests.hostile.conftest import Meet
from tests.hostile.wire import ANSWERS, DRIPPING, OK, Behaviour, answer, endless, raw, serving
from tests.store.fakes.oracle import cid_of

CID = cid_of(b"a file", 1)
CAR = b"HTTP/1.1 200 OK\r\nContent-Type: " + CONTENT_TYPE.encode() + b"\r\n"

OWN: dict[str, Behaviour] = {
    "another file": answer(b"another file"),
    "a file with more bytes": answer(b"a file and more"),
    "an empty archive": raw(CAR + b"\r\n"),
    "an archive of zeros": endless(CAR + b"\r\n"),
    "an archive of ones": endless(CAR + b"\r\n", b"\xff" * 65_536),
    "an archive with a header of a terabyte": raw(CAR + b"\r\n\x80\x80\x80\x80\x80\x20"),
    "a part that was not requested": raw(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/1\r\n\r\nhello"),
    "a content type of control characters": raw(OK.replace(b"application/json", b"\x1b[31m\x9b;\x00") + b"\r\nhello"),
}
INPUTS = {**ANSWERS, **DRIPPING, **OWN}


@pytest.mark.parametrize("name", INPUTS)
def test_it_ends_in_one_sentence(name: str, call: Meet) -> None:
    with serving(INPUTS[name]) as url:
        call("gateway", url, CID).in_one_sentence(code=7)


NAMES = {
    "another place": "../../../etc/passwd",
    "an address": "http://evil.test/x",
    "an invalid version": "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzd9",
    "an invalid hash": "z" * 59,
    "an escape sequence": "\x1b[31mQm",
    "a hundred kilobytes": "Qm" + "a" * 100_000,
    "an empty name": "",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_cid_is_not_requested(name: str, call: Meet) -> None:
    requests = []
    with serving(lambda request: requests.append(request.path)) as url:
        call("gateway", url, NAMES[name]).in_one_sentence(code=7)
    assert requests == []
