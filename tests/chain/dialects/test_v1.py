"""The codec of the program's first version, against known bytes and against itself."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.dialects.v1 import (
    DEFAULT_PROGRAM_ID,
    SYSTEM_PROGRAM_ID,
    V1,
    ErrorCode,
    decode_round,
    decode_round_counter,
    decode_submission,
    discriminator,
    error_from_code,
    events,
)
from decloud_pl.chain.dialects.v1.accounts import encode_round, encode_submission, write_dataset
from decloud_pl.chain.dialects.v1.datasets import DATASET_INDEX, DATASETS
from decloud_pl.domain import ExpireReason, Round, RoundStatus, Submission
from decloud_pl.errors import DecodeError, InsufficientFunds, ProgramError

CREATOR = Pubkey.from_string("47yJuRwYZf5tUkpCKW6KAYPV9fhUrTKtw7kVQdqpqzuG")
VALIDATOR = Pubkey.from_string("3Zh85UeXw8TuV7jv321EEiNDoSe6xLSPoNaYF92eJryr")
TRAINER = Pubkey.from_string("3gvkhRVQCC7k5xBi5UwxU4gcTKp3h45jhP23VjX7M3UF")
MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
GRADIENT_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"

# Accounts as the program in the virtual machine left them after a whole round, spare room included.
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


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [
        ("global", "join_round", "bfde5619eaae9df9"),
        ("global", "submit_gradients", "1c8b3fd1fbddef36"),
        ("global", "claim_reward", "955fb5f25e5a9ea2"),
        ("account", "Round", "577fa533494e74ae"),
        ("event", "TrainerJoined", "2c0ac486b8b15956"),
    ],
)
def test_discriminators_known_from_the_public_program(namespace: str, name: str, expected: str) -> None:
    assert discriminator(namespace, name).hex() == expected


class TestAccounts:
    def test_a_round_of_the_real_program(self) -> None:
        assert decode_round(ROUND_BYTES) == ROUND

    def test_a_submission_of_the_real_program(self) -> None:
        assert decode_submission(SUBMISSION_BYTES) == SUBMISSION

    def test_a_counter_of_the_real_program(self) -> None:
        counter = decode_round_counter(COUNTER_BYTES)
        assert (counter.count, counter.authority, counter.bump) == (1, CREATOR, 253)

    def test_encoding_gives_the_same_bytes_without_the_spare_room(self) -> None:
        for encoded, stored in (
            (encode_round(ROUND), ROUND_BYTES),
            (encode_submission(SUBMISSION), SUBMISSION_BYTES),
        ):
            assert stored.startswith(encoded)
            assert len(stored) - len(encoded) < 64

    def test_an_unclaimed_round_has_no_validator(self) -> None:
        start = ROUND_BYTES.index(bytes(VALIDATOR))
        unclaimed = ROUND_BYTES[:start] + bytes(32) + ROUND_BYTES[start + 32 :]
        assert decode_round(unclaimed).validator is None

    @pytest.mark.parametrize(
        ("decode", "data", "what", "needed"),
        [
            (decode_round, ROUND_BYTES, "Round", len(encode_round(ROUND))),
            (decode_submission, SUBMISSION_BYTES, "Submission", len(encode_submission(SUBMISSION))),
            (decode_round_counter, COUNTER_BYTES, "RoundCounter", len(COUNTER_BYTES)),
        ],
    )
    def test_a_short_account_is_refused(
        self, decode: Callable[[bytes], object], data: bytes, what: str, needed: int
    ) -> None:
        for length in range(needed):
            with pytest.raises(DecodeError, match=f"{what} ends after {length} bytes"):
                decode(data[:length])
        decode(data[:needed])

    @pytest.mark.parametrize(
        ("decode", "own"),
        [(decode_round, ROUND_BYTES), (decode_submission, SUBMISSION_BYTES), (decode_round_counter, COUNTER_BYTES)],
    )
    def test_another_account_is_refused(self, decode: Callable[[bytes], object], own: bytes) -> None:
        for data in {ROUND_BYTES, SUBMISSION_BYTES, COUNTER_BYTES, bytes(300)} - {own}:
            with pytest.raises(DecodeError, match="the discriminator differs"):
                decode(data)

    def changed(self, data: bytes, offset: int, value: int) -> bytes:
        return data[:offset] + bytes([value]) + data[offset + 1 :]

    @pytest.mark.parametrize(
        ("offset", "value", "message"),
        [
            (52 + len(MODEL_CID), len(DATASETS), "Data set number 99 is unknown"),
            (52 + len(MODEL_CID) + 9, 7, "Round status 7 is unknown"),
            (52, 0xFF, "not UTF-8"),
            (51, 0xFF, "ends after"),
        ],
    )
    def test_a_value_out_of_range_in_a_round_is_refused(self, offset: int, value: int, message: str) -> None:
        with pytest.raises(DecodeError, match=message):
            decode_round(self.changed(ROUND_BYTES, offset, value))

    @pytest.mark.parametrize("field", [0, 3])
    def test_a_boolean_is_zero_or_one(self, field: int) -> None:
        data = self.changed(SUBMISSION_BYTES, 52 + len(GRADIENT_CID) + field, 2)
        with pytest.raises(DecodeError, match="2 where a boolean must stand"):
            decode_submission(data)

    def test_an_unknown_data_set_is_not_written(self) -> None:
        with pytest.raises(DecodeError, match="knows no data set named 'Mnist'"):
            write_dataset("Mnist")


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(min_value=0, max_value=2**bits - 1)


pubkeys = st.binary(min_size=32, max_size=32).map(Pubkey.from_bytes)
validators = st.none() | pubkeys.filter(lambda key: key != Pubkey.default())
times = st.integers(min_value=-(2**63), max_value=2**63 - 1)
text = st.text(max_size=64)
rounds = st.builds(
    Round,
    id=integers(64),
    creator=pubkeys,
    model_cid=text,
    dataset=st.sampled_from(sorted(DATASET_INDEX)),
    reward_amount=integers(64),
    status=st.sampled_from(RoundStatus),
    validator=validators,
    validator_fee_bps=integers(16),
    baseline_score=integers(32),
    created_at=times,
    validator_deadline=times,
    join_deadline=times,
    submit_deadline=times,
    trainers_count=integers(8),
    submissions_count=integers(8),
    bump=integers(8),
    vault_bump=integers(8),
)
submissions = st.builds(
    Submission,
    round_id=integers(64),
    trainer=pubkeys,
    gradient_cid=text,
    submitted=st.booleans(),
    contribution_bps=integers(16),
    reward_claimed=st.booleans(),
    bump=integers(8),
)
repeatable = settings(max_examples=100, derandomize=True, database=None, deadline=None)


@repeatable
@given(value=rounds, spare=st.binary(max_size=40))
def test_every_round_survives_the_wire(value: Round, spare: bytes) -> None:
    assert decode_round(encode_round(value) + spare) == value


@repeatable
@given(value=submissions, spare=st.binary(max_size=40))
def test_every_submission_survives_the_wire(value: Submission, spare: bytes) -> None:
    assert decode_submission(encode_submission(value) + spare) == value


@repeatable
@given(data=st.binary(max_size=300))
def test_garbage_is_refused_in_an_orderly_way(data: bytes) -> None:
    for head, decode in (
        (ROUND_BYTES, decode_round),
        (SUBMISSION_BYTES, decode_submission),
        (COUNTER_BYTES, decode_round_counter),
    ):
        with suppress(DecodeError):  # anything else is a failure
            decode(head[:8] + data)


class TestAddresses:
    def test_seeds_are_the_protocols(self) -> None:
        dialect = V1()
        number = (0x0102030405060708).to_bytes(8, "little")
        seeds: list[tuple[Pubkey, list[bytes]]] = [
            (dialect.round_counter_address(), [b"round_counter"]),
            (dialect.round_address(0x0102030405060708), [b"round", number]),
            (dialect.vault_address(0x0102030405060708), [b"vault", number]),
            (
                dialect.submission_address(0x0102030405060708, TRAINER),
                [b"submission", number, bytes(TRAINER)],
            ),
        ]
        for address, parts in seeds:
            assert address == Pubkey.find_program_address(parts, DEFAULT_PROGRAM_ID)[0]

    def test_another_program_has_other_addresses(self) -> None:
        assert V1(TRAINER).round_address(0) != V1().round_address(0)

    @pytest.mark.parametrize("round_id", [-1, 2**64])
    def test_a_round_id_is_64_bits(self, round_id: int) -> None:
        with pytest.raises(struct.error):
            V1().round_address(round_id)

    def test_filters_match_the_stored_bytes(self) -> None:
        dialect = V1()
        for filters, data in (
            (dialect.rounds_filter(), ROUND_BYTES),
            (dialect.submissions_filter(TRAINER), SUBMISSION_BYTES),
            (dialect.round_submissions_filter(0), SUBMISSION_BYTES),
        ):
            for offset, expected in filters:
                assert data[offset:].startswith(expected)
        offset, expected = dialect.submissions_filter(CREATOR)[1]
        assert not SUBMISSION_BYTES[offset:].startswith(expected)


def flags(name: str) -> list[str]:
    """An instruction's accounts as the protocol's table writes them."""
    dialect = V1()
    names = {
        dialect.round_counter_address(): "round_counter",
        dialect.round_address(7): "round",
        dialect.vault_address(7): "vault",
        dialect.submission_address(7, TRAINER): "submission",
        CREATOR: "creator",
        VALIDATOR: "validator",
        TRAINER: "trainer",
        SYSTEM_PROGRAM_ID: "system",
    }
    return [
        names[meta.pubkey] + " w" * meta.is_writable + " s" * meta.is_signer for meta in INSTRUCTIONS[name]().accounts
    ]


INSTRUCTIONS = {
    "initialize": lambda: V1().initialize(CREATOR),
    "create_round": lambda: V1().create_round(
        7, creator=CREATOR, model_cid=MODEL_CID, dataset="custom", reward_amount=5
    ),
    "cancel_round": lambda: V1().cancel_round(7, creator=CREATOR),
    "claim_round": lambda: V1().claim_round(7, validator=VALIDATOR),
    "join_round": lambda: V1().join_round(7, trainer=TRAINER),
    "start_training": lambda: V1().start_training(7, validator=VALIDATOR, baseline_score=9),
    "submit_gradients": lambda: V1().submit_gradients(7, trainer=TRAINER, gradient_cid=GRADIENT_CID),
    "set_contribution": lambda: V1().set_contribution(7, validator=VALIDATOR, trainer=TRAINER, contribution_bps=0x1234),
    "complete_validation": lambda: V1().complete_validation(7, validator=VALIDATOR),
    "finalize_round": lambda: V1().finalize_round(7, validator=VALIDATOR, results=[(TRAINER, 10_000)]),
    "claim_reward": lambda: V1().claim_reward(7, trainer=TRAINER),
    "claim_validator_fee": lambda: V1().claim_validator_fee(7, validator=VALIDATOR),
    "check_round": lambda: V1().check_round(7, creator=CREATOR),
}
SEVEN = bytes([7]) + bytes(7)
ARGUMENTS = {
    "initialize": b"",
    "create_round": SEVEN + bytes([59, 0, 0, 0]) + MODEL_CID.encode() + bytes([98, 5]) + bytes(7),
    "start_training": SEVEN + bytes([9, 0, 0, 0]),
    "submit_gradients": SEVEN + bytes([46, 0, 0, 0]) + GRADIENT_CID.encode(),
    "set_contribution": SEVEN + bytes([0x34, 0x12]),
    "finalize_round": SEVEN + bytes([1, 0, 0, 0]) + bytes(TRAINER) + bytes([0x10, 0x27]),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instruction_data_is_discriminator_and_borsh(name: str) -> None:
    instruction = INSTRUCTIONS[name]()
    assert instruction.program_id == DEFAULT_PROGRAM_ID
    head = sha256(f"global:{name}".encode()).digest()[:8]
    assert bytes(instruction.data) == head + ARGUMENTS.get(name, SEVEN)


@pytest.mark.parametrize(
    ("name", "accounts"),
    [
        ("initialize", "round_counter w, creator w s, system"),
        ("create_round", "round_counter w, round w, vault w, creator w s, system"),
        ("cancel_round", "round w, vault w, creator w s, system"),
        ("claim_round", "round w, validator w s"),
        ("join_round", "round w, submission w, trainer w s, system"),
        ("start_training", "round w, validator w s"),
        ("submit_gradients", "round w, submission w, trainer w s"),
        ("set_contribution", "round, submission w, validator s"),
        ("complete_validation", "round w, vault w, validator w s, system"),
        ("finalize_round", "round w, validator s, submission w"),
        ("claim_reward", "round, submission w, vault w, trainer w s, system"),
        ("claim_validator_fee", "round w, vault w, validator w s, system"),
        ("check_round", "round w, vault w, creator w, system"),
    ],
)
def test_accounts_stand_in_the_protocols_order(name: str, accounts: str) -> None:
    assert ", ".join(flags(name)) == accounts


OWN, OTHER = str(DEFAULT_PROGRAM_ID), "11111111111111111111111111111111"


def event_line(name: str, body: bytes) -> str:
    return "Program data: " + base64.b64encode(discriminator("event", name) + body).decode()


EVENTS = {
    "RoundCreated": (
        SEVEN + bytes(CREATOR) + borsh.string(MODEL_CID) + bytes([3]) + borsh.u64(5) + borsh.i64(-6),
        events.RoundCreated(7, CREATOR, MODEL_CID, "fashionmnist", 5, -6),
    ),
    "ValidatorClaimed": (
        SEVEN + bytes(VALIDATOR) + borsh.i64(8),
        events.ValidatorClaimed(7, VALIDATOR, 8),
    ),
    "TrainerJoined": (SEVEN + bytes(TRAINER) + bytes([9]), events.TrainerJoined(7, TRAINER, 9)),
    "TrainingStarted": (
        SEVEN + borsh.u32(1234) + borsh.i64(10) + bytes([2]),
        events.TrainingStarted(7, 1234, 10, 2),
    ),
    "GradientsSubmitted": (
        SEVEN + bytes(TRAINER) + borsh.string(GRADIENT_CID) + bytes([1]),
        events.GradientsSubmitted(7, TRAINER, GRADIENT_CID, 1),
    ),
    "TrainingEnded": (SEVEN + bytes([2]), events.TrainingEnded(7, 2)),
    "ValidationCompleted": (SEVEN, events.ValidationCompleted(7)),
    "RoundFinalized": (
        SEVEN + borsh.u64(1) + borsh.u64(9) + borsh.u32(1) + bytes(TRAINER) + borsh.u16(10_000),
        events.RoundFinalized(7, 1, 9, ((TRAINER, 10_000),)),
    ),
    "RewardClaimed": (SEVEN + bytes(TRAINER) + borsh.u64(11), events.RewardClaimed(7, TRAINER, 11)),
    "ValidatorFeeClaimed": (
        SEVEN + bytes(VALIDATOR) + borsh.u64(12),
        events.ValidatorFeeClaimed(7, VALIDATOR, 12),
    ),
    "RoundExpired": (
        SEVEN + bytes([2]) + borsh.u64(13),
        events.RoundExpired(7, ExpireReason.NO_SUBMISSIONS, 13),
    ),
    "RoundCancelled": (SEVEN, events.RoundCancelled(7)),
}


class TestEvents:
    def own(self, *lines: str) -> list[events.Event]:
        return list(V1().events([f"Program {OWN} invoke [1]", *lines, f"Program {OWN} success"]))

    @pytest.mark.parametrize("name", EVENTS)
    def test_every_event_decodes(self, name: str) -> None:
        body, expected = EVENTS[name]
        assert self.own(event_line(name, body)) == [expected]

    @pytest.mark.parametrize("name", EVENTS)
    def test_an_event_of_another_length_is_refused(self, name: str) -> None:
        body, _ = EVENTS[name]
        with pytest.raises(DecodeError, match="ends after"):
            self.own(event_line(name, body[:-1]))
        with pytest.raises(DecodeError, match="1 bytes too many"):
            self.own(event_line(name, body + b"\0"))

    def test_an_unknown_reason_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="Expire reason 3 is unknown"):
            self.own(event_line("RoundExpired", SEVEN + bytes([3]) + borsh.u64(13)))

    def test_what_is_not_base64_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="not base64"):
            self.own("Program data: ***")

    def test_events_this_version_does_not_know_are_passed_over(self) -> None:
        lines = event_line("SomethingNew", b"\1\2\3"), event_line("TrainingEnded", SEVEN + b"\1")
        assert self.own(*lines) == [events.TrainingEnded(7, 1)]

    def test_events_come_in_order_with_other_lines_between(self) -> None:
        lines = (
            "Program log: Instruction: SubmitGradients",
            event_line("TrainingEnded", SEVEN + b"\1"),
            f"Program {OTHER} invoke [2]",
            f"Program {OTHER} success",
            event_line("RoundCancelled", SEVEN),
            f"Program {OWN} consumed 9711 of 200000 compute units",
            "Program return: abc ZGVm",
        )
        assert self.own(*lines) == [events.TrainingEnded(7, 1), events.RoundCancelled(7)]

    @pytest.mark.parametrize(
        "lines",
        [
            (event_line("RoundCancelled", SEVEN),),
            (f"Program {OTHER} invoke [1]", event_line("RoundCancelled", SEVEN), f"Program {OTHER} success"),
            (
                f"Program {OWN} invoke [1]",
                f"Program {OTHER} invoke [2]",
                event_line("RoundCancelled", SEVEN),
                f"Program {OTHER} success",
                f"Program {OWN} success",
            ),
            (
                f"Program {OWN} invoke [1]",
                f"Program {OWN} success",
                f"Program {OTHER} invoke [1]",
                event_line("RoundCancelled", SEVEN),
            ),
            (
                f"Program {OWN} invoke [1]",
                f"Program {OWN} failed: custom program error: 0x1770",
                event_line("RoundCancelled", SEVEN),
            ),
        ],
        ids=["outside any program", "another program", "called program", "after success", "after failure"],
    )
    def test_data_of_others_is_not_the_programs(self, lines: tuple[str, ...]) -> None:
        assert list(V1().events(lines)) == []

    @pytest.mark.parametrize(
        "spoof",
        [
            f"Program log: Program {OTHER} success",
            f"Program log: Program {OWN} invoke [2]",
            f"Program log: Program {OWN} invoke [1]",
            "Program log: success",
        ],
    )
    def test_another_program_cannot_talk_itself_into_the_programs_place(self, spoof: str) -> None:
        lines = (
            f"Program {OWN} invoke [1]",
            f"Program {OTHER} invoke [2]",
            spoof,
            event_line("RoundCancelled", SEVEN),
            f"Program {OTHER} success",
            event_line("TrainingEnded", SEVEN + b"\1"),
            f"Program {OWN} success",
        )
        assert list(V1().events(lines)) == [events.TrainingEnded(7, 1)]

    def test_the_program_called_by_another_is_heard(self) -> None:
        lines = (
            f"Program {OTHER} invoke [1]",
            f"Program {OWN} invoke [2]",
            event_line("RoundCancelled", SEVEN),
            f"Program {OWN} success",
            event_line("TrainingEnded", SEVEN + b"\1"),
            f"Program {OTHER} success",
        )
        assert list(V1().events(lines)) == [events.RoundCancelled(7)]

    def test_a_cut_log_gives_what_it_holds(self) -> None:
        lines = (f"Program {OWN} invoke [1]", event_line("RoundCancelled", SEVEN), "Log truncated")
        assert list(V1().events(lines)) == [events.RoundCancelled(7)]


class TestErrors:
    @pytest.mark.parametrize("code", ErrorCode)
    def test_every_code_has_a_name_and_a_sentence(self, code: ErrorCode) -> None:
        error = error_from_code(code.value, ("a line",))
        assert isinstance(error, ProgramError)
        assert (error.code, error.name, error.logs) == (code.value, code.name, ("a line",))
        assert f"({code.name}, {code.value})" in str(error)

    def test_codes_are_the_protocols(self) -> None:
        assert [code.value for code in ErrorCode] == list(range(6000, 6021))
        assert (ErrorCode.CannotCancel, ErrorCode.RoundNotValidating) == (6003, 6020)

    @pytest.mark.parametrize(
        ("code", "name"),
        [(0, "AccountAlreadyInUse"), (2006, "ConstraintSeeds"), (3012, "AccountNotInitialized")],
    )
    def test_codes_of_others_are_named(self, code: int, name: str) -> None:
        error = error_from_code(code)
        assert isinstance(error, ProgramError)
        assert (error.code, error.name) == (code, name)

    def test_an_unknown_code_keeps_its_number(self) -> None:
        error = error_from_code(4711)
        assert isinstance(error, ProgramError)
        assert (error.code, error.name) == (4711, "Custom4711")

    def test_too_few_lamports_are_their_own_error(self) -> None:
        assert isinstance(error_from_code(1), InsufficientFunds)
