"""Version 1 of the program ("federated_ai"): addresses, codecs, instructions and events.

Pure functions only; see `V1` for the door the rest of the package uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from decloud_pl.chain import borsh
from decloud_pl.chain.dialects.v1 import accounts
from decloud_pl.chain.dialects.v1.accounts import (
    ROUND_DISCRIMINATOR,
    SUBMISSION_DISCRIMINATOR,
    SUBMISSION_SIZE,
    SUBMISSION_TRAINER_OFFSET,
    decode_round,
    decode_round_counter,
    decode_submission,
    discriminator,
)
from decloud_pl.chain.dialects.v1.errors import ALREADY_IN_USE, ErrorCode, error_from_code

if TYPE_CHECKING:
    from decloud_pl.chain.dialects.v1.events import Event

__all__ = [
    "ALREADY_IN_USE",
    "DEFAULT_PROGRAM_ID",
    "SUBMISSION_SIZE",
    "SYSTEM_PROGRAM_ID",
    "V1",
    "ErrorCode",
    "decode_round",
    "decode_round_counter",
    "decode_submission",
    "discriminator",
    "error_from_code",
]

DEFAULT_PROGRAM_ID = Pubkey.from_string("HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC")
SYSTEM_PROGRAM_ID = Pubkey.default()


@dataclass(frozen=True, slots=True)
class V1:
    """The program at one address. Amounts are lamports, contributions basis points, scores % × 100."""

    program_id: Pubkey = DEFAULT_PROGRAM_ID

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

    # Account filters: (offset, bytes) pairs for getProgramAccounts

    def rounds_filter(self) -> tuple[tuple[int, bytes], ...]:
        """Matches every Round."""
        return ((0, ROUND_DISCRIMINATOR),)

    def submissions_filter(self, trainer: Pubkey) -> tuple[tuple[int, bytes], ...]:
        """Matches every Submission of one trainer."""
        return ((0, SUBMISSION_DISCRIMINATOR), (SUBMISSION_TRAINER_OFFSET, bytes(trainer)))

    def round_submissions_filter(self, round_id: int) -> tuple[tuple[int, bytes], ...]:
        """Matches every Submission of one round."""
        return ((0, SUBMISSION_DISCRIMINATOR), (accounts.ROUND_ID_OFFSET, borsh.u64(round_id)))

    # Instructions, in the order of a round's life

    def _instruction(self, name: str, arguments: bytes, metas: Sequence[AccountMeta]) -> Instruction:
        return Instruction(self.program_id, discriminator("global", name) + arguments, metas)

    def initialize(self, authority: Pubkey) -> Instruction:
        """Creates the round counter; sent once in a program's life."""
        metas = (_writable(self.round_counter_address()), _payer(authority), _SYSTEM)
        return self._instruction("initialize", b"", metas)

    def create_round(
        self, round_id: int, *, creator: Pubkey, model_cid: str, dataset: str, reward_amount: int
    ) -> Instruction:
        """Posts a round and moves the reward into its vault. ``round_id`` must be the counter's count."""
        arguments = (
            borsh.u64(round_id) + borsh.string(model_cid) + accounts.write_dataset(dataset) + borsh.u64(reward_amount)
        )
        metas = (
            _writable(self.round_counter_address()),
            _writable(self.round_address(round_id)),
            _writable(self.vault_address(round_id)),
            _payer(creator),
            _SYSTEM,
        )
        return self._instruction("create_round", arguments, metas)

    def cancel_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Takes back a round that no validator has claimed."""
        return self._instruction("cancel_round", borsh.u64(round_id), self._vault_metas(round_id, creator))

    def claim_round(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Makes ``validator`` the round's validator and opens it for trainers."""
        metas = (_writable(self.round_address(round_id)), _payer(validator))
        return self._instruction("claim_round", borsh.u64(round_id), metas)

    def join_round(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Creates the trainer's submission account, for which the trainer pays the rent."""
        return self._instruction("join_round", borsh.u64(round_id), self._trainer_metas(round_id, trainer))

    def start_training(self, round_id: int, *, validator: Pubkey, baseline_score: int) -> Instruction:
        """Starts the training; ``baseline_score`` is the base model's accuracy in % × 100."""
        arguments = borsh.u64(round_id) + borsh.u32(baseline_score)
        metas = (_writable(self.round_address(round_id)), _payer(validator))
        return self._instruction("start_training", arguments, metas)

    def submit_gradients(self, round_id: int, *, trainer: Pubkey, gradient_cid: str) -> Instruction:
        """Hands in an update by its CID; once per trainer."""
        arguments = borsh.u64(round_id) + borsh.string(gradient_cid)
        metas = self._trainer_metas(round_id, trainer)[:3]  # nothing is created, so no system program
        return self._instruction("submit_gradients", arguments, metas)

    def set_contribution(
        self, round_id: int, *, validator: Pubkey, trainer: Pubkey, contribution_bps: int
    ) -> Instruction:
        """Gives a trainer its share in basis points."""
        metas = (
            AccountMeta(self.round_address(round_id), is_signer=False, is_writable=False),
            _writable(self.submission_address(round_id, trainer)),
            AccountMeta(validator, is_signer=True, is_writable=False),
        )
        return self._instruction("set_contribution", borsh.u64(round_id) + borsh.u16(contribution_bps), metas)

    def complete_validation(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Ends validation and pays the validator's fee."""
        metas = self._vault_metas(round_id, validator)
        return self._instruction("complete_validation", borsh.u64(round_id), metas)

    def finalize_round(self, round_id: int, *, validator: Pubkey, results: Sequence[tuple[Pubkey, int]]) -> Instruction:
        """Sets all contributions at once and ends validation.

        The submission accounts follow the two fixed ones, in the order of ``results``: without them the
        program could not write the shares down.
        """
        vector = borsh.u32(len(results)) + b"".join(bytes(who) + borsh.u16(bps) for who, bps in results)
        metas = (
            _writable(self.round_address(round_id)),
            AccountMeta(validator, is_signer=True, is_writable=False),
            *(_writable(self.submission_address(round_id, who)) for who, _ in results),
        )
        return self._instruction("finalize_round", borsh.u64(round_id) + vector, metas)

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Pays the trainer's share out of the vault."""
        metas = (
            AccountMeta(self.round_address(round_id), is_signer=False, is_writable=False),
            _writable(self.submission_address(round_id, trainer)),
            _writable(self.vault_address(round_id)),
            _payer(trainer),
            _SYSTEM,
        )
        return self._instruction("claim_reward", borsh.u64(round_id), metas)

    def claim_validator_fee(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Pays the validator's fee after `finalize_round`."""
        metas = self._vault_metas(round_id, validator)
        return self._instruction("claim_validator_fee", borsh.u64(round_id), metas)

    def check_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Moves a round on whose deadline has passed; anyone may send it."""
        metas = (
            _writable(self.round_address(round_id)),
            _writable(self.vault_address(round_id)),
            _writable(creator),
            _SYSTEM,
        )
        return self._instruction("check_round", borsh.u64(round_id), metas)

    def _trainer_metas(self, round_id: int, trainer: Pubkey) -> tuple[AccountMeta, ...]:
        return (
            _writable(self.round_address(round_id)),
            _writable(self.submission_address(round_id, trainer)),
            _payer(trainer),
            _SYSTEM,
        )

    def _vault_metas(self, round_id: int, signer: Pubkey) -> tuple[AccountMeta, ...]:
        return (
            _writable(self.round_address(round_id)),
            _writable(self.vault_address(round_id)),
            _payer(signer),
            _SYSTEM,
        )

    # Events

    def events(self, logs: Iterable[str]) -> Iterator[Event]:
        """The program's events in a transaction's log lines; see `events_in_logs`."""
        # Who only reads accounts needs none of their classes.
        from decloud_pl.chain.dialects.v1.events import events_in_logs

        return events_in_logs(logs, self.program_id)


def _writable(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=True)


def _payer(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=True, is_writable=True)


_SYSTEM = AccountMeta(SYSTEM_PROGRAM_ID, is_signer=False, is_writable=False)
