"""The checks of a round before a join, with their outcomes, and the verdict that follows from them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from decloud_pl.chain.send import SIGNATURE_FEE
from decloud_pl.config import RewardsConfig
from decloud_pl.domain import Round, RoundStatus, format_sol, parse_sol
from decloud_pl.errors import DatasetError, InvalidCid, first_line
from decloud_pl.store.ipfs.cid import Cid

WALLET_MINIMUM = 890_880
"""A wallet that pays must keep the rent-exempt minimum of an empty account."""
TRANSACTIONS_PER_ROUND = 3
_WATT_SECONDS_PER_KWH = 3_600_000
_TOO_LATE = "its deadline for joining has passed"
_SAFETY = 1.25
"""How much slower than measured a training may turn out."""


def join_cost(deposit: int, max_priority_lamports: int) -> int:
    """The most that joining, submitting and claiming can take from a wallet, in lamports."""
    return deposit + TRANSACTIONS_PER_ROUND * (SIGNATURE_FEE + max_priority_lamports)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What the user wants; amounts in lamports.

    Attributes:
        datasets: names to train for, the chain's or the mapped ones; none means any.
        rewards: the rewards that are worth a round.
        max_concurrent_rounds: rounds to work on at a time.
        join_cost: what a round can cost, see `join_cost`.
        daily_cap: what fees and deposits may take in 24 hours, 0 for no cap.
        own: functions of the user's own, by name, that say of a round and a `Situation` why not to join, or nothing.
    """

    datasets: Collection[str] = ()
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    max_concurrent_rounds: int = 1
    join_cost: int = 0
    daily_cap: int = 0
    own: Mapping[str, Callable[[Round, Situation], str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """How things stand for this wallet and this machine.

    Attributes:
        now: Unix seconds of the chain's clock.
        balance: the wallet's lamports.
        occupied_slots: rounds whose training lies ahead or runs.
        spent: lamports that fees and deposits took in the last 24 hours.
        train_seconds: measured seconds from the start of a training to its published update, by data set.
        submit_window: seconds that rounds left for that so far, None when none was seen.
        join_seconds: measured seconds that a join takes.
        unsupported: why the network's program is none that this one works with, empty where it is.
    """

    now: int
    balance: int
    occupied_slots: int
    spent: int = 0
    train_seconds: Mapping[str, float] = field(default_factory=dict)
    submit_window: int | None = None
    join_seconds: float = 0.0
    unsupported: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One test of a round.

    Attributes:
        name: short and stable, for people and programs.
        passed: whether it speaks for joining.
        detail: the figures; as a reason it completes "not joined, …".
        settled: a failure that can never become a pass.
        passing: a failure that as a rule is over within moments, without anything that the user does.
    """

    name: str
    passed: bool
    detail: str
    settled: bool = False
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one round.

    ``settled`` means that it can never become a yes, so the round need not be looked at again; ``unready`` that only
    its data set's files are missing; ``passing`` that the reason is over within moments as a rule.
    """

    accept: bool
    reason: str
    resolved_dataset: str = ""
    settled: bool = False
    unready: bool = False
    passing: bool = False


def explain(
    round_: Round, criteria: Criteria, situation: Situation, *, resolve: Callable[[str], str]
) -> tuple[Check, ...]:
    """Every check of a round, in the order in which they decide.

    ``resolve`` leads from the chain's data set name to the one to train on; it raises `DatasetError`.
    """
    resolved, dataset = _dataset(round_, resolve)
    return (
        _program(situation),
        _status(round_, situation),
        _join_deadline(round_, situation),
        _trainers(round_),
        _min_reward(round_, criteria),
        _max_reward(round_, criteria),
        dataset,
        _model_cid(round_),
        _wanted(round_, resolved, criteria),
        _speed(resolved, situation),
        _profit(round_, resolved, criteria, situation),
        _balance(criteria, situation),
        _daily_cap(criteria, situation),
        _slots(criteria, situation),
        *(_own(name, why_not, round_, situation) for name, why_not in criteria.own.items()),
    )


def verdict(checks: Sequence[Check], resolved_dataset: str) -> Decision:
    """The decision that follows from `explain`: its reason is the first failed check that settles it, or the first."""
    failed = [check for check in checks if not check.passed]
    if failed:
        first = next((check for check in failed if check.settled), failed[0])
        return Decision(accept=False, reason=first.detail, settled=first.settled, passing=first.passing)
    return Decision(accept=True, reason="it fits", resolved_dataset=resolved_dataset)


def why_closed(round_: Round, now: int) -> str:
    """Why a round takes no trainer any more, empty while it does; completes "not joined, …".

    ``now`` is in Unix seconds of the chain's clock.
    """
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return f"it is {round_.status.name.lower().replace('_', ' ')}"
    if now > round_.join_deadline:
        return _TOO_LATE
    return _full(round_) if round_.is_full else ""


def _full(round_: Round) -> str:
    return f"it already has its {round_.max_trainers} trainers"


def _program(situation: Situation) -> Check:
    # Not settled: the program may be upgraded, and so may this one.
    return Check("program", passed=not situation.unsupported, detail=situation.unsupported or "its revision is known")


def _status(round_: Round, situation: Situation) -> Check:
    if round_.status is RoundStatus.WAITING_VALIDATOR:
        if situation.now > round_.validator_deadline:
            detail = "no validator has claimed it in time"
            return Check("status", passed=False, detail=detail, settled=True)
        return Check("status", passed=False, detail="no validator has claimed it yet", passing=True)
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return Check("status", passed=False, detail=why_closed(round_, situation.now), settled=True)
    return Check("status", passed=True, detail="it waits for trainers")


def _join_deadline(round_: Round, situation: Situation) -> Check:
    name = "join deadline"
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return Check(name, passed=True, detail="it has none yet or no longer")
    left = round_.join_deadline - situation.now
    if left < 0:
        return Check(name, passed=False, detail=_TOO_LATE, settled=True)
    if left < situation.join_seconds:
        detail = f"its deadline for joining is in {left} s, and a join takes {situation.join_seconds:.0f} s here"
        return Check(name, passed=False, detail=detail, settled=True)
    return Check(name, passed=True, detail=f"{left} s are left")


def _trainers(round_: Round) -> Check:
    if round_.is_full:
        return Check("trainers", passed=False, detail=_full(round_), settled=True)
    return Check("trainers", passed=True, detail=f"{round_.trainers_count} of {round_.max_trainers} have joined")


def _min_reward(round_: Round, criteria: Criteria) -> Check:
    reward, least = format_sol(round_.net_reward), format_sol(criteria.rewards.min_lamports)
    if round_.net_reward < criteria.rewards.min_lamports:
        detail = f"its reward of {reward} is below your minimum of {least}"
        # The treasury takes nothing under a revision that may yet turn out to be the one that runs.
        settled = round_.reward_amount < criteria.rewards.min_lamports
        return Check("minimum reward", passed=False, detail=detail, settled=settled)
    return Check("minimum reward", passed=True, detail=f"{reward}, at least {least} is wanted")


def _max_reward(round_: Round, criteria: Criteria) -> Check:
    limit = criteria.rewards.max_lamports
    reward, most = format_sol(round_.net_reward), format_sol(limit)
    if limit and round_.net_reward > limit:
        detail = f"its reward of {reward} is above your maximum of {most}"
        return Check("maximum reward", passed=False, detail=detail, settled=True)
    return Check("maximum reward", passed=True, detail=f"{reward}, {'at most ' + most if limit else 'any'}")


def _dataset(round_: Round, resolve: Callable[[str], str]) -> tuple[str | None, Check]:
    try:
        resolved = resolve(round_.dataset)
    except DatasetError as error:
        return None, Check("data set", passed=False, detail=str(error).rstrip("."), settled=True)
    how = "" if resolved == round_.dataset else f", trained on {resolved}"
    return resolved, Check("data set", passed=True, detail=f"{round_.dataset}{how}")


def _model_cid(round_: Round) -> Check:
    try:
        cid = Cid.parse(round_.model_cid)
    except InvalidCid as error:
        return Check("model CID", passed=False, detail=f"its model_cid: {first_line(error)}", settled=True)
    return Check("model CID", passed=True, detail=str(cid))


def _wanted(round_: Round, resolved: str | None, criteria: Criteria) -> Check:
    if criteria.datasets and not {round_.dataset, resolved} & set(criteria.datasets):
        detail = f"you do not train for the data set {round_.dataset}; to do so, add it to datasets or --dataset"
        return Check("wanted data sets", passed=False, detail=detail, settled=True)
    return Check("wanted data sets", passed=True, detail=", ".join(sorted(criteria.datasets)) or "any")


def _speed(resolved: str | None, situation: Situation) -> Check:
    seconds = None if resolved is None else situation.train_seconds.get(resolved)
    if seconds is None or situation.submit_window is None:
        return Check("speed", passed=True, detail="not measured yet")
    detail = f"a training takes {seconds:.0f} s here, rounds leave {situation.submit_window} s"
    # Not settled: settings and windows change, and so does what else the machine has to do.
    return Check("speed", passed=seconds * _SAFETY <= situation.submit_window, detail=detail)


def _profit(round_: Round, resolved: str | None, criteria: Criteria, situation: Situation) -> Check:
    rewards, least = criteria.rewards, criteria.rewards.min_profit
    if not least:
        return Check("expected profit", passed=True, detail="not asked for")
    seconds = 0 if resolved is None else -(-int(situation.train_seconds.get(resolved, 0) * 1000) // 1000)
    share = round_.after_treasury(round_.trainers_pool // (round_.trainers_count + 1))
    energy = parse_sol(rewards.sol_per_kwh) * rewards.watts * seconds // _WATT_SECONDS_PER_KWH
    profit = share - criteria.join_cost - energy
    detail = (
        f"expected {format_sol(profit)} ({format_sol(share)} as one of {round_.trainers_count + 1}, less "
        f"{format_sol(criteria.join_cost)} of fees and deposit and {format_sol(energy)} of energy), at least "
        f"{format_sol(parse_sol(least))} is wanted"
    )
    return Check("expected profit", passed=profit >= parse_sol(least), detail=detail)


def _balance(criteria: Criteria, situation: Situation) -> Check:
    needed = criteria.join_cost + WALLET_MINIMUM
    detail = f"the wallet holds {format_sol(situation.balance)}, joining needs {format_sol(needed)}"
    return Check("balance", passed=situation.balance >= needed, detail=detail)


def _daily_cap(criteria: Criteria, situation: Situation) -> Check:
    if not criteria.daily_cap:
        return Check("daily cap", passed=True, detail="none is set")
    detail = (
        f"{format_sol(situation.spent)} of your daily cap of {format_sol(criteria.daily_cap)} are spent, "
        f"and a round may take {format_sol(criteria.join_cost)}"
    )
    return Check("daily cap", passed=situation.spent + criteria.join_cost <= criteria.daily_cap, detail=detail)


def _slots(criteria: Criteria, situation: Situation) -> Check:
    if situation.occupied_slots >= criteria.max_concurrent_rounds:
        return Check("slots", passed=False, detail="all slots are busy with other rounds")
    return Check(
        "slots", passed=True, detail=f"{situation.occupied_slots} of {criteria.max_concurrent_rounds} are busy"
    )


def _own(name: str, why_not: Callable[[Round, Situation], str], round_: Round, situation: Situation) -> Check:
    try:
        reason = why_not(round_, situation)
    except Exception as error:  # noqa: BLE001  # it is the user's code, which may raise anything; the daemon goes on
        reason = f"your criterion {name} failed with {type(error).__name__}: {first_line(error)}"
    return Check(name, passed=not reason, detail=reason or "nothing speaks against it")
