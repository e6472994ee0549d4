"""The steps of a round: join, train, publish, submit, check, claim.

Each step first writes the round's new state to the journal. At its end, it returns the round's row in the journal.
Repeating a step does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from solders.instruction import Instruction

from decloud_pl.chain.anchor import LAYOUT_ERRORS
from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.send import SIGNATURE_FEE, Sender
from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import BPS_DENOMINATOR, Payout, Round, Update
from decloud_pl.errors import ChainError, ProgramError, RoundError, TrainingError
from decloud_pl.executors.process import Executor
from decloud_pl.executors.shares import Shares
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds import margins, round_files
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.conventions import Conventions
from decloud_pl.rounds.events import Changed, Noted, Reporter, training_event
from decloud_pl.rounds.publication import Publication
from decloud_pl.rounds.revisions import Revisions
from decloud_pl.store.fetch.fetcher import Fetcher, in_thread
from decloud_pl.store.publish import StorePublisher
from decloud_pl.train.plan import BASE_MODEL_FILE


class Plan(Protocol):
    """The plan of a training. See `decloud_pl.train.plan.TrainingPlan`."""

    def write(self, folder: Path) -> None: ...

    def differs_from(self, folder: Path) -> bool: ...


class Planner(Protocol):
    """Turns a round into the worker's plan.

    ``finish_by`` is the Unix time of this machine by which the update must be on disk. ``payout`` is what submitting
    the update may earn, and what it costs. ``publish_reserve`` is the least number of seconds to leave for publishing.
    """

    @property
    def publish_reserve(self) -> float: ...

    def plan(
        self,
        record: RoundRecord,
        *,
        base_model: Path,
        folder: Path,
        finish_by: float | None = None,
        payout: Payout | None = None,
    ) -> Plan: ...


@dataclass(frozen=True)
class Steps:
    """The steps of rounds, and the objects that the steps use.

    Attributes:
        rounds_folder: the parent of the rounds' folders.
        max_model_bytes: the size limit of a download.
        deposit: the lamports that a join deposits in this wallet's new submission account.
        shares: the slots for trainings that run at the same time, with their GPUs.
        conventions: chooses each validator's convention; None leaves the choice to the planner.
        base_models: inspects base models before a join; None to join without an inspection.
        revisions: detects the program's revision; None if the user has set the revision.
    """

    chain: ChainClient
    sender: Sender
    wallet: Wallet
    dialect: Dialect
    journal: Journal
    publisher: StorePublisher
    reader: Fetcher
    executor: Executor
    planner: Planner
    reporter: Reporter
    rounds_folder: Path
    max_model_bytes: int
    deposit: int
    shares: Shares = field(default_factory=lambda: Shares(1))
    revisions: Revisions | None = None
    conventions: Conventions | None = None
    base_models: BaseModels | None = None
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time

    @cached_property
    def _publication(self) -> Publication:
        return Publication(self.publisher, self.journal, self.reporter, self.monotonic)

    def folder(self, round_id: int) -> Path:
        """Return the folder of a round's files, which exists until the round is over."""
        return self.rounds_folder / str(round_id)

    def update_on_disk(self, round_id: int) -> Update | None:
        """Return a round's finished update, or None if the folder has none."""
        return round_files.finished_update(self.folder(round_id))

    def has_update(self, round_id: int) -> bool:
        """Return whether a round has a finished update. A folder that cannot be read may have one."""
        try:
            return self.update_on_disk(round_id) is not None
        except OSError:
            return True

    def drop_withheld(self, round_id: int) -> None:
        """Remove a withheld update, so that the round is trained again. Any checkpoint stays in the folder.

        If a forced run has published the update, forget its CID. If a submission of it landed or may land, keep the
        update.
        """
        update = self.update_on_disk(round_id)
        signed = self.attempts(f"submit:{round_id}")
        if update is None or not update.withheld or any(one.outcome in ("pending", "landed") for one in signed):
            return
        record = self.journal.get(round_id)
        if record is not None:
            self.journal.save(replace(record, pinned_cid=None, pinned_provider=None))
        round_files.drop_update(self.folder(round_id))

    def hand_in(self, round_id: int, update: Update) -> None:
        """Use an update that was trained elsewhere, as if the round's worker had written it.

        It replaces an earlier update of the round, unless a submission of the earlier update was signed.

        Raises:
            RoundError: a submission of an earlier update was signed, so it may already be on chain.
            TrainingError: the update's file is missing or incomplete.
        """
        folder = self.folder(round_id)
        if self.update_on_disk(round_id) == round_files.in_place(folder, update):
            return
        record = self.journal.get(round_id)
        if record is not None and record.pinned_cid is not None and record.update_cid != update.cid:
            if self.attempts(f"submit:{round_id}"):
                raise RoundError(
                    f"An earlier update of round {round_id} is being submitted: {record.pinned_cid}.",
                    fix=f"Complete its submission with: decloud-trainer train {round_id}",
                )
            self.keep(replace(record, pinned_cid=None, pinned_provider=None))
        round_files.copy_update(folder, update)

    def is_planned_otherwise(self, record: RoundRecord) -> bool:
        """Return whether the settings have changed, so that a new training of the round could give another update."""
        folder = self.folder(record.round_id)
        plan = self.planner.plan(record, base_model=folder / BASE_MODEL_FILE, folder=folder)
        return plan.differs_from(folder)

    def is_read_otherwise(self, record: RoundRecord) -> bool:
        """Return whether the validator is now assumed to use another convention than the update was trained for."""
        if self.conventions is None or record.convention is None:
            return False
        return self.conventions.of(record.validator).convention != record.convention

    def attempts(self, key: str) -> list[Attempt]:
        """Return the transactions that this daemon has signed for a step of a round, for example ``join:7``."""
        return JournalTransactionLog(self.journal).attempts(key)

    def enter(self, record: RoundRecord, state: State, reason: str = "") -> RoundRecord:
        """Write a new state, or a new reason for the same state, to the journal."""
        if (record.state, record.reason) == (state, reason):
            return record
        fresh = replace(record, state=state, reason=reason)
        if record.state is not state:
            fresh = replace(fresh, attempts=0, next_try_at=0)
        return self.keep(fresh)

    def reopen(self, record: RoundRecord, state: State) -> RoundRecord:
        """Reopen a round that has ended, and reset its attempts. Forget its pinned CID if no submission was signed."""
        if not self.attempts(f"submit:{record.round_id}"):
            record = replace(record, pinned_cid=None, pinned_provider=None)
        return self.keep(replace(record, state=state, reason="reopened", attempts=0, next_try_at=0))

    def keep(self, record: RoundRecord) -> RoundRecord:
        """Write a row to the journal and report it."""
        self.journal.save(record)
        self.reporter.report(Changed(record))
        return record

    async def join(self, record: RoundRecord) -> RoundRecord:
        record = self.enter(record, State.JOINING)
        begun = self.monotonic()

        async def landed() -> bool:
            return await self.chain.submission(record.round_id, self.wallet.address) is not None

        instruction = self.dialect.join_round(record.round_id, trainer=self.wallet.address)
        signature = await self._send(instruction, f"join:{record.round_id}", landed, deposit=self.deposit)
        if self.base_models is not None:
            await self.base_models.hand_over(record.model_cid, self.folder(record.round_id))
        return self.keep(
            replace(
                record,
                state=State.WAITING,
                reason="joined, waiting for the validator to start the training",
                join_signature=signature or record.join_signature,
                join_seconds=self.monotonic() - begun,
            )
        )

    async def fetch_base_model(self, record: RoundRecord) -> Path:
        """See `round_files.fetch_base_model`."""
        folder, most = self.folder(record.round_id), self.max_model_bytes
        return await in_thread(
            lambda cancel: round_files.fetch_base_model(
                folder, record.model_cid, self.reader, max_bytes=most, cancel=cancel
            )
        )

    async def train(self, record: RoundRecord, round_: Round, *, seconds_left: int) -> RoundRecord:
        """Train in a worker. The worker is stopped when the submit deadline passes.

        Raises:
            TrainingError: the worker failed, hung or did not finish in time.
            StoreError: the base model cannot be downloaded.
        """
        until = self.monotonic() + max(1, seconds_left)
        window = record.submit_window if record.submit_window is not None else seconds_left
        record = replace(record, submit_window=window).without_update()
        record = self.enter(self._with_convention(record), State.TRAINING)
        try:
            async with asyncio.timeout(until - self.monotonic()):
                base_model = await self.fetch_base_model(record)
        except TimeoutError as error:
            raise TrainingError(
                "The submit deadline passed during the download of the base model.",
                fix="Add a faster gateway to network.gateways.",
            ) from error
        folder = self.folder(record.round_id)
        async with self.shares.take() as environment:
            begun = self.monotonic()
            left = until - begun
            finish_by = self.now() + left - self.publish_reserve(left)
            payout = Payout(round_.reward_of(BPS_DENOMINATOR), round_.trainers_count, SIGNATURE_FEE)
            plan = self.planner.plan(record, base_model=base_model, folder=folder, finish_by=finish_by, payout=payout)
            plan.write(folder)

            def on_progress(message: Mapping[str, object]) -> None:
                event = training_event(record.round_id, message)
                if event is not None:
                    self.reporter.report(event)

            try:
                async with asyncio.timeout(max(1.0, until - self.monotonic())):
                    await self.executor.train(folder, on_progress, environment=environment)
            except TimeoutError as error:
                raise TrainingError(
                    "The submit deadline passed during the training.",
                    fix="Lower epochs or max_batches.",
                ) from error
        update = self.update_on_disk(record.round_id)
        if update is None:
            raise TrainingError("The training process exited with code 0 but wrote no update.")
        return self.keep(replace(record.with_update(update), train_seconds=self.monotonic() - begun))

    def _with_convention(self, record: RoundRecord) -> RoundRecord:
        """Choose and report the convention to assume for the round's validator. Return the row with this convention."""
        if self.conventions is None:
            return record
        choice = self.conventions.of(record.validator)
        message = f"Assuming that the validator reads updates as {choice.convention}, because {choice.why}."
        self.reporter.report(Noted(record.round_id, message))
        return replace(record, convention=choice.convention, convention_why=choice.why)

    async def publish(self, record: RoundRecord, *, seconds_left: int) -> RoundRecord:
        """Pin the update at a store. The attempt ends when the submit deadline passes.

        Raises:
            StoreError: see `StorePublisher.pin`.
        """
        update = self._update(record)
        record = self.enter(record.with_update(update), State.PUBLISHING)
        begun, folder = self.monotonic(), self.folder(record.round_id)
        pinned = await self._publication.publish(record.round_id, update, folder, seconds_left=max(1, seconds_left))
        return self.keep(
            replace(
                record,
                pinned_cid=pinned.cid,
                pinned_provider=pinned.provider,
                publish_seconds=self.monotonic() - begun,
            )
        )

    async def submit(self, record: RoundRecord, *, seconds_left: int) -> RoundRecord:
        cid = record.pinned_cid
        if cid is None:
            raise TrainingError("The round has no pinned update to submit.")
        record = self.enter(record, State.SUBMITTING)
        update = self.update_on_disk(record.round_id)
        if update is not None:
            await self._publication.renew(record, update, self.folder(record.round_id), seconds_left=seconds_left)

        async def landed() -> bool:
            submission = await self.chain.submission(record.round_id, self.wallet.address)
            return submission is not None and submission.submitted and submission.gradient_cid == cid

        instruction = self.dialect.submit_gradients(record.round_id, trainer=self.wallet.address, gradient_cid=cid)
        signature = await self._send(instruction, f"submit:{record.round_id}", landed)
        return self.keep(replace(record, submit_signature=signature or record.submit_signature))

    async def check(self, record: RoundRecord, round_: Round) -> RoundRecord:
        """Send the transaction that moves a round to its next status after a deadline.

        Any wallet may send this transaction. This wallet sends it only if the round still has the old status.
        """

        async def landed() -> bool:
            current = await self.chain.round(record.round_id)
            return current is None or current.status is not round_.status

        instruction = self.dialect.check_round(record.round_id, creator=round_.creator)
        await self._send(instruction, f"check:{record.round_id}:{round_.status.name}", landed)
        return self.enter(record, State.SUBMITTED, "moved past its deadline, waiting for the validator's scores")

    async def claim(self, record: RoundRecord, round_: Round, contribution_bps: int) -> RoundRecord:
        record = self.enter(
            replace(
                record,
                contribution_bps=contribution_bps,
                claimed_lamports=round_.reward_of(contribution_bps),
            ),
            State.CLAIMING,
        )
        begun = self.monotonic()

        async def landed() -> bool:
            submission = await self.chain.submission(record.round_id, self.wallet.address)
            return submission is not None and submission.reward_claimed

        signature, dialect = await self._send_claim(record.round_id, landed)
        paid = replace(round_, treasury_fee_bps=dialect.treasury_fee_bps).reward_of(contribution_bps)
        return self.keep(
            replace(
                record,
                claimed_lamports=paid,
                claim_signature=signature or record.claim_signature,
                claim_seconds=self.monotonic() - begun,
            )
        )

    async def _send_claim(self, round_id: int, landed: Callable[[], Awaitable[bool]]) -> tuple[str | None, Dialect]:
        """Send the claim in the form of each revision, the most likely revision first, until the program accepts one.

        Return the signature and the dialect of the accepted claim. The program may have been upgraded since the
        revision was detected. A refused form costs no fee: every transaction is simulated before it is signed.
        """
        revisions, refused = self.revisions, list[Dialect]()
        while True:
            dialects = [self.dialect] if revisions is None else revisions.candidates()
            dialect = next(one for one in dialects if one not in refused)
            try:
                instruction = dialect.claim_reward(round_id, trainer=self.wallet.address)
                return await self._send(instruction, f"claim:{round_id}", landed), dialect
            except ProgramError as error:
                if revisions is None or error.code not in LAYOUT_ERRORS or len(refused) + 1 == len(dialects):
                    raise
            if not refused:
                with contextlib.suppress(ChainError):
                    await revisions.look()
            refused.append(dialect)

    def finish(self, record: RoundRecord, state: State, reason: str) -> RoundRecord:
        """End a round and delete its folder."""
        record = self.enter(record, state, reason)
        shutil.rmtree(self.folder(record.round_id), ignore_errors=True)
        self._publication.forget(record.round_id)
        return record

    def delete_leftovers(self) -> None:
        """Delete the folders of rounds that have ended. A process that was killed in `finish` leaves such a folder."""
        ended = {str(round_id) for round_id, state in self.journal.states().items() if state.is_final}
        for folder in self.rounds_folder.glob("*"):
            if folder.name in ended:
                shutil.rmtree(folder, ignore_errors=True)

    async def _send(
        self, instruction: Instruction, key: str, landed: Callable[[], Awaitable[bool]], *, deposit: int = 0
    ) -> str | None:
        receipt = await self.sender.send([instruction], key=key, landed=landed, deposit=deposit)
        return receipt.signature

    def publish_reserve(self, seconds_left: float) -> float:
        """Return the seconds to leave for publishing before a deadline that is ``seconds_left`` ahead."""
        return margins.publish_reserve(self.journal.rounds(), self.planner.publish_reserve, seconds_left)

    def submit_margin(self) -> float | None:
        """Return the seconds to leave for submitting before a deadline, or None if no transaction was timed yet."""
        latest = self.journal.rounds(limit=margins.SUBMITS_REMEMBERED, descending=True)
        return margins.submit_margin(latest, self.planner.publish_reserve)

    def _update(self, record: RoundRecord) -> Update:
        update = self.update_on_disk(record.round_id)
        if update is None:
            raise TrainingError("The finished update is no longer on disk.")
        return update
