"""What the daemon tells whoever watches it: a terminal, a log, the demo's summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from decloud_pl.errors import DecloudError, MachineShortage
from decloud_pl.journal.record import RoundRecord


@dataclass(frozen=True, slots=True)
class Connected:
    """The daemon has the chain in view; ``balance`` in lamports."""

    wallet: str
    balance: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth knowing that is no failure; ``facts`` replace those of the same name in every view's header."""

    round_id: int | None
    message: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """What the chain showed of a round of this wallet.

    ``deadline`` is the one that counts in the round's present status, None where none does; it and ``chain_now``
    are Unix seconds of the chain's clock, ``balance`` is the wallet's lamports.
    """

    round_id: int
    deadline: int | None
    chain_now: int
    balance: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """What the wallet's rounds have brought so far: lamports claimed since midnight and in all, and spent in all."""

    today: int
    total: int
    spent: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A round was looked at and not joined."""

    round_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A round entered another state."""

    record: RoundRecord


@dataclass(frozen=True, slots=True)
class Training:
    """A worker's progress; ``loss`` is that of the last step it reported, ``note`` a sentence to show."""

    round_id: int
    stage: str
    epoch: int
    step: int
    total_steps: int
    loss: float | None
    accuracy: float | None
    note: str = ""


def training_event(round_id: int, message: Mapping[str, Any]) -> Training | None:
    """A worker's progress message as an event; None for one that does not fit."""
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
    """Bytes of an update that a store has been sent so far."""

    round_id: int
    store: str
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something failed; ``message`` also says what happens next, where something does, ``cause`` the failure alone.

    ``of_machine`` says that this machine is short of something, and so that the user has to do something.
    """

    round_id: int | None
    message: str
    cause: str = ""
    of_machine: bool = False

    @classmethod
    def then(cls, round_id: int | None, error: DecloudError, then: str) -> Trouble:
        """A failure, and a sentence for what happens next."""
        return cls(round_id, f"{error} {then}", str(error), isinstance(error, MachineShortage))


DaemonEvent = Connected | Noted | Looked | Earnings | Skipped | Changed | Training | Uploading | Trouble


class Reporter(Protocol):
    """Receives what happens. Must return quickly and must not raise."""

    def report(self, event: DaemonEvent) -> None: ...
