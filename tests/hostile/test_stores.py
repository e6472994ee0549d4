"""What Pinata, IPFS nodes and mirrors of data sets answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Meet
from tests.hostile.wire import ANSWERS, DRIPPING, TEXTS, Behaviour, answer, serving

# What every client's exchange has in common is met by each with the answers that read differently.
_SOME = (
    "a redirect without end",
    "a redirect to itself",
    "a compressed bomb",
    "a chunk size without end",
    "headers without end",
    "continue without end",
    "a status that is none",
    "a page to log in",
    "brackets without end",
    "a wait beyond numbers",
    "an error of five megabytes",
    "a refusal in escape sequences",
)
SHARED: dict[str, Behaviour] = {name: ANSWERS[name] for name in _SOME} | {
    "a body without end": DRIPPING["a body without end"]
}
NO_VERSIONS: dict[str, Any] = {
    "a list": [1],
    "a number": 7,
    "nothing": None,
    "brackets without end": json.loads("[" * 50 + "]" * 50),
    "a version that is a list": {"Version": [["0.39.0"]]},
    "a version without end": {"Version": "9" * 1_000_000},
    "a version in letters": {"Version": TEXTS["an escape sequence"]},
}
CLIENTS = {"pinata": 7, "kubo": 7, "download": 8}
# A data set's file is any bytes.
_FINE = [("download", "brackets without end"), ("download", "a page to log in")]
INPUTS = [(client, name) for client in CLIENTS for name in SHARED if (client, name) not in _FINE]


@pytest.mark.parametrize(("client", "name"), INPUTS)
def test_it_ends_in_one_sentence(client: str, name: str, call: Meet) -> None:
    with serving(SHARED[name]) as url:
        call(client, url).in_one_sentence(code=CLIENTS[client])


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_a_node_of_no_version(name: str, call: Meet) -> None:
    with serving(answer(json.dumps(NO_VERSIONS[name]))) as url:
        call("kubo", url).in_one_sentence(code=7)


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_a_pin_that_is_none(name: str, call: Meet, tmp_path: Path) -> None:
    (tmp_path / "update").write_bytes(b"an update")
    with serving(answer(json.dumps(NO_VERSIONS[name]))) as url:
        call("pinata", url, "update").in_one_sentence(code=7)
