"""Immutable values that the chain, daemon and training code share. This module does no I/O.

Amounts are lamports (``int``; 1 SOL = 10**9 lamports), times are Unix seconds of the chain's clock
(``int``), shares are basis points (``int``; 10000 = 100 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from solders.pubkey import Pubkey

LAMPORTS_PER_SOL = 1_000_000_000
BPS_DENOMINATOR = 10_000
MOST_STORABLE = 2**63 - 1
"""The largest integer that SQLite stores. A round's number is an unsigned integer of 64 bits."""
_MAX_LAMPORTS = 2**64 - 1


def is_equal_split(shares_bps: Sequence[int]) -> bool:
    """Return whether there are at least two shares and, apart from rounding to basis points, all are equal."""
    return len(shares_bps) > 1 and max(shares_bps) - min(shares_bps) <= 1


def parse_sol(text: str) -> int:
    """Return the lamports of an amount in SOL, for example ``0.05``.

    Raises:
        ValueError: the text is not a number, is negative, is too large or has more than nine decimals.
    """
    try:
        lamports = Decimal(text.strip()) * LAMPORTS_PER_SOL
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in SOL") from None
    if not lamports.is_finite() or not 0 <= lamports <= _MAX_LAMPORTS or lamports != int(lamports):
        raise ValueError(f"{text!r} is not an amount in SOL (zero or more, at most nine decimals)")
    return int(lamports)


def format_sol(lamports: int) -> str:
    """Return an amount in SOL without trailing zeros, for example ``0.05 SOL``."""
    sign = "-" if lamports < 0 else ""
    whole, rest = divmod(abs(lamports), LAMPORTS_PER_SOL)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}{'.' if decimals else ''}{decimals} SOL"


def format_rounds(count: int) -> str:
    """Return a number of rounds in words, for example ``1 round``."""
    return "1 round" if count == 1 else f"{count} rounds"


Convention = Literal["delta", "gradient"]
"""The meaning of an update's entries: ``delta`` = trained − base, ``gradient`` = (base − trained) / η."""


ScoreSplit = Literal["held_out", "test"]
"""The data on which accuracies are measured: ``test`` is the test split, on which validators score. ``held_out`` is the
half of the held-out part, or of a custom data module's validation data, that judges the update."""


CandidateName = Literal["ema", "average", "soup", "scale", "lower_rate"]
"""Weights that a training compares with its last ones; see `decloud_pl.train.score.choice`."""
CANDIDATES: tuple[CandidateName, ...] = get_args(CandidateName)


class RoundStatus(IntEnum):
    """The status of a round on chain."""

    WAITING_VALIDATOR = 0
    WAITING_TRAINERS = 1
    TRAINING = 2
    VALIDATING = 3
    COMPLETED = 4
    EXPIRED = 5
    CANCELLED = 6


@dataclass(frozen=True, slots=True)
class Round:
    """A round as the chain stores it, plus two constants of the program: ``max_trainers`` and ``treasury_fee_bps``.

    Attributes:
        dataset: lower-case name of the data set, for example ``fashionmnist``.
        validator: None until a validator has claimed the round.
        baseline_score: the base model's accuracy in hundredths of a percent, for example 9150 for 91.5 %.
        max_trainers: how many trainers the program lets join.
        treasury_fee_bps: the treasury's share of every payment of the program, in basis points.
    """

    id: int
    creator: Pubkey
    model_cid: str
    dataset: str
    reward_amount: int
    status: RoundStatus
    validator: Pubkey | None
    validator_fee_bps: int
    baseline_score: int
    created_at: int
    validator_deadline: int
    join_deadline: int
    submit_deadline: int
    trainers_count: int
    submissions_count: int
    bump: int
    vault_bump: int
    max_trainers: int
    treasury_fee_bps: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of trainers has joined."""
        return self.trainers_count >= self.max_trainers

    @property
    def is_open(self) -> bool:
        """Whether the status is ``WAITING_VALIDATOR`` or ``WAITING_TRAINERS``. The deadline may have passed already."""
        return self.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS)

    @property
    def net_reward(self) -> int:
        """The lamports that the validator and the trainers receive together, after the treasury's share is deducted."""
        return self.after_treasury(self.reward_amount)

    @property
    def validator_fee(self) -> int:
        """The lamports for the validator, before the treasury's share is deducted."""
        return self.reward_amount * self.validator_fee_bps // BPS_DENOMINATOR

    @property
    def trainers_pool(self) -> int:
        """The lamports for all trainers together, before the treasury's share is deducted."""
        return self.reward_amount - self.validator_fee

    def reward_of(self, contribution_bps: int) -> int:
        """Return the lamports for a trainer with this contribution, after the treasury's share is deducted."""
        return self.after_treasury(self.trainers_pool * contribution_bps // BPS_DENOMINATOR)

    def after_treasury(self, lamports: int) -> int:
        """Deduct the treasury's share from a payment of the program. The share is rounded down to whole lamports."""
        return lamports - lamports * self.treasury_fee_bps // BPS_DENOMINATOR


@dataclass(frozen=True, slots=True)
class Payout:
    """The reward that a submission to a round may earn, and its cost.

    Attributes:
        pool: the lamports for all trainers together, after all deductions.
        trainers: how many trainers have joined, including this one.
        fee: the fee of the submit transaction in lamports.
    """

    pool: int
    trainers: int
    fee: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A trainer's submission account in a round. ``gradient_cid`` is empty until ``submitted`` is True."""

    round_id: int
    trainer: Pubkey
    gradient_cid: str
    submitted: bool
    contribution_bps: int
    reward_claimed: bool
    bump: int


@dataclass(frozen=True, slots=True)
class RoundCounter:
    """The number of rounds created so far, which is also the id of the next round."""

    count: int
    authority: Pubkey
    bump: int


UpdateDtype = Literal["float32", "float16", "bfloat16"]
"""The dtype of an update's floating-point entries."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the entries of an update are encoded.

    Attributes:
        dtype: the dtype of floating-point tensors. A tensor with a value that overflows float16 is stored as float32.
        top_k: the fraction of the update's floating-point values to keep, 0 to 1. The values with the largest
            magnitudes in the whole update are kept. 0 keeps all values.
    """

    dtype: UpdateDtype = "float16"
    top_k: float = 0.0

    def __str__(self) -> str:
        return f"{self.dtype}, the largest {self.top_k:.3g} of the entries" if self.top_k else self.dtype


@dataclass(frozen=True, slots=True)
class UpdateForm:
    """Where and how to write a round's update.

    Attributes:
        path: the file to write.
        convention: the meaning of the entries.
        gradient_rate: the η of the ``gradient`` convention; see `Convention`.
        encoding: how to encode the entries.
    """

    path: Path
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    encoding: Encoding = Encoding()


@dataclass(frozen=True, slots=True)
class Update:
    """The result of a finished training, on this machine's disk.

    Attributes:
        path: the update's file, a ``.pt`` dictionary from the names of parameters and buffers to tensors.
        cid: the file's CID, computed by the rules of ``profile``.
        profile: the name of the rules that divide a file into blocks to compute its CID.
        size: the size of the file in bytes.
        convention: the meaning of the entries.
        accuracy_before: top-1 accuracy of the base model, 0 to 1; None if not measured.
        accuracy_after: the same accuracy with this update applied to the base model.
        score_split: the data on which the two accuracies were measured.
        encoding: how the entries are encoded, in words for users.
        gain_kept: the share of the gain on held-out data that remains after encoding; None if there was no gain, or
            if the gain was not measured.
        stopped_early: whether the round's deadline stopped the training before its last step.
        gain_low: lower end of the 95 % interval of the gain that a validator will measure, -1 to 1; None if not
            estimated.
        gain_high: upper end of that interval.
        withheld: why the update should not be submitted, as the end of the sentence "nothing was submitted: …". Empty
            if the update may be submitted.
    """

    path: Path
    cid: str
    profile: str
    size: int
    convention: Convention
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    score_split: ScoreSplit = "held_out"
    encoding: str = ""
    gain_kept: float | None = None
    stopped_early: bool = False
    gain_low: float | None = None
    gain_high: float | None = None
    withheld: str = ""

    @property
    def gain(self) -> float | None:
        """The gain in accuracy, -1 to 1; None if not measured."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before


@dataclass(frozen=True, slots=True)
class PinnedUpdate:
    """An update that a store has pinned and a gateway, ``read_back_from``, has then returned byte for byte."""

    cid: str
    provider: str
    read_back_from: str
    size: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that succeeded.

    ``signature`` is None if the chain shows the transaction's effect, but the transaction itself is unknown.
    """

    signature: str | None
    slot: int | None


@dataclass(frozen=True, slots=True)
class NetworkAddresses:
    """The addresses of a local network. ``home`` is the folder that holds the network's state and its store."""

    rpc_url: str
    ws_url: str
    gateway_url: str
    program_id: str
    dialect: str
    home: str
