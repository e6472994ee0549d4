"""All that one revision of the on-chain program means to the rest of the package.

A revision is a folder of `decloud_pl.chain.dialects`; nothing else knows its bytes, its codes or its limits.
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
"""Pairs of an offset and the bytes that stand there, for ``getProgramAccounts``."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How validators read an update.

    Attributes:
        convention: what its entries mean.
        gradient_rate: η of the ``gradient`` convention.
        buffers: whether entries of the model's buffers count like those of its parameters; else they are ignored.
    """

    convention: Convention
    gradient_rate: float
    buffers: bool


class Dialect(Protocol):
    """One revision of the program, at one address: what a trainer needs of it.

    Round ids outside of 64 bits raise `struct.error`. The codecs raise `DecodeError` for another account's
    discriminator, a short account or a value out of range, and ignore bytes behind the last field.
    """

    @property
    def program_id(self) -> Pubkey: ...

    @property
    def max_trainers(self) -> int:
        """The most trainers that a round lets join."""

    @property
    def account_counts(self) -> Mapping[str, int]:
        """The program's instructions by Anchor's names, with the number of accounts that each takes."""

    @property
    def final_statuses(self) -> frozenset[RoundStatus]:
        """Those after which a round never changes its status again."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that a round can name, in lower case, in the order of their index on chain."""

    @property
    def reading(self) -> Reading:
        """How the revision's public validator reads updates."""

    @property
    def treasury_fee_bps(self) -> int:
        """Basis points that the treasury takes of whatever the program pays, 0 where there is no treasury."""

    @property
    def submission_size(self) -> int:
        """Bytes of a submission account; the wallet that creates one deposits rent for them."""

    @property
    def submission_deposit(self) -> int:
        """Lamports of that deposit as of 2025; the chain tells today's."""

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
        """Hands in an update by its CID; once per trainer."""

    def claim_reward(self, round_id: int, *, trainer: Pubkey) -> Instruction:
        """Pays the trainer's share."""

    def check_round(self, round_id: int, *, creator: Pubkey) -> Instruction:
        """Moves a round on whose deadline has passed; anyone may send it."""

    # What the program says

    def events(self, logs: Iterable[str]) -> Iterator[Event]:
        """The program's events in a transaction's log lines, in order; see `decloud_pl.chain.anchor.events_in_logs`."""

    def error(self, code: int, logs: tuple[str, ...] = ()) -> ProgramError | InsufficientFunds:
        """The typed error for a custom error code, with a sentence that says what it means."""


class NetworkDialect(Dialect, Protocol):
    """The same with what a network is run with: the creators' and the validators' instructions."""

    def vault_address(self, round_id: int) -> Pubkey:
        """Of the account that holds a round's reward."""

    def initialize(self, authority: Pubkey) -> Instruction:
        """Creates the round counter; sent once in a program's life."""

    def create_round(
        self, round_id: int, *, creator: Pubkey, model_cid: str, dataset: str, reward_amount: int
    ) -> Instruction:
        """Posts a round and deposits its reward in lamports. ``round_id`` must be the counter's count."""

    def claim_round(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Makes ``validator`` the round's validator and opens it for trainers."""

    def start_training(self, round_id: int, *, validator: Pubkey, baseline_score: int) -> Instruction:
        """Starts the training; ``baseline_score`` is the base model's accuracy in % × 100."""

    def set_contribution(
        self, round_id: int, *, validator: Pubkey, trainer: Pubkey, contribution_bps: int
    ) -> Instruction:
        """Gives a trainer its share in basis points."""

    def complete_validation(self, round_id: int, *, validator: Pubkey) -> Instruction:
        """Ends validation and pays the validator's fee."""

    @property
    def can_abort(self) -> bool:
        """Whether the program has the instruction `abort_round`."""

    def abort_round(self, round_id: int, *, creator: Pubkey, validator: Pubkey) -> Instruction:
        """Gives a claimed round up and refunds its creator.

        Raises:
            ConfigError: the program has no such instruction, see `can_abort`.
        """
