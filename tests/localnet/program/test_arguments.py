"""Instruction data that violates the protocol."""

from __future__ import annotations

import pytest

from decloud_pl.chain import borsh
from decloud_pl.chain.dialects.v1_0.datasets import DATASETS
from decloud_pl.chain.dialects.v1_0.errors import ErrorCode
from decloud_pl.chain.dialects.v1_2 import V1_2
from decloud_pl.legible import legible
from tests.localnet.program.conftest import GRADIENT_CID, Life, Ready, ReadyFactory, revisions

FALLBACK_NOT_FOUND = 101
DID_NOT_DESERIALIZE = 102


def test_every_truncation_is_refused(each_ready: tuple[str, Ready]) -> None:
    _, ready = each_ready
    data = bytes(ready.instruction.data)
    for length in range(len(data)):
        outcome = ready.send(data=data[:length])
        expected = FALLBACK_NOT_FOUND if length < 8 else DID_NOT_DESERIALIZE
        assert outcome.code == expected, length
        assert outcome.anchor_error is not None
        assert outcome.anchor_error[2] == expected
    assert ready.send().error is None


def test_bytes_after_the_arguments_are_refused(each_ready: tuple[str, Ready]) -> None:
    _, ready = each_ready
    assert ready.send(data=bytes(ready.instruction.data) + b"\0").code == DID_NOT_DESERIALIZE


@revisions("v1.0", "v1.1")
def test_an_instruction_of_a_later_revision_is_unknown(life: Life) -> None:
    """Clients detect the revision by this error."""
    abort = V1_2().abort_round(0, creator=life.creator.pubkey(), validator=life.validator.pubkey())
    outcome = life.training().chain.send(abort, life.validator)
    assert outcome.anchor_error == (None, "InstructionFallbackNotFound", 101)


def test_an_unknown_instruction_is_refused(ready: ReadyFactory) -> None:
    outcome = ready("claim_round").send(data=b"\1" * 16)
    assert outcome.code == FALLBACK_NOT_FOUND
    assert outcome.anchor_error == (None, "InstructionFallbackNotFound", 101)
    assert not any("Instruction: " in line for line in outcome.logs)


def create_data(ready: Ready, *, cid: bytes, dataset: int = 3) -> bytes:
    head = bytes(ready.instruction.data)[:16]
    return head + borsh.u32(len(cid)) + cid + borsh.u8(dataset) + borsh.u64(1)


@pytest.mark.parametrize("dataset", [len(DATASETS), 128, 255])
def test_an_unknown_data_set_is_refused(ready: ReadyFactory, dataset: int) -> None:
    create = ready("create_round")
    assert create.send(data=create_data(create, cid=b"b" * 46, dataset=dataset)).code == DID_NOT_DESERIALIZE


@pytest.mark.parametrize("dataset", range(len(DATASETS)))
def test_every_data_set_is_named_as_in_the_protocol(ready: ReadyFactory, dataset: int) -> None:
    create = ready("create_round")
    outcome = create.send(data=create_data(create, cid=b"b" * 46, dataset=dataset))
    assert f", Dataset: {DATASETS[dataset]}, Reward" in outcome.text_lines[0]
    assert create.life.chain.round(1).dataset == DATASETS[dataset].lower()


@pytest.mark.parametrize("length", [59, 60, 2**31, 2**32 - 1])
def test_a_string_longer_than_the_data_is_refused(ready: ReadyFactory, length: int) -> None:
    submit = ready("submit_gradients")
    data = bytes(submit.instruction.data)[:16] + borsh.u32(length) + GRADIENT_CID.encode()
    assert submit.send(data=data).code == DID_NOT_DESERIALIZE


@pytest.mark.parametrize("count", [0, 1, 3, 2**31, 2**32 - 1])
def test_a_vector_of_another_length_than_the_data_is_refused(ready: ReadyFactory, count: int) -> None:
    finalize = ready("finalize_round")
    data = bytes(finalize.instruction.data)
    assert finalize.send(data=data[:16] + borsh.u32(count) + data[20:]).code == DID_NOT_DESERIALIZE


# The boundary values of table 3-7 in The Unicode Standard, on both sides.
UTF8_BORDERS = [
    b"\x7f", b"\x80", b"\xbf", b"\xc1\xbf", b"\xc2\x80", b"\xc2\x7f", b"\xc2\xc0", b"\xdf\xbf", b"\xe0\x9f\xbf",
    b"\xe0\xa0\x80", b"\xe1\x80", b"\xec\xbf\xbf", b"\xed\x9f\xbf", b"\xed\xa0\x80", b"\xee\x80\x80",
    b"\xef\xbf\xbf", b"\xef\xbf\xc0", b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf1\x80\x80\x7f",
    b"\xf3\xbf\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\0",
]  # fmt: skip


@pytest.mark.parametrize("piece", UTF8_BORDERS, ids=bytes.hex)
@pytest.mark.parametrize("at_the_end", [False, True])
def test_text_is_utf8_by_the_same_rule_as_here(ready: ReadyFactory, piece: bytes, at_the_end: bool) -> None:
    create = ready("create_round")
    cid = b"b" * 46 + piece if at_the_end else b"b" * 20 + piece + b"b" * 26
    outcome = create.send(data=create_data(create, cid=cid))
    try:
        text = cid.decode()
    except UnicodeDecodeError:
        assert outcome.code == DID_NOT_DESERIALIZE
    else:
        assert outcome.error is None
        assert create.life.chain.round(1).model_cid == legible(text)


def test_a_cid_is_counted_in_bytes(life: Life) -> None:
    life.chain.must(life.initialize(), life.creator)
    outcome = life.chain.send(life.create(cid="é" * 46), life.creator)
    assert outcome.code == ErrorCode.InvalidCid
    life.chain.must(life.create(cid="é" * 23), life.creator)


def test_arguments_are_read_before_accounts_are_looked_at(ready: ReadyFactory) -> None:
    assert ready("claim_reward").send(data=b"\0" * 3, accounts=[]).code == FALLBACK_NOT_FOUND
    claim = ready("claim_reward")
    data = bytes(claim.instruction.data)
    assert claim.send(data=data[:-1], accounts=[]).code == DID_NOT_DESERIALIZE
