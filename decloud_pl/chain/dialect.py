"""The interface to one revision of the on-chain program.

Each revision has a folder in `decloud_pl.chain.dialects`. Only that folder contains the byte layouts, the codes and the
limits of the revision.
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
    """How validators read an update and apply it to the base model.

    Attributes:
        convention: the meaning of the numbers in the update.
        gradient_rate: η of the ``gradient`` convention.
    """

    convention: Convention
    gradient_rate: float


class Dialect(Protocol):
    """One revision of the program, at one address. Contains only the instructions and data that a trainer needs.

    A method raises `struct.error` if a round id does not fit into 64 bits. The ``decode`` methods raise `DecodeError`
    for a wrong discriminator, a short account or a value out of range, and ignore bytes after the last field.
    """

    @property
    def program_id(self) -> Pubkey: ...

    @property
    def max_trainers(self) -> int:
        """The largest number of trainers in a round."""

    @property
    def account_counts(self) -> Mapping[str, int]:
        """Maps the Anchor name of each instruction to the number of accounts that the instruction takes."""

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
        """The size of a submission account in bytes. The rent deposit depends on this size."""

    @property
    def submission_deposit(self) -> int:
        """The rent deposit for a submission account in lamports, as of 2025.

        `RpcClient.rent_exempt_minimum` reads the current value from the chain.
        """

    # Addresses

    def round_counter_address(self) -> Pubkey: ...

    def round_address(self, round_id: int) -> Pubkey: ...

    def submission_address(self, round_id: int, trainer: Pubkey) -> Pubkey: ...

    # Accounts

    def rounds_filter(self) -> Filters:
        """Return the filter that matches every round."""

    def submissions_filter(self, trainer: Pubkey) -> Filters:
        """Return the filter that matches every submission of one trainer."""

    def round_submissions_filter(self, round_id: int) -> Filters:
        """Return the filter that matches every submission of one round."""

    def decode_round_counter(self, data: bytes) -> RoundCounter: ...

    def decode_round(self, data: bytes) -> Round: ...

    def decode_submission(self, data: bytes) -> Submission: ...

    # Instructions

    def join_round(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Return the instruction to create the trainer's submission account. The trainer deposits the rent for it."""

    def submit_gradients(self, round_id: int, *, trainer: Pubkey, gradient_cid: str) -> Instruction:
        """Return the instruction to submit an update by its CID. A trainer can do this once per round."""

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Return the instruction to pay the trainer its share of the reward."""

    def check_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Return the instruction to move a round to its next status after a deadline. Anyone may send it."""

    # Events and errors

    def events(self, logs: Iterable[str]) -> Iterator[Event]:
        """Yield the program's events in a transaction's log, in order; see `decloud_pl.chain.anchor.events_in_logs`."""

    def error(self, code: int, logs: tuple[str, ...] = ()) -> ProgramError | InsufficientFunds:
        """Return the typed error for a custom error code. The error's message explains the code."""


class NetworkDialect(Dialect, Protocol):
    """A `Dialect` with the instructions of creators and validators, which a local network needs."""

    def vault_address(self, round_id: int) -> Pubkey:
        """Return the address of the account that holds a round's reward."""

    def initialize(self, authority: Pubkey) -> Instruction:
        """Return the instruction to create the round counter, which is possible once per program."""

    def create_round(
        self, round_id: int, *, creator: Pubkey, model_cid: str, dataset: str, reward_amount: int
    ) -> Instruction:
        """Return the instruction to post a round and deposit its reward in lamports.

        ``round_id`` must be the current count of the round counter.
        """

    def claim_round(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Return the instruction to make ``validator`` the round's validator and open the round for trainers."""

    def start_training(self, round_id: int, *, validator: Pubkey, baseline_score: int) -> Instruction:
        """Return the instruction to start the training. ``baseline_score`` is the base model's accuracy in % × 100."""

    def set_contribution(
        self, round_id: int, *, validator: Pubkey, trainer: Pubkey, contribution_bps: int
    ) -> Instruction:
        """Return the instruction to set a trainer's share of the reward, in basis points."""

    def complete_validation(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Return the instruction to end the validation and pay the validator its fee."""

    @property
    def can_abort(self) -> bool:
        """Whether the program has the instruction ``abort_round``."""

    def abort_round(self, round_id: int, *, creator: Pubkey, validator: Pubkey) -> Instruction:
        """Return the instruction to abort a round that a validator has claimed, and refund its creator.

        Raises:
            ConfigError: the program does not have this instruction; see `can_abort`.
        """
