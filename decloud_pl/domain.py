"""Frozen values that travel from the chain to the trainer and back.

Amounts are lamports (``int``; 1 SOL = 10**9 lamports), times are Unix seconds of the chain's clock
(``int``), shares are basis points (``int``; 10000 = 100 %). Nothing here does I/O.
"""

from __future__ import annotations

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


def parse_sol(text: str) -> int:
    """Lamports from an amount in SOL as users write it, for example ``0.05``.

    Raises:
        ValueError: not a number, negative, or finer than one lamport.
    """
    try:
        lamports = Decimal(text.strip()) * LAMPORTS_PER_SOL
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in SOL") from None
    if not lamports.is_finite() or not 0 <= lamports <= _MAX_LAMPORTS or lamports != int(lamports):
        raise ValueError(f"{text!r} is not an amount in SOL (zero or more, at most nine decimals)")
    return int(lamports)


def format_sol(lamports: int) -> str:
    """An amount in SOL without trailing zeros, for example ``0.05 SOL``."""
    sign = "-" if lamports < 0 else ""
    whole, rest = divmod(abs(lamports), LAMPORTS_PER_SOL)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}{'.' if decimals else ''}{decimals} SOL"


Convention = Literal["delta", "gradient"]
"""What an entry of a submission means: ``delta`` = trained − base, ``gradient`` = (base − trained) / η."""


RemedyName = Literal["scale", "average", "lower_rate"]
"""What can be tried with an update that would gain nothing; see `decloud_pl.train.score.remedies`."""
REMEDIES: tuple[RemedyName, ...] = get_args(RemedyName)


class RoundStatus(IntEnum):
    """Where a round stands in its life."""

    WAITING_VALIDATOR = 0
    WAITING_TRAINERS = 1
    TRAINING = 2
    VALIDATING = 3
    COMPLETED = 4
    EXPIRED = 5
    CANCELLED = 6


@dataclass(frozen=True, slots=True)
class Round:
    """A round as the chain shows it, with the limits and the fee of its program.

    ``dataset`` is the lower-case name users write (``fashionmnist``); ``validator`` is None until a
    validator has claimed the round; ``baseline_score`` is the base model's accuracy in % × 100;
    ``max_trainers`` is the most trainers that its program lets join, and ``treasury_fee_bps`` the share that a treasury
    takes of whatever the program pays.
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
        """Whether no further trainer can join."""
        return self.trainers_count >= self.max_trainers

    @property
    def is_open(self) -> bool:
        """Whether it waits for a validator or for trainers, by its status; a deadline may have passed."""
        return self.status in (RoundStatus.WAITING_VALIDATOR, RoundStatus.WAITING_TRAINERS)

    @property
    def net_reward(self) -> int:
        """Lamports of the reward that validator and trainers receive."""
        return self.after_treasury(self.reward_amount)

    @property
    def validator_fee(self) -> int:
        """Lamports of the validator's part, before the treasury takes its share."""
        return self.reward_amount * self.validator_fee_bps // BPS_DENOMINATOR

    @property
    def trainers_pool(self) -> int:
        """Lamports that the trainers share, before the treasury takes its share."""
        return self.reward_amount - self.validator_fee

    def reward_of(self, contribution_bps: int) -> int:
        """Lamports that a trainer with this contribution receives."""
        return self.after_treasury(self.trainers_pool * contribution_bps // BPS_DENOMINATOR)

    def after_treasury(self, lamports: int) -> int:
        """What arrives of lamports that the program pays; the treasury's share is rounded down."""
        return lamports - lamports * self.treasury_fee_bps // BPS_DENOMINATOR


@dataclass(frozen=True, slots=True)
class Submission:
    """A trainer's place in a round; ``gradient_cid`` is empty until ``submitted``."""

    round_id: int
    trainer: Pubkey
    gradient_cid: str
    submitted: bool
    contribution_bps: int
    reward_claimed: bool
    bump: int


@dataclass(frozen=True, slots=True)
class RoundCounter:
    """How many rounds were ever created; the next round's id is ``count``."""

    count: int
    authority: Pubkey
    bump: int


UpdateDtype = Literal["float32", "float16", "bfloat16"]
"""Of a submission's floating-point entries."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the entries of a submission are written.

    Attributes:
        dtype: of floating-point entries. An entry that float16 cannot hold is kept in float32.
        top_k: share of the floating-point entries to keep, the largest of the whole update; 0 keeps all.
    """

    dtype: UpdateDtype = "float16"
    top_k: float = 0.0

    def __str__(self) -> str:
        return f"{self.dtype}, the largest {self.top_k:.3g} of the entries" if self.top_k else self.dtype


@dataclass(frozen=True, slots=True)
class UpdateForm:
    """How a round wants its update.

    Attributes:
        path: the file to write.
        convention: what the entries mean.
        gradient_rate: η of the ``gradient`` convention.
        encoding: of the entries.
    """

    path: Path
    convention: Convention = "delta"
    gradient_rate: float = 0.1
    encoding: Encoding = Encoding()


@dataclass(frozen=True, slots=True)
class Update:
    """A finished training on this machine's disk.

    Attributes:
        path: the submission file (``.pt`` dictionary from parameter name to tensor).
        cid: its CID under ``profile``.
        size: bytes.
        convention: what the entries mean.
        accuracy_before: top-1 accuracy of the base model on held-out data, 0 to 1; None where it was not measured.
        accuracy_after: the same for the base model with this update applied as validators do.
        encoding: how the entries are written, for people.
        gain_kept: share of the accuracy gained on held-out data that this encoding kept; None when nothing
            was gained there or nothing was measured.
        stopped_early: the training ended before its last step, for the round's deadline.
        gain_low: lower end of the 95 % interval of the accuracy that a validator will find gained, -1 to 1; None where
            it was not estimated.
        gain_high: upper end of it.
        withheld: why this update should not be submitted, to complete "nothing was submitted: …"; empty for a good one.
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
        """Accuracy gained, -1 to 1; None where it was not measured."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return None
        return self.accuracy_after - self.accuracy_before


@dataclass(frozen=True, slots=True)
class PinnedUpdate:
    """An update that a store holds and that was read back, byte for byte, through ``read_back_from``."""

    cid: str
    provider: str
    read_back_from: str
    size: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that landed without an error.

    ``signature`` is None when the effect was found on chain and the transaction that made it is unknown.
    """

    signature: str | None
    slot: int | None


@dataclass(frozen=True, slots=True)
class NetworkAddresses:
    """Where a local network is reached, and the folder with its state and its store."""

    rpc_url: str
    ws_url: str
    gateway_url: str
    program_id: str
    dialect: str
    home: str
