"""Drive one round: read it from the chain, decide, do the next step, and repeat until no step is possible now."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from decloud_pl.chain.anchor import LAYOUT_ERRORS
from decloud_pl.chain.client import View
from decloud_pl.domain import LAMPORTS_PER_SOL, Round, format_sol
from decloud_pl.errors import (
    ChainError,
    DecloudError,
    JournalError,
    MachineShortage,
    ProgramError,
    no_round,
)
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.rounds.discover import Discovery
from decloud_pl.rounds.events import Noted, Trouble
from decloud_pl.rounds.failures import LOOK_AGAIN, SHORTAGE_PAUSE, Failures, InternalError, reportable
from decloud_pl.rounds.joining import Joining
from decloud_pl.rounds.life import Act, Finish, Wait, next_step, with_reward
from decloud_pl.rounds.looks import Looks
from decloud_pl.rounds.policy import Policy
from decloud_pl.rounds.select import WALLET_MINIMUM
from decloud_pl.rounds.sightings import Sightings
from decloud_pl.rounds.steps import Steps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Again:
    """A request to drive the round again after ``seconds``, even if the chain does not change."""

    seconds: float


class Driver:
    """Drives rounds independently of each other.

    Args:
        steps: carries out transactions, trainings and uploads.
        policy: the user's rules for the daemon.
        now: returns Unix seconds of this machine.

    Attributes:
        discovery: finds rounds.
        sightings: stores how rounds end.
        ended: the journal's rows of the rounds that ended in this run, in order. If the policy's ``only_round`` can
            never be joined, it has a row here, but none in the journal.
        finishing: rounds in a step that must complete before the daemon stops.
        stopping: set to True when the daemon stops. Then only rounds in `ready` are driven, to submit their updates.
    """

    def __init__(self, steps: Steps, policy: Policy, *, now: Callable[[], float]) -> None:
        self._steps = steps
        self._policy = policy
        self._joining = Joining(policy, steps.journal, steps.base_models)
        self._one_at_a_time = asyncio.Lock()
        self._compared: set[int] = set()
        self._left: set[tuple[int, str]] = set()
        # Joined rounds that were compared with the user's rules for validators and creators.
        self._ruled: set[int] = set()
        # Rounds with an abort event in this run. The event also cancels the round's training.
        self._aborted: set[int] = set()
        self._trainings: dict[int, asyncio.Timeout] = {}
        self.sightings = Sightings(steps.journal, now=now)
        self._looks = Looks(steps, self.sightings, now=now)
        self._failures = Failures(steps, self._looks.deadline, now=now)
        self.discovery = Discovery(steps, self._joining, self.sightings, self._on_abort, self._has_step)
        self.ended: list[RoundRecord] = []
        self.finishing: set[int] = set()
        self.stopping = False

    @property
    def training(self) -> list[int]:
        """The rounds that are being trained."""
        return list(self._trainings)

    def deadline(self, round_id: int) -> float | None:
        """Return a round's next deadline in Unix seconds of this machine, or None if it is not known."""
        return self._looks.deadline(round_id)

    async def reopen(self, round_id: int) -> bool:
        """Prepare a run for this round alone, which the user has just started.

        A round that has ended for this wallet is reopened, if the chain still allows a step. A wait after an earlier
        failure is dropped.

        Returns:
            Whether a step is left. If not, the round is added to `ended` with the reason.

        Raises:
            ChainError: the chain cannot be queried.
            RoundError: the round does not exist.
        """
        record = self._steps.journal.get(round_id)
        if record is None and await self._steps.chain.round(round_id) is None:
            raise no_round(round_id)
        if record is not None and record.next_try_at and not record.state.is_final:
            self._steps.keep(replace(record, next_try_at=0))
        if record is None or not record.state.is_final:
            return True
        if record.state is not State.ABORTED:  # not every revision shows an abort on chain
            view = await self._looks.look(round_id)
            decided = self._decide(record, view)
            if not isinstance(decided, Finish):
                self._steps.reopen(record, State.SEEN if view.submission is None else State.WAITING)
                return True
            record = replace(record, state=decided.state, reason=decided.reason)
        why = ", ".join(filter(None, (record.state.value, record.reason.rstrip("."))))
        self._steps.reporter.report(Noted(round_id, f"The round is over for this wallet: {why}."))
        self.ended.append(record)
        return False

    async def drive(self, round_id: int) -> Again | None:
        """Take all steps of a round that are possible now.

        If a step fails, schedule a retry or end the round.

        Raises:
            JournalError: the journal cannot be written.
        """
        try:
            record = self._steps.journal.get(round_id)
            if record is None:
                record = await self._choose(round_id)
            else:
                self.discovery.forget(round_id)
            if record is None and self._waits_to_join(round_id):
                return Again(self._policy.poll_interval)
            if record is None or record.state.is_final:
                return None
            pause = self._failures.pause(record)
            if pause > 0 and not self.stopping:
                return Again(pause)
            record = self._reconsider(record)
            while True:
                view = await self._looks.look(round_id)
                if self.stopping and record.state is not State.READY:
                    return None
                self._note_rules(round_id, view)
                decided = self._decide(record, view)
                if not isinstance(decided, Finish):
                    self._looks.believe(round_id)
                match decided:
                    case Finish(state, reason):
                        self._looks.doubt(record, view, state)
                        if state is State.CLAIMED:
                            record = with_reward(record, view.round, view.submission)
                        self._end(self._steps.finish(record, state, reason))
                        return None
                    case Wait(state, reason, until):
                        record = self._steps.enter(record, state, reason)
                        await self._wait(record)
                        self._failures.recovered(record)
                        return None if until is None else Again(max(0, until - view.now))
                    case Act("train") if not self._policy.auto_train:
                        self._leave("train", record, view)
                        return None
                    case Act("claim") if not self._policy.auto_claim:
                        self._leave("claim", record, view)
                        return None
                    case Act(step):
                        record = await self._do(step, record, view)
                        self._failures.forget(round_id)
        except JournalError:
            raise
        except ProgramError as error:
            if error.code in LAYOUT_ERRORS:  # the network may run another revision than the daemon assumes
                await self._follow_upgrade()
            return self.failed(round_id, error)
        except Exception as error:  # an internal error in one round must not end the daemon or affect other rounds
            known = reportable(error, places=(self._steps.rounds_folder, Path(tempfile.gettempdir())))
            if isinstance(known, InternalError):
                logger.exception("Internal error in round %d", round_id)
            return self.failed(round_id, known)

    def _waits_to_join(self, round_id: int) -> bool:
        """Return whether a run for this round alone must look at it again: polls show only rounds that are open."""
        return self._policy.only_round == round_id and all(record.round_id != round_id for record in self.ended)

    async def _follow_upgrade(self) -> None:
        """Detect again which revision of the program the network runs. Ignore a failure.

        The program may have been upgraded, or the revision may still be uncertain.
        """
        if self._steps.revisions is not None:
            with contextlib.suppress(ChainError, MachineShortage):
                await self._steps.revisions.look()

    async def _choose(self, round_id: int) -> RoundRecord | None:
        """Decide whether to join a new round. Return its new row in the journal, or None if the round is not joined.

        The base model is inspected first. Meanwhile, other rounds can be decided.
        """
        while True:
            chosen = await self._choose_now(round_id)
            if not isinstance(chosen, View):
                return chosen
            base_models, round_ = self._steps.base_models, chosen.round
            if base_models is not None and round_ is not None:
                await base_models.look(round_.model_cid, seconds_left=round_.join_deadline - chosen.now)
                if base_models.has_refused(round_.model_cid):
                    self.sightings.refuse(round_)

    async def _choose_now(self, round_id: int) -> RoundRecord | View | None:
        """Do the same as `_choose`, but return the `View` of the round if its base model must be inspected first."""
        steps, policy = self._steps, self._policy
        async with self._one_at_a_time:  # two rounds must not both take the last slot
            view = await steps.chain.view(round_id, steps.wallet.address)
            if view.round is None and policy.only_round is not None:
                raise no_round(round_id)
            if view.round is None or round_id in self._aborted or self.stopping:
                self.discovery.forget(round_id)
                return None
            if view.submission is not None:
                return steps.keep(self._joining.record_of_joined(view.round))
            taken = {record.round_id for record in [*self.ended, *steps.journal.unfinished()]}
            if policy.stop_after is not None and len(taken) >= policy.stop_after:
                return None
            decision = self._joining.decide(view.round, now=view.now, balance=view.balance)
            if not decision.accept:
                self.discovery.skip(view.round, decision)
                if decision.settled and policy.only_round is not None:  # nothing is left to do in this run
                    self._end(replace(self._joining.record(view.round, decision.reason), state=State.MISSED))
                return None
            if steps.base_models is not None and steps.base_models.wants_look(view.round, now=view.now):
                return view
            if policy.faucet and self._joining.unreserved(view.balance) < policy.criteria.join_cost + WALLET_MINIMUM:
                await steps.chain.rpc.request_airdrop(steps.wallet.address, LAMPORTS_PER_SOL)
            self.discovery.forget(round_id)
            return steps.keep(self._joining.record(view.round, decision.reason))

    def _has_step(self, record: RoundRecord, view: View) -> bool:
        """Record a look at a round. Return whether `drive` would do more than look at the round again."""
        try:
            self._looks.saw(record.round_id, view)
            decided = self._decide(record, view)
        except Exception:  # noqa: BLE001  # `drive` meets the same error and handles it
            return True
        if record.attempts or isinstance(decided, Finish):
            return True
        if isinstance(decided, Wait):
            return (decided.state, decided.reason) != (record.state, record.reason)
        return (record.round_id, decided.step) not in self._left

    def _decide(self, record: RoundRecord, view: View) -> Act | Wait | Finish:
        update = self._steps.update_on_disk(record.round_id)
        return next_step(
            record,
            view.round,
            view.submission,
            now=view.now,
            update_on_disk=update is not None,
            withheld="" if update is None or self._policy.force else update.withheld,
            aborted=record.round_id in self._aborted,
            submit_from=self._submit_from(record, view),
        )

    def _submit_from(self, record: RoundRecord, view: View) -> int | None:
        """Return when to submit a published update, in Unix seconds of the chain's clock; None to submit it at once."""
        if not self._policy.submit_late or self.stopping or view.round is None or record.pinned_cid is None:
            return None
        margin = self._steps.submit_margin()
        return None if margin is None else int(view.round.submit_deadline - margin)

    def ready(self) -> list[int]:
        """Return the rounds whose published update waits to be submitted shortly before the deadline."""
        only = self._policy.only_round
        ready = [record.round_id for record in self._steps.journal.rounds(states=[State.READY])]
        return [round_id for round_id in ready if only in (None, round_id)]

    def lost_contact(self) -> None:
        """Let the next drive of each round in the state READY submit its update, even if the deadline is not near.

        The daemon calls this method when no endpoint has answered, because the endpoints may also fail at the deadline.

        Raises:
            JournalError: the journal cannot be written.
        """
        for record in self._steps.journal.rounds(states=[State.READY]):
            if not record.attempts:
                self._steps.keep(replace(record, attempts=1))

    async def _do(self, step: str, record: RoundRecord, view: View) -> RoundRecord:
        steps, round_ = self._steps, view.round
        if round_ is None:
            raise no_round(record.round_id)
        seconds_left = round_.submit_deadline - view.now
        if step == "train":
            if steps.revisions is not None and not steps.revisions.is_decided:
                await self._follow_upgrade()  # the validator's convention depends on the revision
            validator = None if round_.validator is None else str(round_.validator)
            record = replace(record, validator=validator)
            return await self._train(record, round_, seconds_left=seconds_left)
        self.finishing.add(record.round_id)
        try:
            match step:
                case "join":
                    return await steps.join(record)
                case "publish":
                    return await steps.publish(record, seconds_left=seconds_left)
                case "submit":
                    return await steps.submit(record, seconds_left=seconds_left)
                case "check":
                    return await steps.check(record, round_)
            return await steps.claim(record, round_, 0 if view.submission is None else view.submission.contribution_bps)
        finally:
            self.finishing.discard(record.round_id)

    async def _train(self, record: RoundRecord, round_: Round, *, seconds_left: int) -> RoundRecord:
        """Train until the update is finished or the round is aborted; return the round's row in the journal."""
        try:
            async with asyncio.timeout(None) as training:
                self._trainings[record.round_id] = training
                try:
                    return await self._steps.train(record, round_, seconds_left=seconds_left)
                finally:
                    del self._trainings[record.round_id]
        except TimeoutError:
            if not training.expired():
                raise
            return self._steps.journal.get(record.round_id) or record

    def _on_abort(self, round_id: int) -> None:
        self._aborted.add(round_id)
        training = self._trainings.get(round_id)
        if training is not None:
            training.reschedule(asyncio.get_running_loop().time())

    async def _wait(self, record: RoundRecord) -> None:
        """Prepare or end a round whose next step is not possible yet.

        In the state WAITING, download the base model if `Policy.auto_train` is on. In the state WITHHELD, end the round
        if the run is bounded (see `Policy`).
        """
        if record.state is State.WAITING and self._policy.auto_train:
            await self._steps.fetch_base_model(record)
        ended = {record.round_id for record in self.ended}
        if record.state is State.WITHHELD and self._policy.is_bounded and record.round_id not in ended:
            # Otherwise a run for this round alone would wait for its deadline. A later run may still force it.
            self._end(record)

    def _leave(self, step: str, record: RoundRecord, view: View) -> None:
        """Report, once per run, that the user must do a step because its ``auto_`` setting is off.

        If the step is the claim, a bounded run (see `Policy`) then ends the round.
        """
        round_, place = view.round, view.submission
        if record.attempts or record.next_try_at:
            self._failures.recovered(replace(record, reason=""))
        if (record.round_id, step) in self._left or round_ is None or place is None:
            return
        self._left.add((record.round_id, step))
        if step == "train":
            left = (round_.submit_deadline - view.now) // 60
            what = f"The training phase has started; the submit deadline is in {left} min"
        else:
            what = f"Its reward of {format_sol(round_.reward_of(place.contribution_bps))} can be claimed"
        how = f"To {step}, stop this daemon and run `decloud-trainer {step} {record.round_id}`"
        self._steps.reporter.report(Noted(record.round_id, f"{what}. auto_{step} is off. {how}."))
        if step == "claim" and self._policy.is_bounded:
            self._end(record)

    def _note_rules(self, round_id: int, view: View) -> None:
        """Report a joined round that the user's rules exclude, once per run. The join cannot be undone."""
        if view.round is None or view.submission is None or round_id in self._ruled:
            return
        self._ruled.add(round_id)
        why = self._joining.objection(view.round)
        if why and not view.submission.submitted:
            then = "This wallet has already joined, and a join cannot be undone, so the daemon completes the round."
            self._steps.reporter.report(Noted(round_id, f"Your rules exclude this round: {why}. {then}"))

    def _reconsider(self, record: RoundRecord) -> RoundRecord:
        """Drop a withheld update if the validator's convention or the settings have changed. Return the round's row.

        Then the round is trained again. The settings are compared once per run.
        """
        if record.state is not State.WITHHELD or self._policy.force or not self._policy.auto_train:
            return record
        changed = self._steps.is_read_otherwise(record)
        if record.round_id not in self._compared:
            self._compared.add(record.round_id)
            changed = changed or self._steps.is_planned_otherwise(record)
        if changed:
            self._steps.drop_withheld(record.round_id)
        return self._steps.journal.get(record.round_id) or record

    def failed(self, round_id: int, error: DecloudError) -> Again | None:
        """Record a failed step. Schedule a retry with back-off, or end the round if a retry cannot help."""
        steps = self._steps
        record = steps.journal.get(round_id)
        if record is None:
            then = f"Looking at the round again in {LOOK_AGAIN:.0f} s."
            steps.reporter.report(Trouble.then(round_id, error, then))
            return Again(LOOK_AGAIN)
        if record.state.is_final:
            steps.reporter.report(Trouble(round_id, str(error)))
            return None
        try:
            wait = self._failures.add(record, error)
            if wait is None:
                self._end(steps.finish(record, State.FAILED, str(error)))
                return None
        except MachineShortage as full:  # the journal's disk: the round goes on from its last row when there is space
            steps.reporter.report(Trouble.then(round_id, full, f"Retrying in {SHORTAGE_PAUSE:.0f} s."))
            return Again(SHORTAGE_PAUSE)
        return Again(wait)

    def _end(self, record: RoundRecord) -> None:
        if record.state is State.UNREWARDED and (record.gain_low or 0) > 0:
            self._steps.reporter.report(Trouble(record.round_id, f"The round paid no reward: {record.reason}."))
        self._looks.forget(record.round_id)
        self._failures.forget(record.round_id)
        self.ended.append(record)
