"""Whether to join a round: a pure function with a reason."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from decloud_pl.daemon.life import MAX_TRAINERS
from decloud_pl.domain import Round, RoundStatus, format_sol
from decloud_pl.errors import DatasetError, DatasetNotReady

JOIN_COST = 3_000_000
"""Lamports a join may take: the submission account's rent deposit and the fees of three transactions.

The deposit is 890,880 + 6,960 for each of its 120 odd bytes; the rest is head room for priority fees.
"""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What the user wants; amounts in lamports, a ``max_reward`` of 0 means no limit."""

    datasets: Collection[str]
    min_reward: int
    max_reward: int
    max_concurrent_rounds: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one round.

    ``settled`` means that it can never become a yes, so the round need not be looked at again.
    """

    accept: bool
    reason: str
    resolved_dataset: str = ""
    settled: bool = False


def select(
    round_: Round,
    criteria: Criteria,
    *,
    resolve: Callable[[str], str],
    now: int,
    balance: int,
    occupied_slots: int,
    prepare: Callable[[str], None] = lambda _: None,
) -> Decision:
    """Accepts a round or says why not.

    Args:
        round_: the round as the chain shows it.
        criteria: the user's wishes.
        resolve: from the chain's data set name to the one to train on; raises `DatasetError`.
        now: Unix seconds of the chain's clock.
        balance: the wallet's lamports.
        occupied_slots: rounds whose training lies ahead or runs.
        prepare: sees to it that the data set's files are here; raises `DatasetNotReady` while they are not.
    """
    if round_.status is RoundStatus.WAITING_VALIDATOR:
        return Decision(accept=False, reason="no validator has claimed it yet")
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return _never(f"it is {round_.status.name.lower().replace('_', ' ')}")
    if now > round_.join_deadline:
        return _never("its deadline for joining has passed")
    if round_.trainers_count >= MAX_TRAINERS:
        return _never("it already has its ten trainers")
    if round_.reward_amount < criteria.min_reward:
        return _never(
            f"its reward of {format_sol(round_.reward_amount)} is below your minimum of "
            f"{format_sol(criteria.min_reward)}"
        )
    if criteria.max_reward and round_.reward_amount > criteria.max_reward:
        return _never(
            f"its reward of {format_sol(round_.reward_amount)} is above your maximum of "
            f"{format_sol(criteria.max_reward)}"
        )
    try:
        resolved = resolve(round_.dataset)
    except DatasetError as error:
        return _never(str(error).rstrip("."))
    if criteria.datasets and not {round_.dataset, resolved} & set(criteria.datasets):
        return _never(f"you do not train for the data set {round_.dataset}")
    if balance < JOIN_COST:
        return Decision(
            accept=False,
            reason=f"the wallet holds {format_sol(balance)}, joining needs {format_sol(JOIN_COST)}",
        )
    if occupied_slots >= criteria.max_concurrent_rounds:
        return Decision(accept=False, reason="all slots are busy with other rounds")
    try:
        prepare(resolved)
    except DatasetNotReady as error:
        return Decision(accept=False, reason=str(error).rstrip("."))
    except DatasetError as error:
        return _never(str(error).rstrip("."))
    return Decision(accept=True, reason="it fits", resolved_dataset=resolved)


def _never(reason: str) -> Decision:
    return Decision(accept=False, reason=reason, settled=True)
