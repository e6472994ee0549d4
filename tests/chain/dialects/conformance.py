"""The tests that every revision of the program must pass. A subclass defines its golden bytes."""

from __future__ import annotations

import base64
import dataclasses
import logging
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.instruction import Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain.anchor import SYSTEM_PROGRAM_ID, discriminator
from decloud_pl.chain.dialect import NetworkDialect, Reading
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.events import Event
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import ConfigError, DecodeError, InsufficientFunds, ProgramError
from decloud_pl.legible import legible

CREATOR = Pubkey.from_string("47yJuRwYZf5tUkpCKW6KAYPV9fhUrTKtw7kVQdqpqzuG")
VALIDATOR = Pubkey.from_string("3Zh85UeXw8TuV7jv321EEiNDoSe6xLSPoNaYF92eJryr")
TRAINER = Pubkey.from_string("3gvkhRVQCC7k5xBi5UwxU4gcTKp3h45jhP23VjX7M3UF")
MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
GRADIENT_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
ROUND_ID = 7
OTHER_PROGRAM = "11111111111111111111111111111111"
RENT_PER_BYTE, ACCOUNT_OVERHEAD = 6_960, 128
"""Solana's rent-exempt minimum: lamports per byte, and the additional bytes of each account."""


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(min_value=0, max_value=2**bits - 1)


pubkeys = st.binary(min_size=32, max_size=32).map(Pubkey.from_bytes)
times = st.integers(min_value=-(2**63), max_value=2**63 - 1)
repeatable = settings(max_examples=100, derandomize=True, database=None, deadline=None)


def rounds(dialect: NetworkDialect) -> st.SearchStrategy[Round]:
    """Generate rounds that a dialect can store."""
    return st.builds(
        Round,
        id=integers(64),
        creator=pubkeys,
        model_cid=st.text(max_size=16).map(legible),
        dataset=st.sampled_from(sorted(dialect.datasets)),
        reward_amount=integers(64),
        status=st.sampled_from(RoundStatus),
        validator=st.none() | pubkeys.filter(lambda key: key != Pubkey.default()),
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
        max_trainers=st.just(dialect.max_trainers),
        treasury_fee_bps=st.just(dialect.treasury_fee_bps),
    )


submissions = st.builds(
    Submission,
    round_id=integers(64),
    trainer=pubkeys,
    gradient_cid=st.text(max_size=16).map(legible),
    submitted=st.booleans(),
    contribution_bps=integers(16),
    reward_claimed=st.booleans(),
    bump=integers(8),
)


@dataclasses.dataclass(frozen=True)
class Golden:
    """An account as the program stores it, with its spare bytes.

    Attributes:
        method: the name of the dialect's method that decodes it.
        data: the stored bytes.
        value: the decoded value.
        size: the number of bytes up to the last field.
    """

    method: str
    data: bytes
    value: Any
    size: int


@dataclasses.dataclass(frozen=True)
class Sent:
    """An instruction on the wire.

    Attributes:
        make: returns the instruction for round 7.
        data: the discriminator and the arguments in hexadecimal.
        accounts: the names of the accounts in order, with w for writable and s for signer.
    """

    make: Callable[[Any], Instruction]
    data: str
    accounts: str


class DialectConformance:
    """The tests of a revision. Each subclass is one revision."""

    NAME: ClassVar[str]
    PROGRAM_ID: ClassVar[str]
    MAX_TRAINERS: ClassVar[int]
    SUBMISSION_SIZE: ClassVar[int]
    DATASETS: ClassVar[int]
    """The number of data sets."""
    READING: ClassVar[Reading]
    TREASURY_FEE_BPS: ClassVar[int]
    CAN_ABORT: ClassVar[bool]
    ACCOUNTS: ClassVar[Mapping[str, Golden]]
    """By the name of the account in the program. ``Round`` and ``Submission`` must be among them."""
    INSTRUCTIONS: ClassVar[Mapping[str, Sent]]
    EVENTS: ClassVar[Mapping[str, tuple[bytes, Event]]]
    """By the name of the event: the bytes of its fields, and the decoded event."""
    ERRORS: ClassVar[Mapping[int, str]]
    """The names of the program's own error codes."""

    def dialect(self, program_id: Pubkey | None = None) -> NetworkDialect:
        return get_dialect(self.NAME, program_id)

    def named(self) -> dict[Pubkey, str]:
        """Return the names of accounts that not every revision has."""
        return {}

    def encode_round(self, value: Round) -> bytes:
        raise NotImplementedError

    def encode_submission(self, value: Submission) -> bytes:
        raise NotImplementedError

    # Facts

    def test_the_public_program_is_the_default(self) -> None:
        assert str(self.dialect().program_id) == self.PROGRAM_ID

    def test_limits_are_the_programs(self) -> None:
        dialect = self.dialect()
        assert (dialect.max_trainers, dialect.submission_size) == (self.MAX_TRAINERS, self.SUBMISSION_SIZE)
        assert dialect.submission_deposit == (self.SUBMISSION_SIZE + ACCOUNT_OVERHEAD) * RENT_PER_BYTE
        assert (dialect.reading, dialect.treasury_fee_bps) == (self.READING, self.TREASURY_FEE_BPS)
        assert dialect.final_statuses.isdisjoint({RoundStatus.WAITING_TRAINERS, RoundStatus.TRAINING})

    def test_data_sets_are_named_once_and_in_lower_case(self) -> None:
        names = self.dialect().datasets
        assert len(set(names)) == len(names) == self.DATASETS
        assert all(name.isalnum() and name == name.lower() for name in names)

    # Addresses and filters

    def test_seeds_are_the_protocols(self) -> None:
        dialect, round_id = self.dialect(), 0x0102030405060708
        number = round_id.to_bytes(8, "little")
        for address, seeds in (
            (dialect.round_counter_address(), [b"round_counter"]),
            (dialect.round_address(round_id), [b"round", number]),
            (dialect.vault_address(round_id), [b"vault", number]),
        ):
            assert address == Pubkey.find_program_address(seeds, dialect.program_id)[0]

    def test_another_program_has_other_addresses(self) -> None:
        other = self.dialect(TRAINER)
        assert other.program_id == TRAINER
        assert other.round_address(0) != self.dialect().round_address(0)
        assert other.submission_address(0, TRAINER) != self.dialect().submission_address(0, TRAINER)

    @pytest.mark.parametrize("round_id", [-1, 2**64])
    def test_a_round_id_is_64_bits(self, round_id: int) -> None:
        with pytest.raises(struct.error):
            self.dialect().round_address(round_id)

    def test_filters_match_the_stored_bytes_alone(self) -> None:
        dialect = self.dialect()
        round_, submission = self.ACCOUNTS["Round"].data, self.ACCOUNTS["Submission"].data
        for filters, data in (
            (dialect.rounds_filter(), round_),
            (dialect.submissions_filter(TRAINER), submission),
            (dialect.round_submissions_filter(self.ACCOUNTS["Submission"].value.round_id), submission),
        ):
            assert all(data[offset:].startswith(expected) for offset, expected in filters)
            others = (golden.data for golden in self.ACCOUNTS.values() if golden.data != data)
            assert not any(other[at:].startswith(expected) for other in others for at, expected in filters[:1])
        for filters in (dialect.submissions_filter(CREATOR), dialect.round_submissions_filter(2**64 - 1)):
            assert not all(submission[offset:].startswith(expected) for offset, expected in filters)

    # Accounts

    def decode(self, account: str, data: bytes) -> object:
        decoded: object = getattr(self.dialect(), self.ACCOUNTS[account].method)(data)
        return decoded

    def test_an_account_of_the_real_program_decodes(self, account: str) -> None:
        assert self.decode(account, self.ACCOUNTS[account].data) == self.ACCOUNTS[account].value

    def test_a_short_account_is_refused(self, account: str) -> None:
        golden = self.ACCOUNTS[account]
        for length in range(golden.size):
            with pytest.raises(DecodeError, match=f"{account} ends after {length} bytes"):
                self.decode(account, golden.data[:length])
        assert self.decode(account, golden.data[: golden.size]) == golden.value

    def test_another_account_is_refused(self, account: str) -> None:
        for data in {golden.data for name, golden in self.ACCOUNTS.items() if name != account} | {bytes(300)}:
            with pytest.raises(DecodeError, match="the discriminator differs"):
                self.decode(account, data)

    def test_encoding_gives_the_stored_bytes_without_the_spare_room(self) -> None:
        for name, encode in (("Round", self.encode_round), ("Submission", self.encode_submission)):
            golden = self.ACCOUNTS[name]
            assert encode(golden.value) == golden.data[: golden.size]

    def test_every_account_survives_the_wire(self) -> None:
        dialect = self.dialect()

        @repeatable
        @given(round_=rounds(dialect), submission=submissions, spare=st.binary(max_size=40))
        def survives(round_: Round, submission: Submission, spare: bytes) -> None:
            assert dialect.decode_round(self.encode_round(round_) + spare) == round_
            assert dialect.decode_submission(self.encode_submission(submission) + spare) == submission

        survives()

    def test_garbage_is_refused_in_an_orderly_way(self, account: str) -> None:
        @repeatable
        @given(data=st.binary(max_size=300))
        def refused(data: bytes) -> None:
            with suppress(DecodeError):  # anything else is a failure
                self.decode(account, self.ACCOUNTS[account].data[:8] + data)

        refused()

    # Instructions

    def test_an_instruction_is_the_protocols(self, instruction: str) -> None:
        dialect, golden = self.dialect(), self.INSTRUCTIONS[instruction]
        sent = golden.make(dialect)
        names = {
            dialect.round_counter_address(): "round_counter",
            dialect.round_address(ROUND_ID): "round",
            dialect.vault_address(ROUND_ID): "vault",
            dialect.submission_address(ROUND_ID, TRAINER): "submission",
            CREATOR: "creator",
            VALIDATOR: "validator",
            TRAINER: "trainer",
            SYSTEM_PROGRAM_ID: "system",
            **self.named(),
        }
        accounts = [names[meta.pubkey] + " w" * meta.is_writable + " s" * meta.is_signer for meta in sent.accounts]
        assert sent.program_id == dialect.program_id
        assert bytes(sent.data).hex() == golden.data
        assert ", ".join(accounts) == golden.accounts
        # The detection compares these counts. `finalize_round` also has an account for each result.
        assert len(accounts) == dialect.account_counts[instruction] or instruction == "finalize_round"

    def test_it_is_recognised_by_the_instructions_that_it_has(self) -> None:
        assert set(self.dialect().account_counts) == set(self.INSTRUCTIONS)

    def test_what_a_revision_cannot_do_is_said(self) -> None:
        dialect = self.dialect()
        assert dialect.can_abort is self.CAN_ABORT is ("abort_round" in self.INSTRUCTIONS)
        if not dialect.can_abort:
            with pytest.raises(ConfigError, match="cannot abort a round"):
                dialect.abort_round(ROUND_ID, creator=CREATOR, validator=VALIDATOR)

    # Events

    def logged(self, *lines: str) -> list[Event]:
        """Return the events in log lines that the program wrote."""
        return list(self.dialect().events([self.begun, *lines, self.ended]))

    @property
    def begun(self) -> str:
        return f"Program {self.PROGRAM_ID} invoke [1]"

    @property
    def ended(self) -> str:
        return f"Program {self.PROGRAM_ID} success"

    def line(self, event: str, more: bytes = b"", *, cut: int | None = None) -> str:
        return event_line(event, self.EVENTS[event][0][:cut] + more)

    @property
    def two(self) -> tuple[str, str]:
        """The names of two events."""
        first, second, *_ = self.EVENTS
        return first, second

    def test_an_event_decodes(self, event: str) -> None:
        assert self.logged(self.line(event)) == [self.EVENTS[event][1]]

    @pytest.mark.parametrize("more", [b"\0", b"\xff" * 70])
    def test_what_a_later_revision_adds_to_an_event_is_ignored(self, event: str, more: bytes) -> None:
        assert self.logged(self.line(event, more)) == [self.EVENTS[event][1]]

    def test_a_short_event_is_passed_over_and_those_around_it_are_heard(
        self, event: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = self.two
        lines = self.line(first), self.line(event, cut=-1), self.line(second)
        assert self.logged(*lines) == [self.EVENTS[first][1], self.EVENTS[second][1]]
        (record,) = caplog.records
        assert (record.levelno, "ends after" in record.getMessage()) == (logging.WARNING, True)

    def test_what_is_not_base64_is_passed_over(self, caplog: pytest.LogCaptureFixture) -> None:
        first, _ = self.two
        assert self.logged("Program data: ***", self.line(first)) == [self.EVENTS[first][1]]
        assert "not base64" in caplog.text

    def test_events_this_revision_does_not_know_are_passed_over(self) -> None:
        lines = event_line("SomethingNew", b"\1\2\3"), self.line(self.two[0])
        assert self.logged(*lines) == [self.EVENTS[self.two[0]][1]]

    def test_events_come_in_order_with_other_lines_between(self) -> None:
        first, second = self.two
        lines = (
            "Program log: Instruction: Anything",
            self.line(second),
            f"Program {OTHER_PROGRAM} invoke [2]",
            f"Program {OTHER_PROGRAM} success",
            self.line(first),
            f"Program {self.PROGRAM_ID} consumed 9711 of 200000 compute units",
            "Program return: abc ZGVm",
        )
        assert self.logged(*lines) == [self.EVENTS[second][1], self.EVENTS[first][1]]

    @pytest.mark.parametrize(
        "before",
        [
            [],
            ["Program {other} invoke [1]"],
            ["{begun}", "Program {other} invoke [2]"],
            ["{begun}", "{ended}", "Program {other} invoke [1]"],
            ["{begun}", "Program {own} failed: custom program error: 0x1770"],
        ],
        ids=["outside any program", "another program", "called program", "after success", "after failure"],
    )
    def test_data_of_others_is_not_the_programs(self, before: list[str]) -> None:
        words = {"own": self.PROGRAM_ID, "other": OTHER_PROGRAM, "begun": self.begun, "ended": self.ended}
        lines = [*(line.format(**words) for line in before), self.line(self.two[0])]
        assert list(self.dialect().events(lines)) == []

    @pytest.mark.parametrize("spoof", ["Program {other} success", "{own} invoke [2]", "{own} invoke [1]", "success"])
    def test_another_program_cannot_talk_itself_into_the_programs_place(self, spoof: str) -> None:
        first, second = self.two
        lines = (
            f"Program {OTHER_PROGRAM} invoke [2]",
            "Program log: " + spoof.format(other=OTHER_PROGRAM, own=f"Program {self.PROGRAM_ID}"),
            self.line(first),
            f"Program {OTHER_PROGRAM} success",
            self.line(second),
        )
        assert self.logged(*lines) == [self.EVENTS[second][1]]

    def test_the_program_called_by_another_is_heard(self) -> None:
        first, second = self.two
        lines = (
            f"Program {OTHER_PROGRAM} invoke [1]",
            f"Program {self.PROGRAM_ID} invoke [2]",
            self.line(first),
            self.ended,
            self.line(second),
            f"Program {OTHER_PROGRAM} success",
        )
        assert list(self.dialect().events(lines)) == [self.EVENTS[first][1]]

    def test_a_cut_log_gives_what_it_holds(self) -> None:
        lines = (self.begun, self.line(self.two[0]), "Log truncated")
        assert list(self.dialect().events(lines)) == [self.EVENTS[self.two[0]][1]]

    # Errors

    def test_every_code_has_a_name_and_a_sentence(self) -> None:
        for code, name in self.ERRORS.items():
            error = self.dialect().error(code, ("a line",))
            assert isinstance(error, ProgramError)
            assert (error.code, error.name, error.logs) == (code, name, ("a line",))
            assert error.message.startswith("The program refused: ")
            assert error.message.endswith(f" ({name}, {code}).")

    @pytest.mark.parametrize(
        ("code", "name"),
        [
            (0, "AccountAlreadyInUse"),
            (2006, "ConstraintSeeds"),
            (3012, "AccountNotInitialized"),
            (4711, "Custom4711"),
        ],
    )
    def test_codes_of_others_are_named(self, code: int, name: str) -> None:
        error = self.dialect().error(code)
        assert isinstance(error, ProgramError)
        assert (error.code, error.name) == (code, name)

    def test_the_programs_codes_end_where_the_list_does(self) -> None:
        code = max(self.ERRORS) + 1
        error = self.dialect().error(code)
        assert isinstance(error, ProgramError)
        assert error.name == f"Custom{code}"

    def test_too_few_lamports_are_their_own_error(self) -> None:
        assert isinstance(self.dialect().error(1), InsufficientFunds)


def event_line(name: str, fields: bytes) -> str:
    """Return the log line of an event."""
    return "Program data: " + base64.b64encode(discriminator("event", name) + fields).decode()
