"""Instructions, accounts, events and codes of each revision match its published IDL."""

from __future__ import annotations

import base64
import dataclasses
import inspect
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.errors import ProgramError
from tests.chain.dialects.conformance import CREATOR, TRAINER, VALIDATOR
from tests.chain.dialects.idl import Idl

IDLS = {name: Idl(name) for name in ("v1.0", "v1.1", "v1.2")}
TREASURY = Pubkey.from_string("FzuCxi65QyFXAGbHcXB28RXqyBZSZ5KXLQxeofx1P9K2")
REFERRER = Pubkey.from_bytes(b"\7" * 32)
WHO = {"creator": CREATOR, "validator": VALIDATOR, "trainer": TRAINER, "authority": CREATOR, "treasury": TREASURY}
CASES = 20


def cases(part: str) -> list[tuple[str, str]]:
    return [(revision, name) for revision, idl in IDLS.items() for name in getattr(idl, part)]


def values(revision: str, name: str, kind: Any) -> list[Any]:
    """Yield random values of a type, the same ones in each run."""
    random = Random(f"{revision} {name}")
    return [IDLS[revision].sample(kind, random) for _ in range(CASES)]


def plain(value: Any) -> Any:
    """Convert a value of an IDL to the package's type."""
    if isinstance(value, list):
        return tuple(plain(entry) for entry in value)
    return tuple(value.values()) if isinstance(value, Mapping) else value


@pytest.mark.parametrize(("revision", "name"), cases("instructions"))
@pytest.mark.parametrize("referrer", [None, REFERRER], ids=["no referrer", "referrer"])
def test_an_instruction(revision: str, name: str, referrer: Pubkey | None) -> None:
    idl, dialect = IDLS[revision], get_dialect(revision, referrer=referrer)
    who = WHO if referrer is None else {**WHO, "referrer": referrer}
    fields = idl.instructions[name]["args"]
    make = getattr(dialect, name)
    for arguments in values(revision, name, {"defined": {"name": _as_struct(idl, name, fields)}}):
        given = {key: plain(value) for key, value in arguments.items()}
        if "dataset" in given:
            given["dataset"] = given["dataset"].lower()
        known = {**who, **given}
        sent = make(**{key: known[key] for key in inspect.signature(make).parameters})
        expected = idl.instruction(name, arguments, who)
        accounts = sent.accounts
        if name == "finalize_round":  # the submissions follow; an IDL does not list them
            accounts = accounts[: len(expected.accounts)]
        assert (sent.program_id, bytes(sent.data)) == (expected.program_id, bytes(expected.data))
        assert accounts == expected.accounts


def _as_struct(idl: Idl, name: str, fields: list[dict[str, Any]]) -> str:
    """Define a struct type with the arguments of an instruction, including the round's id, and return its name."""
    idl.types[f"{name} arguments"] = {"kind": "struct", "fields": fields}
    return f"{name} arguments"


DECODERS = {"Round": "decode_round", "Submission": "decode_submission", "RoundCounter": "decode_round_counter"}
STATUSES = {"WaitingValidator": "WAITING_VALIDATOR", "WaitingTrainers": "WAITING_TRAINERS"}


@pytest.mark.parametrize(("revision", "name"), cases("accounts"))
@pytest.mark.parametrize("spare", [b"", b"\1" * 9], ids=["exact", "spare room"])
def test_an_account(revision: str, name: str, spare: bytes) -> None:
    idl, dialect = IDLS[revision], get_dialect(revision)
    for value in values(revision, name, {"defined": {"name": name}}):
        found = getattr(dialect, DECODERS[name])(idl.account(name, value) + spare)
        expected = {key: plain(entry) for key, entry in value.items()}
        if name == "Round":
            expected["dataset"] = expected["dataset"].lower()
            expected["max_trainers"], expected["treasury_fee_bps"] = 10, 0 if revision == "v1.0" else 200
            status = expected.pop("status")
            assert found.status.name == STATUSES.get(status, status.upper())
            found = {key: entry for key, entry in dataclasses.asdict(found).items() if key != "status"}
            assert found == expected
        else:
            assert dataclasses.asdict(found) == expected


REASONS = {"NoValidator": 0, "NoTrainers": 1, "NoSubmissions": 2}


@pytest.mark.parametrize(("revision", "name"), cases("events"))
@pytest.mark.parametrize("more", [b"", b"\0", b"\7" * 40], ids=["exact", "one byte more", "fields of a later revision"])
def test_an_event(revision: str, name: str, more: bytes) -> None:
    idl, dialect = IDLS[revision], get_dialect(revision)
    begun, ended = (f"Program {idl.program_id} {word}" for word in ("invoke [1]", "success"))
    for value in values(revision, name, {"defined": {"name": name}}):
        line = base64.b64encode(idl.event(name, value) + more).decode()
        (found,) = dialect.events([begun, f"Program data: {line}", ended])
        expected = {key: plain(entry) for key, entry in value.items()}
        if "dataset" in expected:
            expected["dataset"] = expected["dataset"].lower()
        if "reason" in expected:
            expected["reason"] = REASONS[expected["reason"]]
        assert type(found).__name__ == name
        assert dataclasses.asdict(found) == expected


@pytest.mark.parametrize("revision", IDLS)
def test_the_codes(revision: str) -> None:
    idl, dialect = IDLS[revision], get_dialect(revision)
    for code, name in idl.errors.items():
        error = dialect.error(code)
        assert isinstance(error, ProgramError)
        assert error.name == name
        assert error.message.startswith("The program refused: ")
    beyond = dialect.error(max(idl.errors) + 1)
    assert isinstance(beyond, ProgramError)
    assert beyond.name == f"Custom{max(idl.errors) + 1}"


@pytest.mark.parametrize("revision", IDLS)
def test_the_address_and_the_data_sets(revision: str) -> None:
    idl, dialect = IDLS[revision], get_dialect(revision)
    assert dialect.program_id == idl.program_id
    assert list(dialect.datasets) == [variant["name"].lower() for variant in idl.types["Dataset"]["variants"]]


def test_the_documents_say_the_same() -> None:
    """The bytes in the protocol's documents match the same IDLs."""
    v1_2 = IDLS["v1.2"]
    printed = {
        "claim_reward": "955fb5f25e5a9ea2",
        "claim_validator_fee": "106394573c39fa91",
        "complete_validation": "76fcfd313e15f38c",
        "abort_round": "0fa52fc66ccf96d0",
        "join_round": "bfde5619eaae9df9",
        "submit_gradients": "1c8b3fd1fbddef36",
    }
    assert {name: bytes(v1_2.instructions[name]["discriminator"]).hex() for name in printed} == printed
    assert v1_2.events["RewardClaimed"].hex() == "311c57549e30e5af"
    assert v1_2.events["ValidatorFeeClaimed"].hex() == "10b4381efbff55fb"
    assert v1_2.events["RoundAborted"].hex() == "5aa0a1418555454c"
