"""Store how rounds end. Most of the data comes from rounds and events that the daemon reads for other purposes.

A round's account on chain shows how the round ended, but not when. The daemon learns the time from events, and from
reading this wallet's own rounds often. So the duration of the scoring is known only for rounds that were scored while
the daemon ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple, TypeVar

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.events import Event, GradientsSubmitted, ValidationCompleted
from decloud_pl.domain import Round, RoundStatus, Submission, is_equal_split
from decloud_pl.errors import ChainError
from decloud_pl.journal.track_record import ROUNDS_KEPT, Ending, SeenRound, Split, endings, store_rounds
from decloud_pl.journal.writer import Journal

UNSCORED_AFTER = 6 * 3600
"""Seconds past its deadline after which a round that its validator left unscored counts as abandoned."""
SPLITS_PER_LOOK = 4
"""The largest number of rounds whose shares `Sightings.look_at_splits` reads in one call. Each takes one request."""
_LONGEST_SCORING = 7 * 86_400
_SKEW = 5.0
"""Seconds by which the clocks of two observations may differ."""
_CLOSE = 120.0
"""If a round changed between two reads that are at most this many seconds apart, the time of the change is known."""
_REMEMBERED = 10_000
_BLOCK = 500

T = TypeVar("T")


class _Look(NamedTuple):
    """What the daemon saw when it read a round that was not completed. ``at`` is in Unix seconds of this machine."""

    at: float
    submissions: int


class Sightings:
    """Stores how rounds end.

    Args:
        journal: stores the rounds.
        now: returns Unix seconds of this machine.
    """

    def __init__(self, journal: Journal, *, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        # By round, in Unix seconds of this machine.
        self._submitted_at: dict[int, float] = {}
        self._scored_at: dict[int, float] = {}
        self._looks: dict[int, _Look] = {}
        # Completed rounds whose shares have not been read yet.
        self._unsplit: dict[int, SeenRound] = {}

    def on_event(self, event: Event) -> None:
        """If an event reports a submission or the end of the scoring, remember the current time for its round."""
        if isinstance(event, GradientsSubmitted):
            _remember(self._submitted_at, event.round_id, self._now())
        elif isinstance(event, ValidationCompleted):
            _remember(self._scored_at, event.round_id, self._now())

    def saw(self, round_: Round, now: int) -> None:
        """Remember the state of one of this wallet's rounds. If the round has ended, store how it ended.

        ``now`` is in Unix seconds of the chain's clock.

        Raises:
            JournalError: the journal cannot be written.
        """
        here, last = self._now(), self._looks.get(round_.id)
        is_scored = round_.status is RoundStatus.COMPLETED
        if last is not None and here - last.at <= _CLOSE:
            if is_scored:
                self._scored_at.setdefault(round_.id, here)
            if round_.submissions_count > last.submissions:
                self._submitted_at.setdefault(round_.id, here)
        if not is_scored:
            _remember(self._looks, round_.id, _Look(here, round_.submissions_count))
        if ending_of(round_, now) != "open":
            with self.look(now) as see:
                see(round_)

    @contextmanager
    def look(self, now: int) -> Iterator[Callable[[Round], None]]:
        """Yield a function that collects rounds. When the context closes, store in the journal how they ended.

        The caller passes each round that it reads from the chain to the function, the latest round first. The function
        ignores rounds that are still open, and all rounds after the first `ROUNDS_KEPT`.

        Args:
            now: Unix seconds of the chain's clock.

        Raises:
            JournalError: the journal cannot be written.
        """
        blocks: dict[int, dict[int, Ending]] = {}
        changed: list[SeenRound] = []
        seen = 0

        def see(round_: Round) -> None:
            nonlocal seen
            seen += 1
            ending = ending_of(round_, now)
            if ending == "open" or seen > ROUNDS_KEPT:
                return
            block = round_.id // _BLOCK
            if block not in blocks:  # read only the blocks of these rounds
                blocks[block] = endings(self._journal, range(block * _BLOCK, (block + 1) * _BLOCK))
            # The event that reports the scores may arrive after the round was stored without their time.
            if blocks[block].get(round_.id) == ending and round_.id not in self._scored_at:
                return
            row = self._row(round_, ending, now)
            changed.append(row)
            self._scored_at.pop(round_.id, None)
            self._looks.pop(round_.id, None)
            if ending == "completed" and round_.submissions_count > 1:
                self._unsplit[round_.id] = row

        yield see
        store_rounds(self._journal, changed)
        latest = sorted(self._unsplit)[-_REMEMBERED:]
        self._unsplit = {round_id: self._unsplit[round_id] for round_id in latest}

    def refuse(self, round_: Round) -> None:
        """Store that the quarantine refused a round's base model.

        Raises:
            JournalError: the journal cannot be written.
        """
        now = int(self._now())
        store_rounds(self._journal, [replace(self._row(round_, ending_of(round_, now), now), is_refused=True)])

    async def look_at_splits(self, chain: ChainClient) -> None:
        """Read the shares of a few completed rounds from the chain, and store whether they were equal.

        For each validator, at most one round is read: the latest.

        Raises:
            JournalError: the journal cannot be written.
        """
        latest: dict[str | None, SeenRound] = {}
        for round_id in sorted(self._unsplit, reverse=True):
            row = self._unsplit[round_id]
            latest.setdefault(row.validator, row)
        self._unsplit.clear()  # the next call has newer rounds
        with suppress(ChainError):  # the shares of later rounds show the same
            for row in list(latest.values())[:SPLITS_PER_LOOK]:
                split = split_of(await chain.round_submissions(row.round_id))
                store_rounds(self._journal, [replace(row, split=split)])

    def _row(self, round_: Round, ending: Ending, now: int) -> SeenRound:
        return SeenRound(
            round_id=round_.id,
            creator=str(round_.creator),
            validator=None if round_.validator is None else str(round_.validator),
            ending=ending,
            created_at=min(max(0, round_.created_at), now),
            scoring_seconds=self._scoring_seconds(round_, now) if ending == "completed" else None,
        )

    def _scoring_seconds(self, round_: Round, now: int) -> float | None:
        scored, submitted = self._scored_at.get(round_.id), self._submitted_at.get(round_.id)
        if scored is None:
            return None
        if round_.submissions_count >= round_.trainers_count:  # the validation began with the last submission
            begun = submitted
        else:
            begun = round_.submit_deadline - now + self._now()
        if begun is None or not -_SKEW <= scored - begun <= _LONGEST_SCORING:
            return None
        return max(0.0, scored - begun)


def ending_of(round_: Round, now: int) -> Ending:
    """Return how a round ended, or ``open`` if it has not. ``now`` is in Unix seconds of the chain's clock."""
    is_claimed, has_trainers = round_.validator is not None, round_.trainers_count > 0
    # A round whose training began waits for scores only if an update was submitted.
    waits = is_claimed and has_trainers and (not round_.submit_deadline or round_.submissions_count > 0)
    match round_.status:
        case RoundStatus.COMPLETED:
            return "completed"
        case RoundStatus.CANCELLED if not is_claimed:
            return "cancelled"
        case RoundStatus.CANCELLED:
            return "unscored" if has_trainers else "empty"
        case RoundStatus.EXPIRED:
            return "unscored" if waits else "empty"
    due = round_.submit_deadline or round_.join_deadline
    return "unscored" if waits and now > due + UNSCORED_AFTER else "open"


def split_of(submissions: Sequence[Submission]) -> Split:
    """Return ``equal`` if a round paid several shares, all equal up to one basis point; otherwise ``unequal``."""
    shares = [entry.contribution_bps for entry in submissions if entry.contribution_bps]
    return "equal" if is_equal_split(shares) else "unequal"


def _remember(times: dict[int, T], round_id: int, value: T) -> None:
    """Store a round's value in ``times``. If ``times`` becomes too large, remove its oldest value."""
    times.pop(round_id, None)
    times[round_id] = value
    if len(times) > _REMEMBERED:
        del times[next(iter(times))]
