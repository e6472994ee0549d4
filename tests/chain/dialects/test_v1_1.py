"""Revision v1.1 adds a treasury and a referrer to v1.0."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.dialects.v1_1 import events
from decloud_pl.chain.events import Event
from decloud_pl.domain import Round
from tests.chain.dialects import test_v1_0
from tests.chain.dialects.conformance import TRAINER, VALIDATOR, Golden, Sent
from tests.chain.dialects.test_v1_0 import ROUND_BYTES, SEVEN

V1_0 = test_v1_0.TestV1_0
TREASURY = Pubkey.from_string("FzuCxi65QyFXAGbHcXB28RXqyBZSZ5KXLQxeofx1P9K2")
ROUND: Round = dataclasses.replace(test_v1_0.ROUND, treasury_fee_bps=200)
_7 = SEVEN.hex()


class TestV1_1(V1_0):
    NAME = "v1.1"
    TREASURY_FEE_BPS = 200
    ACCOUNTS: ClassVar[Mapping[str, Golden]] = {
        **V1_0.ACCOUNTS,
        "Round": Golden("decode_round", ROUND_BYTES, ROUND, 195),
    }
    INSTRUCTIONS: ClassVar[Mapping[str, Sent]] = {
        **V1_0.INSTRUCTIONS,
        "complete_validation": Sent(
            lambda dialect: dialect.complete_validation(7, validator=VALIDATOR),
            "76fcfd313e15f38c" + _7,
            "round w, vault w, treasury w, program, validator w s, system",
        ),
        "claim_reward": Sent(
            lambda dialect: dialect.claim_reward(7, trainer=TRAINER),
            "955fb5f25e5a9ea2" + _7,
            "round, submission w, vault w, treasury w, program, trainer w s, system",
        ),
        "claim_validator_fee": Sent(
            lambda dialect: dialect.claim_validator_fee(7, validator=VALIDATOR),
            "106394573c39fa91" + _7,
            "round w, vault w, treasury w, program, validator w s, system",
        ),
    }
    EVENTS: ClassVar[Mapping[str, tuple[bytes, Event]]] = {
        **V1_0.EVENTS,
        "RewardClaimed": (
            SEVEN + bytes(TRAINER) + borsh.u64(11) + borsh.u64(2) + borsh.u64(1),
            events.RewardClaimed(7, TRAINER, 11, 2, 1),
        ),
        "ValidatorFeeClaimed": (
            SEVEN + bytes(VALIDATOR) + borsh.u64(12) + borsh.u64(3) + borsh.u64(0),
            events.ValidatorFeeClaimed(7, VALIDATOR, 12, 3, 0),
        ),
    }
    ERRORS: ClassVar[Mapping[int, str]] = {**V1_0.ERRORS, 6021: "InvalidTreasury"}

    def named(self) -> dict[Pubkey, str]:
        return {TREASURY: "treasury", Pubkey.from_string(self.PROGRAM_ID): "program"}

    @pytest.mark.parametrize("referrer", [Pubkey.from_bytes(b"\5" * 32), TRAINER, TREASURY])
    def test_a_referrer_is_writable_wherever_something_is_paid(self, referrer: Pubkey) -> None:
        own = Pubkey.from_bytes(b"\6" * 32)
        dialect = get_dialect(self.NAME, treasury=own, referrer=referrer)
        for instruction in (
            dialect.claim_reward(7, trainer=TRAINER),
            dialect.complete_validation(7, validator=VALIDATOR),
        ):
            treasury, given = after(own, instruction)
            assert (treasury.pubkey, treasury.is_writable, treasury.is_signer) == (own, True, False)
            assert (given.pubkey, given.is_writable, given.is_signer) == (referrer, True, False)

    def test_an_absent_referrer_is_the_program_at_its_address(self) -> None:
        dialect = get_dialect(self.NAME, VALIDATOR)
        _, given = after(TREASURY, dialect.claim_reward(7, trainer=TRAINER))
        assert (given.pubkey, given.is_writable, given.is_signer) == (VALIDATOR, False, False)

    def test_amounts_are_what_arrives(self) -> None:
        round_ = self.dialect().decode_round(self.ACCOUNTS["Round"].data)
        assert (round_.reward_amount, round_.net_reward) == (1_000_000_007, 980_000_007)
        pool = 1_000_000_007 - 100_000_000
        assert round_.trainers_pool == pool
        assert round_.reward_of(6000) == pool * 6 // 10 - (pool * 6 // 10) * 2 // 100


def after(treasury: Pubkey, instruction: Instruction) -> list[AccountMeta]:
    """Return the treasury's account and the account after it."""
    at = [meta.pubkey for meta in instruction.accounts].index(treasury)
    return instruction.accounts[at : at + 2]


def test_a_revision_without_treasury_takes_none() -> None:
    plain = get_dialect("v1.0").claim_reward(7, trainer=TRAINER)
    assert get_dialect("v1.0", treasury=TREASURY, referrer=TRAINER).claim_reward(7, trainer=TRAINER) == plain
    round_ = get_dialect("v1.0").decode_round(ROUND_BYTES)
    assert (round_.net_reward, round_.reward_of(10_000)) == (1_000_000_007, round_.trainers_pool)
