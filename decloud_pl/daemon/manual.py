"""Take one step of one round by hand, with the daemon's journal and steps.

A daemon restricted to the round runs until the step is done. So an interrupted step resumes, no transaction is sent
twice, and the normal daemon can take over at any time.
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
from decloud_pl.config.schema import SubmitConfig
from decloud_pl.daemon.assemble import assemble
from decloud_pl.daemon.loop import Daemon
from decloud_pl.daemon.stopping import said_at_the_end
from decloud_pl.domain import Round, RoundStatus, Submission, Update
from decloud_pl.errors import JournalLocked, RoundError, no_round
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.events import Changed, DaemonEvent, Looked, Noted, Reporter, Skipped, Training, Trouble

Step = Literal["join", "train", "claim"]

_NOT_JOINED = {State.SEEN, State.JOINING, State.MISSED, State.EXPIRED, State.CANCELLED, State.ABORTED, State.FAILED}
_DONE: dict[Step, frozenset[State]] = {
    "join": frozenset(State) - _NOT_JOINED,
    "train": frozenset({State.SUBMITTED, State.CLAIMING}),
    "claim": frozenset({State.CLAIMED}),
}
_MOST_TROUBLES = 4
"""Failures in a row after which a step by hand ends, counted separately for the round and for the daemon as a whole."""
TAKES_NO_UPDATES = (RoundStatus.VALIDATING, RoundStatus.COMPLETED, RoundStatus.EXPIRED, RoundStatus.CANCELLED)


def already_done(step: Step, round_id: int, round_: Round | None, submission: Submission | None) -> bool:
    """Return whether the chain shows that a step is already done.

    Args:
        step: the step.
        round_id: the round's number, for the error messages.
        round_: the round on chain, or None if it does not exist.
        submission: this wallet's submission account, or None if the wallet has not joined.

    Raises:
        RoundError: the step is not possible now.
    """
    if round_ is None:
        raise no_round(round_id)
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
                f"Round {round_id} accepts no more submissions: it is {status}.", fix="Choose another round."
            )
        return submission.submitted
    if round_.status is not RoundStatus.COMPLETED:
        raise RoundError(
            f"Round {round_id} has no reward to claim yet: it is {status}.",
            fix=f"Follow it with `decloud-trainer status {round_id}`.",
        )
    if submission.contribution_bps == 0:
        why = "its validator measured no gain" if submission.submitted else "it submitted no update"
        raise RoundError(f"Round {round_id} has no reward for this wallet: {why}.", fix="Join another round.")
    return submission.reward_claimed


async def claimable(chain: ChainClient, trainer: Pubkey) -> list[int]:
    """Return the rounds whose reward a trainer can still claim."""
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
    run: Callable[[Daemon], Awaitable[bool]],
) -> RoundRecord | None:
    """Take one step of a round. If the chain does not allow the step yet, wait.

    Args:
        step: ``join`` only joins. ``train`` waits for the training to start, trains, pins and submits. With the
            setting ``update.force``, ``train`` publishes an update that was withheld earlier. ``claim`` claims the
            reward.
        round_id: the round. The user chose it, so the settings' data sets, rewards and ``submit.when`` do not apply.
        settings: the network, the home folder and the training.
        wallet: signs the transactions.
        reporter: receives the events.
        update: a finished update. The step ``train`` does not train, but pins and submits this update. None to train.
        trained_elsewhere: see `assemble`.
        run: runs the daemon until it stops; returns whether the user interrupted the daemon.

    Returns:
        The round's row in the journal, or None if the user interrupted the daemon.

    Raises:
        RoundError: the step is not possible, or it failed permanently. `StepBlockedError` if other rounds would fail
            for the same reason.
        TrainingError: the update's file is damaged.
        JournalLocked: a daemon uses this home folder.
    """
    watch = _Watch(step, round_id, reporter)
    try:
        narrowed = _narrowed(step, round_id, settings, trains=step == "train" and update is None)
        async with assemble(
            narrowed, wallet, watch, publishes=step != "claim", trained_elsewhere=trained_elsewhere
        ) as daemon:
            watch.stop = daemon.stop
            if update is not None:
                daemon.steps.hand_in(round_id, update)
            elif step == "train" and not settings.update.force:
                daemon.steps.drop_withheld(round_id)  # so that it is trained again
            interrupted = await run(daemon)
            record = watch.record or next(iter(daemon.ended), None)
            for line in said_at_the_end(daemon.open_rounds(round_id), time.time()) if interrupted else ():
                reporter.report(Noted(None, line))
    except JournalLocked as error:
        raise JournalLocked(
            error.message,
            fix=f"The daemon takes this step itself: follow the round with `decloud-trainer status {round_id}`, or"
            f" stop the daemon to {step} by hand.",
        ) from error
    if watch.refusal is not None:
        kind = StepBlockedError if watch.of_all else RoundError
        raise kind(f"Round {round_id}: {watch.refusal.rstrip('.')}.", fix=watch.fix)
    if record is not None and record.state.is_final and record.state not in _DONE[step]:
        raise RoundError(f"Round {round_id}: {record.state.value}, {record.reason.rstrip('.')}.")
    return None if interrupted else record


class StepBlockedError(RoundError):
    """A step failed for a reason that concerns all rounds, such as an empty wallet or no endpoint that answers."""


class _Watch:
    """Forwards events, and stops the daemon when the step is done or has failed."""

    def __init__(self, step: Step, round_id: int, reporter: Reporter) -> None:
        self._step = step
        self._round_id = round_id
        self._reporter = reporter
        self._troubles: dict[int | None, int] = {round_id: 0, None: 0}
        self.stop: Callable[[], None] | None = None
        self.record: RoundRecord | None = None
        self.refusal: str | None = None
        self.fix = ""
        self.of_all = False

    def report(self, event: DaemonEvent) -> None:
        if isinstance(event, (Looked, Training)):  # the chain answers, or its failures do not concern the round now
            self._troubles[None] = 0
        elif isinstance(event, Trouble) and event.round_id in self._troubles:
            self._troubles[event.round_id] += 1
            if self._troubles[event.round_id] >= _MOST_TROUBLES:
                # Do not forward the event: it announces a retry, but this step does not retry any more.
                self.refusal, self.of_all = event.cause or event.message, event.of_all
                self.fix = f"No data was lost. Resume with: decloud-trainer {self._step} {self._round_id}"
                self._stop()
                return
        self._reporter.report(event)
        if isinstance(event, Changed) and event.record.round_id == self._round_id:
            self.record = event.record
            if not event.record.attempts and not event.record.next_try_at:
                self._troubles[self._round_id] = 0
            if event.record.state in _DONE[self._step]:
                self._stop()
            elif event.record.state is State.WITHHELD and self._step == "train":
                self.refusal = event.record.reason
                self.fix = (
                    "Train with other settings, or submit it anyway with"
                    f" `decloud-trainer train {self._round_id} --force`."
                )
                self._stop()
        elif isinstance(event, Skipped) and event.round_id == self._round_id:
            self.refusal = f"not joined, {event.reason}"
            self._stop()

    def _stop(self) -> None:
        if self.stop is not None:
            self.stop()


def _narrowed(step: Step, round_id: int, settings: Settings, *, trains: bool) -> Settings:
    """Return a copy of the settings that restricts the daemon to one step of one round."""
    return dataclasses.replace(
        settings,
        task="round",
        round=round_id,
        datasets=[],
        rewards=RewardsConfig(),
        submit=SubmitConfig(),  # the user waits for it
        auto_train=trains,
        auto_claim=step == "claim",
        poll_interval=min(settings.poll_interval, 2.0),
    )
