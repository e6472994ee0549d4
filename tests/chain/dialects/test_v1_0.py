"""The first revision of the program, against known bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialect import Reading
from decloud_pl.chain.dialects.v1_0 import events
from decloud_pl.chain.dialects.v1_0.accounts import write_dataset
from decloud_pl.chain.dialects.v1_0.errors import ErrorCode
from decloud_pl.chain.events import Event, GradientsSubmitted, RewardClaimed, TrainerJoined, ValidationCompleted
from decloud_pl.domain import Round, RoundCounter, RoundStatus, Submission
from decloud_pl.errors import DecodeError
from tests.chain.dialects.conformance import (
    CREATOR,
    GRADIENT_CID,
    MODEL_CID,
    TRAINER,
    VALIDATOR,
    DialectConformance,
    Golden,
    Sent,
    event_line,
)
from tests.chain.dialects.encoding import encode_round, encode_submission

# Accounts after a whole round of the program in the virtual machine, with their spare bytes.
COUNTER_BYTES = bytes.fromhex(
    "f402a5f0a80a01ee01000000000000002e5c36cd5ee97f721c6c1255bad7e8903bcfbeadd9384c8559d27311513c38cbfd"
)
ROUND_BYTES = bytes.fromhex(
    "577fa533494e74ae00000000000000002e5c36cd5ee97f721c6c1255bad7e8903bcfbeadd9384c8559d27311513c38cb"
    "3b00000062616679626569676479727a74357366703775646d37687537367568377932366e6633656675796c71616266"
    "336f636c67747179353566627a64690307ca9a3b00000000042617536b5028fe5460f629760fd2cc153de8127963f59d"
    "b888016f21efee085de803d204000000d2496b0000000010e0496b0000000058d4496b0000000010e0496b0000000002"
    "02fefe000000000001"
)
SUBMISSION_BYTES = bytes.fromhex(
    "3ac29f9e4b66b2c5000000000000000027f1cdf7f251576df2727f200a1eef50d90c3ffbdd3131b3f7dc205a2ea6e334"
    "2e000000516d597741504a7a7635435a736e4136323573335866326e656d7459675070486457457a37396f6a576e5062"
    "644701701701fe000000000000000000000000000000000000"
)
ROUND = Round(
    id=0,
    creator=CREATOR,
    model_cid=MODEL_CID,
    dataset="fashionmnist",
    reward_amount=1_000_000_007,
    status=RoundStatus.COMPLETED,
    validator=VALIDATOR,
    validator_fee_bps=1000,
    baseline_score=1234,
    created_at=1_800_000_000,
    validator_deadline=1_800_003_600,
    join_deadline=1_800_000_600,
    submit_deadline=1_800_003_600,
    trainers_count=2,
    submissions_count=2,
    bump=254,
    vault_bump=254,
    max_trainers=10,
)
SUBMISSION = Submission(
    round_id=0,
    trainer=TRAINER,
    gradient_cid=GRADIENT_CID,
    submitted=True,
    contribution_bps=6000,
    reward_claimed=True,
    bump=254,
)

SEVEN = bytes([7]) + bytes(7)
_7 = SEVEN.hex()
MODEL, GRADIENT = MODEL_CID.encode().hex(), GRADIENT_CID.encode().hex()


class TestV1_0(DialectConformance):
    NAME = "v1.0"
    PROGRAM_ID = "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC"
    MAX_TRAINERS = 10
    SUBMISSION_SIZE = 121
    DATASETS = 99
    READING = Reading("gradient", 0.1)
    TREASURY_FEE_BPS = 0
    CAN_ABORT = False
    ACCOUNTS: ClassVar[Mapping[str, Golden]] = {
        "Round": Golden("decode_round", ROUND_BYTES, ROUND, 195),
        "Submission": Golden("decode_submission", SUBMISSION_BYTES, SUBMISSION, 103),
        "RoundCounter": Golden("decode_round_counter", COUNTER_BYTES, RoundCounter(1, CREATOR, 253), 49),
    }
    INSTRUCTIONS: ClassVar[Mapping[str, Sent]] = {
        "initialize": Sent(
            lambda dialect: dialect.initialize(CREATOR), "afaf6d1f0d989bed", "round_counter w, creator w s, system"
        ),
        "create_round": Sent(
            lambda dialect: dialect.create_round(
                7, creator=CREATOR, model_cid=MODEL_CID, dataset="custom", reward_amount=5
            ),
            "e5daeca9e7508670" + _7 + "3b000000" + MODEL + "62" + "0500000000000000",
            "round_counter w, round w, vault w, creator w s, system",
        ),
        "cancel_round": Sent(
            lambda dialect: dialect.cancel_round(7, creator=CREATOR),
            "524686362e609408" + _7,
            "round w, vault w, creator w s, system",
        ),
        "claim_round": Sent(
            lambda dialect: dialect.claim_round(7, validator=VALIDATOR),
            "b4491763bacd0ec8" + _7,
            "round w, validator w s",
        ),
        "join_round": Sent(
            lambda dialect: dialect.join_round(7, trainer=TRAINER),
            "bfde5619eaae9df9" + _7,
            "round w, submission w, trainer w s, system",
        ),
        "start_training": Sent(
            lambda dialect: dialect.start_training(7, validator=VALIDATOR, baseline_score=9),
            "c8dc0b1bb3b473c0" + _7 + "09000000",
            "round w, validator w s",
        ),
        "submit_gradients": Sent(
            lambda dialect: dialect.submit_gradients(7, trainer=TRAINER, gradient_cid=GRADIENT_CID),
            "1c8b3fd1fbddef36" + _7 + "2e000000" + GRADIENT,
            "round w, submission w, trainer w s",
        ),
        "set_contribution": Sent(
            lambda dialect: dialect.set_contribution(7, validator=VALIDATOR, trainer=TRAINER, contribution_bps=0x1234),
            "e5b117aef2b4b4f2" + _7 + "3412",
            "round, submission w, validator s",
        ),
        "complete_validation": Sent(
            lambda dialect: dialect.complete_validation(7, validator=VALIDATOR),
            "76fcfd313e15f38c" + _7,
            "round w, vault w, validator w s, system",
        ),
        "finalize_round": Sent(
            lambda dialect: dialect.finalize_round(7, validator=VALIDATOR, results=[(TRAINER, 10_000)]),
            "efa0fe0bfe903594" + _7 + "01000000" + bytes(TRAINER).hex() + "1027",
            "round w, validator s, submission w",
        ),
        "claim_reward": Sent(
            lambda dialect: dialect.claim_reward(7, trainer=TRAINER),
            "955fb5f25e5a9ea2" + _7,
            "round, submission w, vault w, trainer w s, system",
        ),
        "claim_validator_fee": Sent(
            lambda dialect: dialect.claim_validator_fee(7, validator=VALIDATOR),
            "106394573c39fa91" + _7,
            "round w, vault w, validator w s, system",
        ),
        "check_round": Sent(
            lambda dialect: dialect.check_round(7, creator=CREATOR),
            "951f46dd890522d8" + _7,
            "round w, vault w, creator w, system",
        ),
    }
    EVENTS: ClassVar[Mapping[str, tuple[bytes, Event]]] = {
        "RoundCreated": (
            SEVEN + bytes(CREATOR) + borsh.string(MODEL_CID) + bytes([3]) + borsh.u64(5) + borsh.i64(-6),
            events.RoundCreated(7, CREATOR, MODEL_CID, "fashionmnist", 5, -6),
        ),
        "ValidatorClaimed": (
            SEVEN + bytes(VALIDATOR) + borsh.i64(8),
            events.ValidatorClaimed(7, VALIDATOR, 8),
        ),
        "TrainerJoined": (SEVEN + bytes(TRAINER) + bytes([9]), TrainerJoined(7, TRAINER, 9)),
        "TrainingStarted": (
            SEVEN + borsh.u32(1234) + borsh.i64(10) + bytes([2]),
            events.TrainingStarted(7, 1234, 10, 2),
        ),
        "GradientsSubmitted": (
            SEVEN + bytes(TRAINER) + borsh.string(GRADIENT_CID) + bytes([1]),
            GradientsSubmitted(7, TRAINER, GRADIENT_CID, 1),
        ),
        "TrainingEnded": (SEVEN + bytes([2]), events.TrainingEnded(7, 2)),
        "ValidationCompleted": (SEVEN, ValidationCompleted(7)),
        "RoundFinalized": (
            SEVEN + borsh.u64(1) + borsh.u64(9) + borsh.u32(1) + bytes(TRAINER) + borsh.u16(10_000),
            events.RoundFinalized(7, 1, 9, ((TRAINER, 10_000),)),
        ),
        "RewardClaimed": (SEVEN + bytes(TRAINER) + borsh.u64(11), RewardClaimed(7, TRAINER, 11)),
        "ValidatorFeeClaimed": (
            SEVEN + bytes(VALIDATOR) + borsh.u64(12),
            events.ValidatorFeeClaimed(7, VALIDATOR, 12),
        ),
        "RoundExpired": (
            SEVEN + bytes([2]) + borsh.u64(13),
            events.RoundExpired(7, events.ExpireReason.NO_SUBMISSIONS, 13),
        ),
        "RoundCancelled": (SEVEN, events.RoundCancelled(7)),
    }
    ERRORS: ClassVar[Mapping[int, str]] = {code.value: code.name for code in ErrorCode}

    def encode_round(self, value: Round) -> bytes:
        return encode_round(value)

    def encode_submission(self, value: Submission) -> bytes:
        return encode_submission(value)

    @pytest.mark.parametrize(
        ("namespace", "name", "expected"),
        [("account", "Round", "577fa533494e74ae"), ("event", "TrainerJoined", "2c0ac486b8b15956")],
    )
    def test_discriminators_known_from_the_public_program(self, namespace: str, name: str, expected: str) -> None:
        assert discriminator(namespace, name).hex() == expected

    def test_submission_addresses_are_the_protocols(self) -> None:
        seeds = [b"submission", SEVEN, bytes(TRAINER)]
        address = Pubkey.find_program_address(seeds, Pubkey.from_string(self.PROGRAM_ID))[0]
        assert self.dialect().submission_address(7, TRAINER) == address

    def test_an_unclaimed_round_has_no_validator(self) -> None:
        round_bytes = self.ACCOUNTS["Round"].data
        start = round_bytes.index(bytes(VALIDATOR))
        unclaimed = round_bytes[:start] + bytes(32) + round_bytes[start + 32 :]
        assert self.dialect().decode_round(unclaimed).validator is None

    @pytest.mark.parametrize(
        ("offset", "value", "message"),
        [
            (52 + len(MODEL_CID), 99, "Data set number 99 is unknown"),
            (52 + len(MODEL_CID) + 9, 7, "Round status 7 is unknown"),
            (52, 0xFF, "not UTF-8"),
            (51, 0xFF, "ends after"),
        ],
    )
    def test_a_value_out_of_range_in_a_round_is_refused(self, offset: int, value: int, message: str) -> None:
        with pytest.raises(DecodeError, match=message):
            self.dialect().decode_round(changed(self.ACCOUNTS["Round"].data, offset, value))

    @pytest.mark.parametrize("field", [0, 3])
    def test_a_boolean_is_zero_or_one(self, field: int) -> None:
        odd = changed(self.ACCOUNTS["Submission"].data, 52 + len(GRADIENT_CID) + field, 2)
        with pytest.raises(DecodeError, match="2 instead of a boolean"):
            self.dialect().decode_submission(odd)

    def test_an_unknown_data_set_is_not_written(self) -> None:
        with pytest.raises(DecodeError, match="no data set 'Mnist'"):
            write_dataset("Mnist")

    def test_an_unknown_reason_is_passed_over(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.logged(event_line("RoundExpired", SEVEN + bytes([3]) + borsh.u64(13))) == []
        assert "Expire reason 3 is unknown" in caplog.text


def changed(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + bytes([value]) + data[offset + 1 :]
