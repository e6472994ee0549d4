"""Prepare the fields of a round for the output of commands: as JSON for programs, and as text for users."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decloud_pl.domain import Round, RoundStatus


def round_fields(round_: Round) -> dict[str, Any]:
    """Return a round's fields for JSON: amounts in lamports, times in Unix seconds."""
    values = dataclasses.asdict(round_)
    names = ("bump", "vault_bump", "max_trainers", "creator", "validator", "status")
    plain = {name: value for name, value in values.items() if name not in names}
    return {
        **plain,
        "status": status_name(round_.status),
        "creator": str(round_.creator),
        "validator": None if round_.validator is None else str(round_.validator),
    }


def status_name(status: RoundStatus) -> str:
    return status.name.lower().replace("_", "-")


def next_deadline(round_: Round, now: int) -> str:
    from decloud_pl.cli.ui.output import until
    from decloud_pl.domain import RoundStatus

    deadlines = {
        RoundStatus.WAITING_VALIDATOR: ("validator", round_.validator_deadline),
        RoundStatus.WAITING_TRAINERS: ("join", round_.join_deadline),
        RoundStatus.TRAINING: ("submit", round_.submit_deadline),
    }
    if round_.status not in deadlines:
        return "-"
    what, at = deadlines[round_.status]
    return f"{what} {until(at - now)}"
