"""Read a round from the chain, and remember what earlier reads showed: its deadline, and whether it is missing."""

from __future__ import annotations

from collections.abc import Callable

from decloud_pl.chain.client import View
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.errors import RpcUnavailable
from decloud_pl.journal.record import NOT_JOINED, RoundRecord, State
from decloud_pl.rounds.events import Looked
from decloud_pl.rounds.sightings import Sightings
from decloud_pl.rounds.steps import Steps

_DOUBT_SECONDS = 600.0
"""How long a joined round must be missing on chain before it is given up: an endpoint may lag behind the chain."""
_DOUBT_SECONDS_WITH_UPDATE = 86_400.0
"""The same for a round with a finished update whose deadline is not known, as after a restart. A node that has lost a
day of the chain needs hours to catch up."""


class Looks:
    """Reads rounds from the chain.

    Args:
        steps: the chain, the wallet, the reporter and the monotonic clock.
        sightings: stores how rounds end.
        now: returns Unix seconds of this machine.
    """

    def __init__(self, steps: Steps, sightings: Sightings, *, now: Callable[[], float]) -> None:
        self._steps = steps
        self._sightings = sightings
        self._now = now
        # Of active rounds, on this machine's clock; None for a round that has no deadline now.
        self._deadlines: dict[int, float | None] = {}
        # Since when the chain lacks a joined round or this wallet's place in it, on the monotonic clock.
        self._missing_since: dict[int, float] = {}

    def deadline(self, round_id: int) -> float | None:
        """Return a round's next deadline in Unix seconds of this machine, or None if it is not known."""
        return self._deadlines.get(round_id)

    async def look(self, round_id: int) -> View:
        """Read a round and this wallet's place in it.

        Raises:
            ChainError: the chain cannot be queried.
            JournalError: the journal cannot be written.
        """
        view = await self._steps.chain.view(round_id, self._steps.wallet.address)
        self.saw(round_id, view)
        return view

    def saw(self, round_id: int, view: View) -> None:
        """Report a look at a round, and remember what it shows.

        Raises:
            JournalError: the journal cannot be written.
        """
        deadline = None
        if view.round is not None:
            deadline = next_deadline(view.round)
            self._sightings.saw(view.round, view.now)
            if view.round.status is not RoundStatus.WAITING_VALIDATOR:  # an endpoint that is behind may show this
                self._deadlines[round_id] = None if deadline is None else deadline - view.now + self._now()
        self._steps.reporter.report(Looked(round_id, deadline, view.now, view.balance))
        if view.submission is not None:
            self.believe(round_id)

    def doubt(self, record: RoundRecord, view: View, state: State) -> None:
        """Check that a round is not given up because an endpoint shows the chain as it was before an earlier look.

        A round gets a row in the journal only after a look at a round that can be joined, or has been joined.

        Args:
            record: the round's row.
            view: the look.
            state: the final state that follows from the look.

        Raises:
            RpcUnavailable: the chain lacks the round, or this wallet's place in it, but may show it later.
        """
        if view.submission is not None or state not in (State.FAILED, State.MISSED):
            return
        is_early = view.round is None or view.round.status is RoundStatus.WAITING_VALIDATOR
        if record.state in NOT_JOINED and not is_early:
            return  # the wallet came too late to join
        round_id, now = record.round_id, self._steps.monotonic()
        since = self._missing_since.setdefault(round_id, now)
        deadline = self._deadlines.get(round_id)
        keeps_update = deadline is None and self._steps.has_update(round_id)
        seconds = _DOUBT_SECONDS_WITH_UPDATE if keeps_update else _DOUBT_SECONDS
        if now - since >= seconds and (deadline is None or self._now() > deadline):
            return
        raise RpcUnavailable(
            f"The RPC endpoint shows round {round_id} as it was earlier, or not at all. It may be behind the chain.",
            fix="If this lasts, set network.rpc_url to another endpoint.",
        )

    def believe(self, round_id: int) -> None:
        """Forget that earlier looks lacked a round: the newest one shows it."""
        self._missing_since.pop(round_id, None)

    def forget(self, round_id: int) -> None:
        """Forget what the looks at a round showed. It has ended."""
        self._deadlines.pop(round_id, None)
        self._missing_since.pop(round_id, None)


def next_deadline(round_: Round) -> int | None:
    """Return the next deadline for trainers, in Unix seconds of the chain's clock; None if no deadline applies now."""
    if round_.status is RoundStatus.WAITING_TRAINERS:
        return round_.join_deadline
    return round_.submit_deadline if round_.status is RoundStatus.TRAINING else None
