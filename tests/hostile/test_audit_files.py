"""Evidence files of audits, which strangers publish."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.conftest import Meet

STEP = {"signature": "s", "slot": 1, "at": 5}
ENTRY: dict[str, Any] = {
    "trainer": "t",
    "cid": "bafy",
    "paid_bps": 10_000,
    "fair_bps": 10_000,
    "noise_bps": 1,
    "correct": 9,
    "ties": 0,
    "submitted": STEP,
    "scored": None,
}
REPORT: dict[str, Any] = {
    "format": 1,
    "network": "genesis",
    "program_id": "program",
    "round_id": 7,
    "creator": "c",
    "validator": "v",
    "model_cid": "bafy",
    "dataset": "custom",
    "scored_on": "digits",
    "is_mapped": True,
    "samples": 10,
    "labels": "00",
    "reward_amount": 1,
    "baseline_score": 5000,
    "base_correct": 5,
    "base_ties": 0,
    "convention": "delta",
    "gradient_rate": 0.1,
    "verdict": "fair",
    "reasons": ["It is."],
    "entries": [ENTRY],
    "copies": [{"first": "t", "second": "u", "is_ordered": True, "cosine": 1.0, "same_cid": True}],
    "completed": STEP,
    "score_seconds": 1.5,
    "is_late": False,
    "versions": {"torch": "2"},
    "at": 5.0,
}


def changed(**fields: object) -> str:
    return json.dumps({**REPORT, **fields})


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "no file": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "noise": lambda path: path.write_bytes(os.urandom(1 << 16)),
    "fifty megabytes": lambda path: path.write_bytes(b" " * (50 << 20)),
    "no text": lambda path: path.write_bytes(b"\xff\xfe{\x00}\x00"),
    "brackets without end": text("[" * 500_000),
    "a list": text("[]"),
    "another format": text(changed(format=2)),
    "a field too few": text(json.dumps({name: value for name, value in REPORT.items() if name != "at"})),
    "a field too many": text(changed(more=1)),
    "a number of a megabyte": text(changed().replace('"samples": 10', '"samples": ' + "9" * 900_000)),
    "a number that is too large": text(changed(samples=2**64)),
    "a value that is not a number": text(changed().replace('"score_seconds": 1.5', '"score_seconds": NaN')),
    "a number without end": text(changed().replace('"score_seconds": 1.5', '"score_seconds": 1e999')),
    "a truth that is a number": text(changed(is_late=1)),
    "a round that is text": text(changed(round_id="7")),
    "a verdict that is a list": text(changed(verdict=["fair"])),
    "a convention of its own": text(changed(convention="\u001b[31msum")),
    "an entry that is none": text(changed(entries=[{**ENTRY, "submitted": "s"}])),
    "a reason of a megabyte": text(changed(reasons=["e" * 900_000])),
    "a name in escape sequences": text(changed(**{"\u001b[2J\u202e": 1})),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_evidence_file(name: str, run: Meet, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    HOSTILE[name](path)
    run("audit", "check", str(path)).in_one_sentence(code=17)


def test_a_valid_evidence_file_is_compared_with_the_chain(run: Meet, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(changed(validator="\u001b[31m\u202e"))
    run("audit", "check", str(path), "network.rpc_url=http://127.0.0.1:9").in_one_sentence(code=5)
