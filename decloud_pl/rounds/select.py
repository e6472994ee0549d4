"""Check a round, and decide whether to join it. These functions are pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from decloud_pl.chain.send import SIGNATURE_FEE
from decloud_pl.config import RewardsConfig
from decloud_pl.config.schema import PartiesConfig
from decloud_pl.domain import Round, RoundStatus, format_sol, parse_sol
from decloud_pl.errors import DatasetError, InvalidCid, first_line
from decloud_pl.store.ipfs.cid import Cid

WALLET_MINIMUM = 890_880
"""The rent-exempt minimum of an empty account in lamports. A wallet that pays must keep it."""
TRANSACTIONS_PER_ROUND = 3
WATT_SECONDS_PER_KWH = 3_600_000
_TOO_LATE = "its join deadline has passed"
_SAFETY = 1.25
"""The allowed slowdown of a training compared with the measurement."""
ENOUGH_ROUNDS = 5
"""The least number of a validator's ended rounds for a judgement."""


def join_cost(deposit: int, max_priority_lamports: int) -> int:
    """Return the most lamports that joining, submitting and claiming can cost."""
    return deposit + TRANSACTIONS_PER_ROUND * (SIGNATURE_FEE + max_priority_lamports)


@dataclass(frozen=True, slots=True)
class Criteria:
    """The user's criteria for joining. Amounts are in lamports.

    Attributes:
        datasets: the data sets to train for, by their names on chain or on this machine; empty means any.
        rewards: the user's limits on rewards, and the user's rules for validators and creators.
        max_concurrent_rounds: the most rounds to work on at a time.
        join_cost: the most that a round can cost, see `join_cost`.
        daily_cap: the most that fees and deposits may cost in 24 hours; 0 means no cap.
        adapts: whether a training adapts its duration to the time until the deadline.
        own: the user's own criteria by name. Each takes a round and the `Situation`, and returns why not to join the
            round, or "" to join it.
    """

    datasets: Collection[str] = ()
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    max_concurrent_rounds: int = 1
    join_cost: int = 0
    daily_cap: int = 0
    adapts: bool = False
    own: Mapping[str, Callable[[Round, Situation], str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """The current state of this wallet and this machine.

    Attributes:
        now: Unix seconds of the chain's clock.
        balance: the wallet's lamports, less the cost of joins that are not confirmed yet.
        occupied_slots: the number of rounds that count towards ``max_concurrent_rounds``.
        spent: lamports spent on fees and deposits in the last 24 hours, and the cost of joins that are not sent yet.
        train_seconds: maps a data set to the measured seconds from the start of a training to its published update.
        submit_window: the median seconds from the start of the training to the submit deadline in earlier rounds; None
            without an earlier round.
        join_seconds: the measured seconds that a join takes; 0 without a measurement.
        unsupported: why the daemon does not support the network's program, or "".
        completion: maps a validator's address to two numbers: how many rounds the validator completed, and how many
            it completed or abandoned. Only rounds in the journal count.
    """

    now: int
    balance: int
    occupied_slots: int
    spent: int = 0
    train_seconds: Mapping[str, float] = field(default_factory=dict)
    submit_window: int | None = None
    join_seconds: float = 0.0
    unsupported: str = ""
    completion: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check of a round.

    Attributes:
        name: a short, stable name for people and programs.
        passed: whether the check allows a join.
        detail: the values behind the result. For a failure it completes "not joined, …".
        settled: whether the failure is permanent.
        passing: whether the failure is temporary: it usually disappears within moments without action by the user.
    """

    name: str
    passed: bool
    detail: str
    settled: bool = False
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one round.

    Attributes:
        accept: whether to join.
        reason: why; completes "not joined, …" if ``accept`` is False.
        resolved_dataset: the data set to train on, "" if ``accept`` is False.
        settled: whether a refusal is permanent, so that the daemon can drop the round.
        unready: whether the round is refused only because the files of the data set are missing.
        passing: whether the reason usually disappears within moments.
    """

    accept: bool
    reason: str
    resolved_dataset: str = ""
    settled: bool = False
    unready: bool = False
    passing: bool = False


def explain(round_: Round, criteria: Criteria, situation: Situation, *, dataset: str | DatasetError) -> Iterator[Check]:
    """Yield all checks of a round, in the order of their precedence. Make each check only when the caller asks for it.

    ``dataset`` is the data set to train on, or the error that explains why there is none.
    """
    resolved = dataset if isinstance(dataset, str) else None
    yield _program(situation)
    yield _status(round_, situation)
    yield _join_deadline(round_, situation)
    yield _trainers(round_)
    yield _min_reward(round_, criteria)
    yield _max_reward(round_, criteria)
    yield from party_rules(round_, criteria.rewards, situation.completion)
    yield _dataset(round_, dataset)
    yield _model_cid(round_)
    yield _wanted(round_, resolved, criteria)
    yield _speed(resolved, criteria, situation)
    yield _profit(round_, resolved, criteria, situation)
    yield _balance(criteria, situation)
    yield _daily_cap(criteria, situation)
    yield _slots(criteria, situation)
    for name, why_not in criteria.own.items():
        yield _own(name, why_not, round_, situation)


def party_rules(
    round_: Round, rewards: RewardsConfig, completion: Mapping[str, tuple[int, int]]
) -> tuple[Check, Check, Check]:
    """Check a round's validator and creator against the user's rules. For ``completion`` see `Situation`."""
    validator = None if round_.validator is None else str(round_.validator)
    return (
        _listed("validator", validator, rewards.validators),
        _completion(validator, rewards.min_completion, completion),
        _listed("creator", str(round_.creator), rewards.creators),
    )


def verdict(checks: Iterable[Check], resolved_dataset: str) -> Decision:
    """Derive the decision from the checks of `explain`.

    The reason for a refusal is the first permanent failure, or the first failure if none is permanent. A permanent
    failure ends the checks: most rounds on chain are over, and all checks of a round take 0.1 ms.
    """
    first: Check | None = None
    for check in checks:
        if not check.passed:
            first = check if check.settled else first or check
            if first.settled:
                break
    if first is None:
        return Decision(accept=True, reason="it fits", resolved_dataset=resolved_dataset)
    return Decision(accept=False, reason=first.detail, settled=first.settled, passing=first.passing)


def why_closed(round_: Round, now: int) -> str:
    """Return why a round accepts no more trainers, or "" if it still accepts some.

    The reason completes "not joined, …". ``now`` is in Unix seconds of the chain's clock.
    """
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return f"it is {round_.status.name.lower().replace('_', ' ')}"
    if now > round_.join_deadline:
        return _TOO_LATE
    return _full(round_) if round_.is_full else ""


def _full(round_: Round) -> str:
    return f"it already has its {round_.max_trainers} trainers"


def _program(situation: Situation) -> Check:
    # Not settled: the network's program and decloud_pl may both be upgraded.
    return Check("program", passed=not situation.unsupported, detail=situation.unsupported or "its revision is known")


def _status(round_: Round, situation: Situation) -> Check:
    if round_.status is RoundStatus.WAITING_VALIDATOR:
        if situation.now > round_.validator_deadline:
            detail = "no validator claimed it in time"
            return Check("status", passed=False, detail=detail, settled=True)
        return Check("status", passed=False, detail="no validator has claimed it yet", passing=True)
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return Check("status", passed=False, detail=why_closed(round_, situation.now), settled=True)
    return Check("status", passed=True, detail="it waits for trainers")


def _join_deadline(round_: Round, situation: Situation) -> Check:
    name = "join deadline"
    if round_.status is not RoundStatus.WAITING_TRAINERS:
        return Check(name, passed=True, detail="it does not apply in the current status")
    left = round_.join_deadline - situation.now
    if left < 0:
        return Check(name, passed=False, detail=_TOO_LATE, settled=True)
    if left < situation.join_seconds:
        detail = f"its join deadline is in {left} s, but a join takes {situation.join_seconds:.0f} s on this machine"
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
        # Under another revision, which may be the running one, the treasury takes no fee.
        settled = round_.reward_amount < criteria.rewards.min_lamports
        return Check("minimum reward", passed=False, detail=detail, settled=settled)
    return Check("minimum reward", passed=True, detail=f"{reward}; your minimum is {least}")


def _max_reward(round_: Round, criteria: Criteria) -> Check:
    limit = criteria.rewards.max_lamports
    reward, most = format_sol(round_.net_reward), format_sol(limit)
    if limit and round_.net_reward > limit:
        detail = f"its reward of {reward} is above your maximum of {most}"
        return Check("maximum reward", passed=False, detail=detail, settled=True)
    detail = f"{reward}; your maximum is {most}" if limit else f"{reward}; no maximum is set"
    return Check("maximum reward", passed=True, detail=detail)


def _listed(who: Literal["validator", "creator"], address: str | None, rules: PartiesConfig) -> Check:
    if address is None:  # the program accepts trainers once a validator has claimed the round
        return Check(who, passed=True, detail="none yet; your rules apply to the validator that claims the round")
    if address in rules.block:
        place = f"rewards.{who}s.block"
        detail = f"its {who} {address} is in {place}; to join its rounds, remove it there"
        return Check(who, passed=False, detail=detail, settled=True)
    if rules.allow and address not in rules.allow:
        place = f"rewards.{who}s.allow"
        detail = f"its {who} {address} is not in {place}; to join its rounds, add it there"
        return Check(who, passed=False, detail=detail, settled=True)
    return Check(who, passed=True, detail=f"{address}; your rules do not exclude it")


def _completion(validator: str | None, least: float, completion: Mapping[str, tuple[int, int]]) -> Check:
    name = "completed rounds"
    if not least or validator is None:
        return Check(name, passed=True, detail="no minimum is set" if not least else "no validator yet")
    completed, ended = completion.get(validator, (0, 0))
    if ended < ENOUGH_ROUNDS:
        detail = f"{ended} rounds of its validator are known; rewards.min_completion needs {ENOUGH_ROUNDS}"
        return Check(name, passed=True, detail=detail)
    detail = f"its validator {validator} completed {completed} of {ended} rounds; rewards.min_completion is {least:g}"
    if completed < least * ended:
        # Not settled: the record changes.
        return Check(name, passed=False, detail=f"{detail}, lower it to join")
    return Check(name, passed=True, detail=detail)


def _dataset(round_: Round, dataset: str | DatasetError) -> Check:
    if isinstance(dataset, DatasetError):
        return Check("data set", passed=False, detail=str(dataset).rstrip("."), settled=True)
    how = "" if dataset == round_.dataset else f", trained on {dataset}"
    return Check("data set", passed=True, detail=f"{round_.dataset}{how}")


def _model_cid(round_: Round) -> Check:
    try:
        cid = Cid.parse(round_.model_cid)
    except InvalidCid as error:
        return Check("model CID", passed=False, detail=f"its model_cid: {first_line(error)}", settled=True)
    return Check("model CID", passed=True, detail=str(cid))


def _wanted(round_: Round, resolved: str | None, criteria: Criteria) -> Check:
    if criteria.datasets and not {round_.dataset, resolved} & set(criteria.datasets):
        detail = f"your settings exclude the data set {round_.dataset}; to train on it, add it to datasets or --dataset"
        return Check("wanted data sets", passed=False, detail=detail, settled=True)
    return Check("wanted data sets", passed=True, detail=", ".join(sorted(criteria.datasets)) or "any")


def _speed(resolved: str | None, criteria: Criteria, situation: Situation) -> Check:
    if criteria.adapts:
        return Check("speed", passed=True, detail="a training adapts to the time until the deadline")
    seconds = None if resolved is None else situation.train_seconds.get(resolved)
    if seconds is None or situation.submit_window is None:
        return Check("speed", passed=True, detail="not measured yet")
    detail = f"a training takes {seconds:.0f} s on this machine, and rounds leave {situation.submit_window} s"
    # Not settled: the settings, the windows and the machine's load change.
    return Check("speed", passed=seconds * _SAFETY <= situation.submit_window, detail=detail)


def _profit(round_: Round, resolved: str | None, criteria: Criteria, situation: Situation) -> Check:
    rewards, least = criteria.rewards, criteria.rewards.min_profit
    if not least:
        return Check("expected profit", passed=True, detail="no minimum is set")
    seconds = 0 if resolved is None else -(-int(situation.train_seconds.get(resolved, 0) * 1000) // 1000)
    share = round_.after_treasury(round_.trainers_pool // (round_.trainers_count + 1))
    energy = parse_sol(rewards.sol_per_kwh) * rewards.watts * seconds // WATT_SECONDS_PER_KWH
    profit = share - criteria.join_cost - energy
    detail = (
        f"its expected profit is {format_sol(profit)} ({format_sol(share)} as one of {round_.trainers_count + 1} "
        f"trainers, less {format_sol(criteria.join_cost)} for fees and deposit and {format_sol(energy)} for energy); "
        f"your minimum is {format_sol(parse_sol(least))}"
    )
    return Check("expected profit", passed=profit >= parse_sol(least), detail=detail)


def _balance(criteria: Criteria, situation: Situation) -> Check:
    needed = criteria.join_cost + WALLET_MINIMUM
    detail = f"the wallet holds {format_sol(situation.balance)}, and a join needs {format_sol(needed)}"
    return Check("balance", passed=situation.balance >= needed, detail=detail)


def _daily_cap(criteria: Criteria, situation: Situation) -> Check:
    if not criteria.daily_cap:
        return Check("daily cap", passed=True, detail="no cap is set")
    detail = (
        f"{format_sol(situation.spent)} of your daily cap of {format_sol(criteria.daily_cap)} are spent, "
        f"and a round may cost {format_sol(criteria.join_cost)}"
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
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything, and the daemon must continue
        reason = f"your criterion {name} failed with {type(error).__name__}: {first_line(error)}"
    return Check(name, passed=not reason, detail=reason or "it has no objection")
