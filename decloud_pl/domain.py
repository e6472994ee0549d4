"""Immutable values that chain, daemon and training exchange. This module does no I/O.

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
_MAX_LAMPORTS = 2**64 - 1


def is_equal_split(shares_bps: Sequence[int]) -> bool:
    """Return whether several shares are equal, except for the rounding by one basis point."""
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


Convention = Literal["delta", "gradient"]
"""The meaning of an update's entries: ``delta`` = trained − base, ``gradient`` = (base − trained) / η."""


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
    """A round as the chain stores it, with the limits and the fee of its program.

    Attributes:
        dataset: lower-case name of the data set, for example ``fashionmnist``.
        validator: None until a validator has claimed the round.
        baseline_score: the base model's accuracy in % × 100.
        max_trainers: how many trainers the program lets join.
        treasury_fee_bps: the treasury's share of every payment of the program.
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
        """Whether the round's status is waiting for a validator or trainers. A deadline may have passed already."""
        return self.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS)

    @property
    def net_reward(self) -> int:
        """Lamports that validator and trainers receive together, after the treasury's share."""
        return self.after_treasury(self.reward_amount)

    @property
    def validator_fee(self) -> int:
        """Lamports for the validator, before the treasury's share."""
        return self.reward_amount * self.validator_fee_bps // BPS_DENOMINATOR

    @property
    def trainers_pool(self) -> int:
        """Lamports that the trainers share, before the treasury's share."""
        return self.reward_amount - self.validator_fee

    def reward_of(self, contribution_bps: int) -> int:
        """Return the lamports that a trainer with this contribution receives."""
        return self.after_treasury(self.trainers_pool * contribution_bps // BPS_DENOMINATOR)

    def after_treasury(self, lamports: int) -> int:
        """Return a payment of the program minus the treasury's share, which is rounded down."""
        return lamports - lamports * self.treasury_fee_bps // BPS_DENOMINATOR


@dataclass(frozen=True, slots=True)
class Payout:
    """What a submission to a round may earn, and what it costs.

    Attributes:
        pool: lamports that the trainers share, after all deductions.
        trainers: how many trainers have joined, including this one.
        fee: lamports of the transaction that submits.
    """

    pool: int
    trainers: int
    fee: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A trainer's account in a round; ``gradient_cid`` is empty until ``submitted``."""

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
        dtype: dtype of floating-point entries. An entry that overflows float16 is stored as float32.
        top_k: share of the floating-point entries to keep: the largest of the whole update by magnitude. 0 keeps all.
    """

    dtype: UpdateDtype = "float16"
    top_k: float = 0.0

    def __str__(self) -> str:
        return f"{self.dtype}, the largest {self.top_k:.3g} of the entries" if self.top_k else self.dtype


@dataclass(frozen=True, slots=True)
class UpdateForm:
    """The required form of a round's update.

    Attributes:
        path: the file to write.
        convention: the meaning of the entries.
        gradient_rate: η of the ``gradient`` convention.
        encoding: the encoding of the entries.
    """

    path: Path
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    encoding: Encoding = Encoding()


@dataclass(frozen=True, slots=True)
class Update:
    """The result of a finished training, on this machine's disk.

    Attributes:
        path: the update's file, a ``.pt`` dictionary from parameter names to tensors.
        cid: the file's CID under ``profile``.
        profile: the name of the rules by which the CID divides the file into blocks.
        size: the size of the file in bytes.
        convention: the meaning of the entries.
        accuracy_before: top-1 accuracy of the base model on held-out data, 0 to 1; None if not measured.
        accuracy_after: the same with this update applied to the base model.
        encoding: description of the entries' encoding for users.
        gain_kept: share of the gain on held-out data that this encoding keeps; None if there was no gain or it was
            not measured.
        stopped_early: whether the round's deadline stopped the training before its last step.
        gain_low: lower end of the 95 % interval of the gain that a validator will measure, -1 to 1; None if not
            estimated.
        gain_high: upper end of that interval.
        withheld: why the update should not be submitted, completing "nothing was submitted: …"; empty if it may be.
    """

    path: Path
    cid: str
    profile: str
    size: int
    convention: Convention
    accuracy_before: float | None = None
    accuracy_after: float | None = None
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
    """An update that a store pinned and that ``read_back_from`` returned byte for byte."""

    cid: str
    provider: str
    read_back_from: str
    size: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that succeeded.

    ``signature`` is None if only the effect was found on chain and the transaction is unknown.
    """

    signature: str | None
    slot: int | None


@dataclass(frozen=True, slots=True)
class NetworkAddresses:
    """The addresses of a local network, and the folder with its state and its store."""

    rpc_url: str
    ws_url: str
    gateway_url: str
    program_id: str
    dialect: str
    home: str
