"""One step of one round by hand, through the daemon's own journal and steps.

A daemon restricted to the round runs until the step has been taken. So a step that was interrupted goes on where
it was, nothing is sent twice, and the daemon itself can take over from here at any time.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.wallet import Wallet
from decloud_pl.config import RewardsConfig, Settings
from decloud_pl.daemon.assemble import assemble, run_until_stopped
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.stopping import said_at_the_end
from decloud_pl.domain import Round, RoundStatus, Submission, Update
from decloud_pl.errors import JournalLocked, RoundError
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import Changed, DaemonEvent, Noted, Reporter, Skipped, Trouble

Step = Literal["join", "train", "claim"]

_NOT_JOINED = {State.SEEN, State.JOINING, State.MISSED, State.EXPIRED, State.CANCELLED, State.ABORTED, State.FAILED}
_DONE: dict[Step, frozenset[State]] = {
    "join": frozenset(State) - _NOT_JOINED,
    "train": frozenset({State.SUBMITTED, State.CLAIMING}),
    "claim": frozenset({State.CLAIMED}),
}
_MOST_TROUBLES = 4
TAKES_NO_UPDATES = (RoundStatus.VALIDATING, RoundStatus.COMPLETED, RoundStatus.EXPIRED, RoundStatus.CANCELLED)


def already_done(step: Step, round_id: int, round_: Round | None, submission: Submission | None) -> bool:
    """Whether the chain shows that a step was taken before.

    Args:
        step: the step.
        round_id: names the round in messages.
        round_: the round on chain.
        submission: this wallet's place in it.

    Raises:
        RoundError: the step cannot be taken as things stand.
    """
    if round_ is None:
        raise RoundError(f"The chain knows no round {round_id}.", fix="`decloud-trainer list` shows all rounds.")
    if step == "join":
        return submission is not None
    if submission is None:
        raise RoundError(
            f"This wallet has not joined round {round_id}.", fix=f"Join it first: decloud-trainer join {round_id}"
        )
    status = round_.status.name.lower().replace("_", " ")
    if step == "train":
        if not submission.submitted and round_.status in TAKES_NO_UPDATES:
            raise RoundError(
                f"Round {round_id} takes no more submissions: it is {status}.", fix="Choose another round."
            )
        return submission.submitted
    if round_.status is not RoundStatus.COMPLETED:
        raise RoundError(
            f"Round {round_id} has no reward to claim yet: it is {status}.",
            fix=f"`decloud-trainer status {round_id}` shows how it stands.",
        )
    if submission.contribution_bps == 0:
        raise RoundError(f"Round {round_id} has no reward for this wallet.", fix="The validator measured no gain.")
    return submission.reward_claimed


async def claimable(chain: ChainClient, trainer: Pubkey) -> list[int]:
    """The rounds whose reward waits for a trainer."""
    shares = [
        submission.round_id
        for submission in await chain.submissions_of(trainer)
        if submission.contribution_bps and not submission.reward_claimed
    ]
    rounds = await chain.rounds_by_id(shares)
    return [round_id for round_id, round_ in rounds.items() if round_.status is RoundStatus.COMPLETED]


async def take(
    step: Step,
    round_id: int,
    settings: Settings,
    wallet: Wallet,
    reporter: Reporter,
    *,
    update: Update | None = None,
    trained_elsewhere: bool = False,
    run: Callable[[Daemon], Awaitable[bool]] = run_until_stopped,
) -> RoundRecord | None:
    """Takes one step of a round; waits for the chain where the step needs that.

    Args:
        step: ``join`` only joins; ``train`` waits for the training to start, trains, pins and submits, or with
            ``update.force`` publishes an update that was withheld; ``claim`` claims.
        round_id: the round, chosen by the user: data sets and rewards wished for do not matter.
        settings: how to train and where.
        wallet: who takes the step.
        reporter: is told what happens.
        update: what to pin and submit in the step ``train``, in place of a training.
        trained_elsewhere: see `assemble`.
        run: runs the daemon until it has stopped, and says whether the user interrupted it.

    Returns:
        The round's row in the journal, None when the user interrupted.

    Raises:
        RoundError: the step cannot be taken, or failed for good.
        TrainingError: the update's file is damaged.
        JournalLocked: a daemon works for this home.
    """
    watch = _Watch(step, round_id, reporter)
    try:
        narrowed = _narrowed(step, round_id, settings, trains=step == "train" and update is None)
        async with assemble(narrowed, wallet, watch, trained_elsewhere=trained_elsewhere) as daemon:
            watch.stop = daemon.stop
            if update is not None:
                daemon.hand_in(round_id, update)
            elif step == "train" and not settings.update.force:
                daemon.train_anew(round_id)
            interrupted = await run(daemon)
            record = _last(daemon, watch)
            for line in said_at_the_end(daemon.open_rounds(round_id), time.time()) if interrupted else ():
                reporter.report(Noted(None, line))
    except JournalLocked as error:
        raise JournalLocked(
            error.message, fix=f"It takes its own steps; stop it to {step} by hand, or look with `status {round_id}`."
        ) from error
    if watch.refusal is not None:
        raise RoundError(f"Round {round_id}: {watch.refusal.rstrip('.')}.", fix=watch.fix)
    if record is not None and record.state.is_final and record.state not in _DONE[step]:
        raise RoundError(f"Round {round_id}: {record.state.value}, {record.reason.rstrip('.')}.")
    return None if interrupted else record


class _Watch:
    """Hands events on, and stops the daemon when the step is done or cannot be."""

    def __init__(self, step: Step, round_id: int, reporter: Reporter) -> None:
        self._step = step
        self._round_id = round_id
        self._reporter = reporter
        self._troubles = 0
        self.stop: Callable[[], None] | None = None
        self.record: RoundRecord | None = None
        self.refusal: str | None = None
        self.fix = ""

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, Trouble) and event.round_id in (None, self._round_id):
            self._troubles += 1
            if self._troubles >= _MOST_TROUBLES:
                # Not handed on: it says that the daemon retries, which this step no longer does.
                self.refusal = event.cause or event.message
                self.fix = f"Nothing was lost. Go on with: decloud-trainer {self._step} {self._round_id}"
                self._stop()
                return
        self._reporter.report(event)
        if isinstance(event, Changed) and event.record.round_id == self._round_id:
            self.record = event.record
            if event.record.state in _DONE[self._step]:
                self._stop()
            elif event.record.state is State.WITHHELD and self._step == "train":
                self.refusal = event.record.reason
                self.fix = f"Train with other settings, or submit it all the same: train {self._round_id} --force"
                self._stop()
        elif isinstance(event, Skipped) and event.round_id == self._round_id:
            self.refusal = f"not joined, {event.reason}"
            self._stop()

    def _stop(self) -> None:
        if self.stop is not None:
            self.stop()


def _narrowed(step: Step, round_id: int, settings: Settings, *, trains: bool) -> Settings:
    """The settings for one step of one round."""
    return dataclasses.replace(
        settings,
        task="round",
        round=round_id,
        datasets=[],
        rewards=RewardsConfig(),
        auto_train=trains,
        auto_claim=step == "claim",
        poll_interval=min(settings.poll_interval, 2.0),
    )


def _last(daemon: Daemon, watch: _Watch) -> RoundRecord | None:
    return watch.record or next(iter(daemon.ended), None)
