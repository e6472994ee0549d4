"""The interface of a revision of the on-chain program.

A revision is a folder in `decloud_pl.chain.dialects`. Its bytes, codes and limits appear nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from decloud_pl.domain import Convention, Round, RoundCounter, RoundStatus, Submission
from decloud_pl.errors import InsufficientFunds, ProgramError

if TYPE_CHECKING:
    from decloud_pl.chain.events import Event

Filters: TypeAlias = tuple[tuple[int, bytes], ...]
"""Pairs of an offset and the bytes there, for ``getProgramAccounts``."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How validators apply an update.

    Attributes:
        convention: what the entries of the update mean.
        gradient_rate: η of the ``gradient`` convention.
        buffers: whether the validator changes the model's buffers as well as its parameters.
    """

    convention: Convention
    gradient_rate: float
    buffers: bool


class Dialect(Protocol):
    """The part of one revision that a trainer uses, for the program at one address.

    A round id that does not fit into 64 bits raises `struct.error`. The codecs raise `DecodeError` for a wrong
    discriminator, a short account or a value out of range, and ignore bytes after the last field.
    """

    @property
    def program_id(self) -> Pubkey: ...

    @property
    def max_trainers(self) -> int:
        """The largest number of trainers in a round."""

    @property
    def account_counts(self) -> Mapping[str, int]:
        """The number of accounts that each instruction takes, by Anchor's name of the instruction."""

    @property
    def final_statuses(self) -> frozenset[RoundStatus]:
        """The statuses that a round never leaves."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the data sets in lower case, in the order of their index on chain."""

    @property
    def reading(self) -> Reading:
        """How the revision's public validator applies updates."""

    @property
    def treasury_fee_bps(self) -> int:
        """The treasury's share of each payment in basis points; 0 without a treasury."""

    @property
    def submission_size(self) -> int:
        """The size of a submission account in bytes. The wallet that creates it deposits rent."""

    @property
    def submission_deposit(self) -> int:
        """The rent deposit for a submission account in lamports, as of 2025. The chain returns the current value."""

    # Addresses

    def round_counter_address(self) -> Pubkey: ...

    def round_address(self, round_id: int) -> Pubkey: ...

    def submission_address(self, round_id: int, trainer: Pubkey) -> Pubkey: ...

    # Accounts

    def rounds_filter(self) -> Filters:
        """Matches every round."""

    def submissions_filter(self, trainer: Pubkey) -> Filters:
        """Matches every submission of one trainer."""

    def round_submissions_filter(self, round_id: int) -> Filters:
        """Matches every submission of one round."""

    def decode_round_counter(self, data: bytes) -> RoundCounter: ...

    def decode_round(self, data: bytes) -> Round: ...

    def decode_submission(self, data: bytes) -> Submission: ...

    # Instructions

    def join_round(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Creates the trainer's submission account, for which the trainer deposits the rent."""

    def submit_gradients(self, round_id: int, *, trainer: Pubkey, gradient_cid: str) -> Instruction:
        """Submits an update by its CID; possible once per trainer."""

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Pays the trainer's share."""

    def check_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Moves a round to its next status after a deadline has passed. Anyone may send it."""

    # Events and errors

    def events(self, logs: Iterable[str]) -> Iterator[Event]:
        """Yield the program's events in a transaction's log, in order; see `decloud_pl.chain.anchor.events_in_logs`."""

    def error(self, code: int, logs: tuple[str, ...] = ()) -> ProgramError | InsufficientFunds:
        """Return the typed error for a custom error code, with a sentence about its meaning."""


class NetworkDialect(Dialect, Protocol):
    """A `Dialect` with the instructions of creators and validators, which a local network needs."""

    def vault_address(self, round_id: int) -> Pubkey:
        """Return the address of the account that holds a round's reward."""

    def initialize(self, authority: Pubkey) -> Instruction:
        """Creates the round counter; possible once per program."""

    def create_round(
        self, round_id: int, *, creator: Pubkey, model_cid: str, dataset: str, reward_amount: int
    ) -> Instruction:
        """Posts a round and deposits its reward in lamports. ``round_id`` must be the count of the round counter."""

    def claim_round(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Makes ``validator`` the round's validator and opens it for trainers."""

    def start_training(self, round_id: int, *, validator: Pubkey, baseline_score: int) -> Instruction:
        """Starts the training; ``baseline_score`` is the base model's accuracy in % × 100."""

    def set_contribution(
        self, round_id: int, *, validator: Pubkey, trainer: Pubkey, contribution_bps: int
    ) -> Instruction:
        """Sets a trainer's share of the reward, in basis points."""

    def complete_validation(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Ends validation and pays the validator's fee."""

    @property
    def can_abort(self) -> bool:
        """Whether the program has the instruction ``abort_round``."""

    def abort_round(self, round_id: int, *, creator: Pubkey, validator: Pubkey) -> Instruction:
        """Aborts a claimed round and refunds its creator.

        Raises:
            ConfigError: the program does not have this instruction; see `can_abort`.
        """
