"""Decide what follows a failure in a round: when to retry, or that the round is given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decloud_pl.errors import (
    ChainError,
    ContentNotFound,
    DecloudError,
    ExecutorUnavailable,
    InsufficientFunds,
    IntegrityError,
    MachineShortage,
    ProgramError,
    RpcRejected,
    RpcUnavailable,
    StoreError,
    StoreUnavailable,
    TrainingStopped,
    TransactionExpired,
    UntrustedFileRejected,
)
from decloud_pl.journal.record import NOT_JOINED, RoundRecord, State
from decloud_pl.retry import LONGEST_RETRY_AFTER, Backoff
from decloud_pl.rounds.events import Trouble
from decloud_pl.rounds.steps import Steps
from decloud_pl.shortage import shortage

LOOK_AGAIN = 60.0
"""Seconds until the next look at a round whose deadline is not known, after a failed look."""
_PASSING = (RpcUnavailable, StoreUnavailable, ContentNotFound, TransactionExpired, InsufficientFunds)
"""Failures of other services, or an empty wallet. The daemon retries until the round's deadline."""
_NO_ATTEMPT = (ExecutorUnavailable, TrainingStopped, MachineShortage)
"""Errors that are no failures of the round: no machine had room for it, or the user stopped it. They do not count as
attempts, and the round keeps its slot."""
SHORTAGE_PAUSE = 15.0
"""Seconds until the next attempt after such an error."""
_MOST_SHORTAGES = 4
"""After more shortages than this, the round itself may need too much memory. Then it does not occupy its slot between
its attempts to train. It is not given up, because the shortage may pass."""
_PAUSE_WITHOUT_SLOT = 60.0
_NEVER_GIVEN_UP = (State.SUBMITTED, State.CLAIMING)
_MAX_ATTEMPTS = 4
_MOST_FAILURES = 64
"""Failures in a row, over about an hour, after which a joined round without a known deadline is given up."""
_BACKOFF = Backoff(2.0, 60.0)
_BACKOFF_OF_REWARD = Backoff(2.0, 600.0)
"""For a reward, unless no endpoint answers: a claim may fail for weeks, and each attempt takes several requests."""
_SHARE_TO_WAIT = 0.25
"""Before publishing, a wait for a busy server takes at most this part of the time until the deadline."""


class InternalError(DecloudError):
    """An unexpected exception, which is an error of this program or of a plug-in."""


def reportable(error: Exception, *, places: Sequence[Path] = ()) -> DecloudError:
    """Return an error as one that can be reported: itself, the shortage that it means, or an `InternalError`.

    ``places`` are folders that were written to; see `shortage`.
    """
    known = shortage(error, places=places) or error
    if isinstance(known, DecloudError):
        return known
    return InternalError(f"Internal error ({type(error).__name__}).", fix="See logs/daemon.log and please report it.")


@dataclass(frozen=True, slots=True)
class _Series:
    """The failures of a round in a row, in this run of the daemon.

    Attributes:
        state: the state in which they occurred.
        again_at: the time of the next attempt, on the monotonic clock.
        failures: the number of failures that were attempts.
        counted: the number of them that may end the round.
        shortages: the number of shortages of this machine. They are no attempts.
    """

    state: State
    again_at: float
    failures: int = 0
    counted: int = 0
    shortages: int = 0


class Failures:
    """The failures of each round since its last successful look or step.

    Args:
        steps: the journal, the reporter and the finished updates.
        deadline: returns a round's next deadline in Unix seconds of this machine, or None if it is not known.
        now: returns Unix seconds of this machine.
    """

    def __init__(self, steps: Steps, deadline: Callable[[int], float | None], *, now: Callable[[], float]) -> None:
        self._steps = steps
        self._deadline = deadline
        self._now = now
        self._series: dict[int, _Series] = {}

    def add(self, record: RoundRecord, error: DecloudError) -> float | None:
        """Record a failure in the journal and report it.

        Returns:
            The seconds until the next attempt. None if a retry cannot help; then nothing is recorded or reported.
        """
        steps, round_id = self._steps, record.round_id
        before = self._series.get(round_id)
        if before is None or before.state is not record.state:
            before = _Series(record.state, 0.0)
        is_attempt = not isinstance(error, _NO_ATTEMPT)
        failures = before.failures + is_attempt
        shortages = before.shortages + isinstance(error, MachineShortage)
        frees_slot = record.state is State.TRAINING and not is_attempt and shortages > _MOST_SHORTAGES
        passing = not is_attempt or self._may_pass(record, error, failures)
        counted = before.counted + (not passing)
        never_given_up = record.state in _NEVER_GIVEN_UP
        hopeless = isinstance(error, UntrustedFileRejected) or counted >= _MAX_ATTEMPTS
        if hopeless and not never_given_up:
            return None
        deadline = self._deadline(round_id)
        is_urgent = not never_given_up or deadline is not None or isinstance(error, RpcUnavailable)
        backoff = _BACKOFF if is_urgent else _BACKOFF_OF_REWARD
        wait = backoff.after(failures) if is_attempt else _PAUSE_WITHOUT_SLOT if frees_slot else SHORTAGE_PAUSE
        if deadline is not None and deadline > self._now():  # a retry after the deadline may be useless
            wait = min(wait, max(_BACKOFF.first, (deadline - self._now()) / 2))
        if isinstance(error, (RpcUnavailable, StoreUnavailable)) and error.retry_after is not None:
            most = self._left_to_retry(record, of_store=isinstance(error, StoreUnavailable))
            wait = max(wait, min(error.retry_after, most))
        self._series[round_id] = _Series(record.state, steps.monotonic() + wait, failures, counted, shortages)
        next_try_at = int(self._now() + wait)
        attempts = record.attempts + (is_attempt or frees_slot)
        steps.keep(replace(record, attempts=attempts, reason=str(error), next_try_at=next_try_at))
        again = "Looking at the chain again" if isinstance(error, ProgramError) else "Retrying"
        count = "" if passing or never_given_up else f" (attempt {counted + 1} of {_MAX_ATTEMPTS})"
        steps.reporter.report(Trouble.then(round_id, error, f"{again} in {wait:.0f} s{count}."))
        return wait

    def pause(self, record: RoundRecord) -> float:
        """Return the seconds until the next attempt at a round after a failure. 0 or less: it is due."""
        now = self._steps.monotonic()
        series = self._series.get(record.round_id)
        if series is None:
            # The daemon has restarted. This machine's clock may have been wrong when the failure was recorded.
            left = min(record.next_try_at - self._now(), self._left_to_retry(record))
            if left <= 0:
                return 0.0
            series = self._series[record.round_id] = _Series(record.state, now + left)
        return series.again_at - now if series.state is record.state else 0.0

    def recovered(self, record: RoundRecord) -> None:
        """Forget the failures of a round after a successful look. In the state READY, the journal keeps them."""
        self.forget(record.round_id)
        if (record.attempts or record.next_try_at) and record.state is not State.READY and not record.state.is_final:
            self._steps.keep(replace(record, attempts=0, next_try_at=0))

    def forget(self, round_id: int) -> None:
        """Forget the failures of a round after a successful step, or because the round is over."""
        self._series.pop(round_id, None)

    def _may_pass(self, record: RoundRecord, error: DecloudError, failures: int) -> bool:
        """Return whether the cause of a failure may pass, so that it must not end the round.

        A finished update is kept until the round's deadline, because the user may fix the cause in the meantime. A join
        has cost a deposit, so a joined round also survives an endpoint that refuses requests or sends wrong answers.
        """
        if isinstance(error, _PASSING):
            return True
        if record.state in NOT_JOINED and not self._steps.attempts(f"join:{record.round_id}"):
            return False
        deadline = self._deadline(record.round_id)
        is_ahead = deadline is not None and self._now() <= deadline
        if self._steps.has_update(record.round_id):
            return is_ahead or failures < _MOST_FAILURES or isinstance(error, StoreError)
        if isinstance(error, IntegrityError) and is_ahead:
            return True  # a gateway that sends other bytes now may send the file later
        if isinstance(error, RpcRejected):
            return True
        is_of_endpoint = isinstance(error, ChainError) and not isinstance(error, ProgramError)
        return failures < _MOST_FAILURES and (is_of_endpoint or isinstance(error, InternalError))

    def _left_to_retry(self, record: RoundRecord, *, of_store: bool = False) -> float:
        """Return how many seconds a retry may wait for a busy server and still meet the deadline."""
        deadline = self._deadline(record.round_id)
        if deadline is None:
            # The daemon asks a store only after a look at the chain. If that look found no deadline, there is none.
            is_safe = of_store or record.state in _NEVER_GIVEN_UP
            return LONGEST_RETRY_AFTER if is_safe else LOOK_AGAIN
        left = deadline - self._now()
        return left - self._steps.publish_reserve(left) if record.state is State.PUBLISHING else left * _SHARE_TO_WAIT
