"""The events that the daemon reports to its observers, such as a terminal, a log or the demo's summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from decloud_pl.errors import DecloudError, InsufficientFunds, MachineShortage, RpcRejected, RpcUnavailable
from decloud_pl.journal.record import RoundRecord


@dataclass(frozen=True, slots=True)
class Connected:
    """The daemon has connected to the chain; ``balance`` is in lamports."""

    wallet: str
    balance: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A message that is not a failure.

    ``facts`` are new values, by name, for the header of the terminal view and of the dashboard.
    """

    round_id: int | None
    message: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audited(Noted):
    """A completed round was audited.

    Attributes:
        verdict: fair, equal, unfair or unknown; see `decloud_pl.journal.audits`.
        lost_bps: the difference between this wallet's fair share and its paid share, in basis points; negative if more
            was paid; 0 if the difference is within the noise.
    """

    verdict: str = "unknown"
    lost_bps: int = 0


@dataclass(frozen=True, slots=True)
class Looked:
    """The daemon has read one of this wallet's rounds from the chain.

    Attributes:
        round_id: the round.
        deadline: the deadline of the round's current status, in Unix seconds of the chain's clock; None if it has none.
        chain_now: Unix seconds of the chain's clock.
        balance: the wallet's lamports.
    """

    round_id: int
    deadline: int | None
    chain_now: int
    balance: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """The wallet's earnings in lamports: claimed since midnight, claimed in total, and spent in total."""

    today: int
    total: int
    spent: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """The daemon considered a round and did not join it."""

    round_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A round's row in the journal changed, for example its state or reason. ``record`` is the new row."""

    record: RoundRecord


@dataclass(frozen=True, slots=True)
class Training:
    """A worker's progress. ``loss`` belongs to the last reported step; ``note`` is a sentence for the user."""

    round_id: int
    stage: str
    epoch: int
    step: int
    total_steps: int
    loss: float | None
    accuracy: float | None
    note: str = ""


def training_event(round_id: int, message: Mapping[str, Any]) -> Training | None:
    """Convert a worker's progress message to an event; return None if its values are unusable."""
    stage, loss, accuracy, note = (message.get(name) for name in ("stage", "loss", "accuracy", "note"))
    epoch, step, total = (message.get(name, 0) for name in ("epoch", "step", "total_steps"))
    if not isinstance(stage, str) or not all(isinstance(count, int) for count in (epoch, step, total)):
        return None
    return Training(
        round_id,
        stage,
        epoch,
        step,
        total,
        float(loss) if isinstance(loss, (int, float)) else None,
        float(accuracy) if isinstance(accuracy, (int, float)) else None,
        note if isinstance(note, str) else "",
    )


@dataclass(frozen=True, slots=True)
class Uploading:
    """The progress of an upload to a store. ``sent`` and ``total`` are numbers of bytes."""

    round_id: int
    store: str
    sent: int
    total: int


_OF_ALL = (InsufficientFunds, RpcUnavailable, RpcRejected)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure.

    Attributes:
        round_id: the round that failed; None if the failure concerns no single round.
        message: the failure, and what the daemon does next, if anything.
        cause: the failure alone; may be empty if ``message`` contains only the failure.
        of_machine: whether this machine lacks a resource, so that the user has to act.
        of_all: whether other rounds fail for the same reason: an empty wallet, or no endpoint that answers.
    """

    round_id: int | None
    message: str
    cause: str = ""
    of_machine: bool = False
    of_all: bool = False

    @classmethod
    def then(cls, round_id: int | None, error: DecloudError, then: str) -> Trouble:
        """Build the event from an error and a sentence about what happens next."""
        of_machine, of_all = isinstance(error, MachineShortage), isinstance(error, _OF_ALL)
        return cls(round_id, f"{error} {then}", str(error), of_machine, of_all or of_machine)


DaemonEvent = Connected | Noted | Audited | Looked | Earnings | Skipped | Changed | Training | Uploading | Trouble


class Reporter(Protocol):
    """Receives events. It must return quickly and must not raise."""

    def report(self, event: DaemonEvent) -> None: ...
