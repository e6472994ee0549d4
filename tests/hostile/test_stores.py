"""Hostile answers of Pinata, IPFS nodes and mirrors of data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Meet
from tests.hostile.wire import ANSWERS, DRIPPING, TEXTS, Behaviour, answer, serving

# The clients share most of their code, so each runs only on answers that its own code handles.
_SOME = (
    "an endless redirect",
    "a redirect to itself",
    "a compressed bomb",
    "an endless chunk size",
    "endless headers",
    "endless 100 Continue",
    "an invalid status",
    "a login page",
    "endless brackets",
    "a too large wait",
    "an error of five megabytes",
    "a refusal in escape sequences",
)
SHARED: dict[str, Behaviour] = {name: ANSWERS[name] for name in _SOME} | {
    "an endless body": DRIPPING["an endless body"]
}
NO_VERSIONS: dict[str, Any] = {
    "a list": [1],
    "a number": 7,
    "null": None,
    "endless brackets": json.loads("[" * 50 + "]" * 50),
    "a version that is a list": {"Version": [["0.39.0"]]},
    "an endless version": {"Version": "9" * 1_000_000},
    "a version with escape sequences": {"Version": TEXTS["an escape sequence"]},
}
CLIENTS = {"pinata": 7, "kubo": 7, "download": 8}
# A data set's file may contain any bytes.
_FINE = [("download", "endless brackets"), ("download", "a login page")]
INPUTS = [(client, name) for client in CLIENTS for name in SHARED if (client, name) not in _FINE]


@pytest.mark.parametrize(("client", "name"), INPUTS)
def test_it_ends_in_one_sentence(client: str, name: str, call: Meet) -> None:
    with serving(SHARED[name]) as url:
        call(client, url).in_one_sentence(code=CLIENTS[client])


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_a_node_with_an_invalid_version(name: str, call: Meet) -> None:
    with serving(answer(json.dumps(NO_VERSIONS[name]))) as url:
        call("kubo", url).in_one_sentence(code=7)


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_an_invalid_answer_to_a_pin(name: str, call: Meet, tmp_path: Path) -> None:
    (tmp_path / "update").write_bytes(b"an update")
    with serving(answer(json.dumps(NO_VERSIONS[name]))) as url:
        call("pinata", url, "update").in_one_sentence(code=7)
