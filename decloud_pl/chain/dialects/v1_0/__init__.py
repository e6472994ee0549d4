"""Revision v1.0 of the program ("federated_ai"): addresses, codecs, instructions, events, error codes and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.anchor import (
    SYSTEM_PROGRAM_ID,
    Decoders,
    discriminator,
    error_from_code,
    events_in_logs,
    payer,
    readonly,
    writable,
)
from decloud_pl.chain.dialect import Filters, Reading
from decloud_pl.chain.dialects.v1_0 import accounts
from decloud_pl.chain.dialects.v1_0.datasets import DATASET_NAMES
from decloud_pl.chain.dialects.v1_0.errors import MEANINGS
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import ConfigError, InsufficientFunds, ProgramError

if TYPE_CHECKING:
    from decloud_pl.chain.events import Event

_PUBLIC_PROGRAM_ID = Pubkey.from_string("HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC")
_SYSTEM = readonly(SYSTEM_PROGRAM_ID)


@dataclass(frozen=True, slots=True)
class V1_0:
    """Revision v1.0 of the program at the address ``program_id``.

    Amounts are in lamports, contributions in basis points, and scores in hundredths of a percent.
    """

    program_id: Pubkey = _PUBLIC_PROGRAM_ID
    max_trainers: ClassVar[int] = accounts.MAX_TRAINERS
    account_counts: ClassVar[Mapping[str, int]] = {
        "initialize": 3,
        "create_round": 5,
        "cancel_round": 4,
        "claim_round": 2,
        "join_round": 4,
        "start_training": 2,
        "submit_gradients": 3,
        "set_contribution": 3,
        "complete_validation": 4,
        "finalize_round": 2,
        "claim_reward": 5,
        "claim_validator_fee": 4,
        "check_round": 4,
    }
    final_statuses: ClassVar[frozenset[RoundStatus]] = frozenset(
        {RoundStatus.COMPLETED, RoundStatus.EXPIRED, RoundStatus.CANCELLED}
    )
    datasets: ClassVar[tuple[str, ...]] = DATASET_NAMES
    reading: ClassVar[Reading] = Reading("gradient", 0.1)
    treasury_fee_bps: ClassVar[int] = 0
    can_abort: ClassVar[bool] = False
    meanings: ClassVar[Mapping[IntEnum, str]] = MEANINGS
    submission_size: ClassVar[int] = accounts.SUBMISSION_SIZE
    submission_deposit: ClassVar[int] = 1_733_040

    # Addresses

    def _find(self, *seeds: bytes) -> Pubkey:
        return Pubkey.find_program_address(seeds, self.program_id)[0]

    def round_counter_address(self) -> Pubkey:
        return self._find(b"round_counter")

    def round_address(self, round_id: int) -> Pubkey:
        return self._find(b"round", borsh.u64(round_id))

    def vault_address(self, round_id: int) -> Pubkey:
        return self._find(b"vault", borsh.u64(round_id))

    def submission_address(self, round_id: int, trainer: Pubkey) -> Pubkey:
        return self._find(b"submission", borsh.u64(round_id), bytes(trainer))

    # Accounts

    def rounds_filter(self) -> Filters:
        return ((0, accounts.ROUND_DISCRIMINATOR),)

    def submissions_filter(self, trainer: Pubkey) -> Filters:
        return ((0, accounts.SUBMISSION_DISCRIMINATOR), (accounts.SUBMISSION_TRAINER_OFFSET, bytes(trainer)))

    def round_submissions_filter(self, round_id: int) -> Filters:
        return ((0, accounts.SUBMISSION_DISCRIMINATOR), (accounts.ROUND_ID_OFFSET, borsh.u64(round_id)))

    decode_round_counter = staticmethod(accounts.decode_round_counter)

    def decode_round(self, data: bytes) -> Round:
        return accounts.decode_round(data, treasury_fee_bps=self.treasury_fee_bps)

    decode_submission = staticmethod(accounts.decode_submission)

    # Instructions, in the order of a round's life

    def _instruction(self, name: str, arguments: bytes, metas: Sequence[AccountMeta]) -> Instruction:
        return Instruction(self.program_id, discriminator("global", name) + arguments, metas)

    def initialize(self, authority: Pubkey) -> Instruction:
        metas = (writable(self.round_counter_address()), payer(authority), _SYSTEM)
        return self._instruction("initialize", b"", metas)

    def create_round(
        self, round_id: int, *, creator: Pubkey, model_cid: str, dataset: str, reward_amount: int
    ) -> Instruction:
        arguments = (
            borsh.u64(round_id) + borsh.string(model_cid) + accounts.write_dataset(dataset) + borsh.u64(reward_amount)
        )
        metas = (
            writable(self.round_counter_address()),
            writable(self.round_address(round_id)),
            writable(self.vault_address(round_id)),
            payer(creator),
            _SYSTEM,
        )
        return self._instruction("create_round", arguments, metas)

    def cancel_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Return the instruction to cancel a round that no validator has claimed."""
        return self._instruction("cancel_round", borsh.u64(round_id), self._vault_metas(round_id, creator))

    def claim_round(self, round_id: int, *, validator: Pubkey) -> Instruction:
        metas = (writable(self.round_address(round_id)), payer(validator))
        return self._instruction("claim_round", borsh.u64(round_id), metas)

    def join_round(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        return self._instruction("join_round", borsh.u64(round_id), self._trainer_metas(round_id, trainer))

    def start_training(self, round_id: int, *, validator: Pubkey, baseline_score: int) -> Instruction:
        arguments = borsh.u64(round_id) + borsh.u32(baseline_score)
        metas = (writable(self.round_address(round_id)), payer(validator))
        return self._instruction("start_training", arguments, metas)

    def submit_gradients(self, round_id: int, *, trainer: Pubkey, gradient_cid: str) -> Instruction:
        arguments = borsh.u64(round_id) + borsh.string(gradient_cid)
        metas = self._trainer_metas(round_id, trainer)[:3]  # no account is created, so no system program
        return self._instruction("submit_gradients", arguments, metas)

    def set_contribution(
        self, round_id: int, *, validator: Pubkey, trainer: Pubkey, contribution_bps: int
    ) -> Instruction:
        metas = (
            readonly(self.round_address(round_id)),
            writable(self.submission_address(round_id, trainer)),
            AccountMeta(validator, is_signer=True, is_writable=False),
        )
        return self._instruction("set_contribution", borsh.u64(round_id) + borsh.u16(contribution_bps), metas)

    def complete_validation(self, round_id: int, *, validator: Pubkey) -> Instruction:
        metas = self._vault_metas(round_id, validator, self._fee_metas())
        return self._instruction("complete_validation", borsh.u64(round_id), metas)

    def finalize_round(self, round_id: int, *, validator: Pubkey, results: Sequence[tuple[Pubkey, int]]) -> Instruction:
        """Return the instruction to set all contributions at once and end the validation.

        ``results`` has (trainer, share in basis points) of each submission. In the account list of the instruction, the
        submission accounts come after the two fixed accounts, in the order of ``results``. The program writes the
        shares into the submission accounts.
        """
        vector = borsh.u32(len(results)) + b"".join(bytes(who) + borsh.u16(bps) for who, bps in results)
        metas = (
            writable(self.round_address(round_id)),
            AccountMeta(validator, is_signer=True, is_writable=False),
            *(writable(self.submission_address(round_id, who)) for who, _ in results),
        )
        return self._instruction("finalize_round", borsh.u64(round_id) + vector, metas)

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        metas = (
            readonly(self.round_address(round_id)),
            writable(self.submission_address(round_id, trainer)),
            writable(self.vault_address(round_id)),
            *self._fee_metas(),
            payer(trainer),
            _SYSTEM,
        )
        return self._instruction("claim_reward", borsh.u64(round_id), metas)

    def claim_validator_fee(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Return the instruction to pay the validator's fee after `finalize_round`."""
        metas = self._vault_metas(round_id, validator, self._fee_metas())
        return self._instruction("claim_validator_fee", borsh.u64(round_id), metas)

    def check_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        metas = (
            writable(self.round_address(round_id)),
            writable(self.vault_address(round_id)),
            writable(creator),
            _SYSTEM,
        )
        return self._instruction("check_round", borsh.u64(round_id), metas)

    def abort_round(self, round_id: int, *, creator: Pubkey, validator: Pubkey) -> Instruction:  # noqa: ARG002 (later)
        raise ConfigError(
            "This revision of the program cannot abort a round.",
            fix="If the program on chain has revision v1.2, set network.dialect=v1.2.",
        )

    def _fee_metas(self) -> tuple[AccountMeta, ...]:
        """Return the accounts for the fees on each payment: none in v1.0; later revisions override this method.

        In the account list of an instruction, these accounts come directly before the signer.
        """
        return ()

    def _trainer_metas(self, round_id: int, trainer: Pubkey) -> tuple[AccountMeta, ...]:
        return (
            writable(self.round_address(round_id)),
            writable(self.submission_address(round_id, trainer)),
            payer(trainer),
            _SYSTEM,
        )

    def _vault_metas(
        self, round_id: int, signer: Pubkey, before: tuple[AccountMeta, ...] = ()
    ) -> tuple[AccountMeta, ...]:
        return (
            writable(self.round_address(round_id)),
            writable(self.vault_address(round_id)),
            *before,
            payer(signer),
            _SYSTEM,
        )

    # Events and errors

    def events(self, logs: Iterable[str]) -> Iterator[Event]:
        return events_in_logs(logs, self.program_id, self._event_decoders())

    def _event_decoders(self) -> Decoders:
        # Imported here, because code that only reads accounts does not need the event classes.
        from decloud_pl.chain.dialects.v1_0.events import DECODERS

        return DECODERS

    def error(self, code: int, logs: tuple[str, ...] = ()) -> ProgramError | InsufficientFunds:
        return error_from_code(code, logs, self.meanings)


DIALECT = V1_0
"""The class that `decloud_pl.chain.dialects` instantiates."""
