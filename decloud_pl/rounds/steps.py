"""The effects of a round's life: join, train, publish, submit, claim.

Each writes its state to the journal first, may be repeated without harm, and returns the row as it is then.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from solders.instruction import Instruction

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.send import Sender
from decloud_pl.chain.transaction_log import Attempt
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import Round, Update
from decloud_pl.durable import copy_atomically, make_private
from decloud_pl.errors import ChainError, ProgramError, RoundError, TrainingError
from decloud_pl.executors.process import UPDATE_FILE, Executor
from decloud_pl.executors.shares import Shares
from decloud_pl.executors.update_file import read_update, write_update
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.transactions import JournalTransactionLog
from decloud_pl.journal.uploads import JournalUploadLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.base_models import BaseModels
from decloud_pl.rounds.conventions import Conventions
from decloud_pl.rounds.events import Changed, Noted, Reporter, Uploading, training_event
from decloud_pl.rounds.revisions import Revisions, is_of_layout
from decloud_pl.store.fetch.fetcher import NEVER, Fetcher, in_thread
from decloud_pl.store.publish import StorePublisher
from decloud_pl.train.plan import BASE_MODEL_FILE

WEIGHTS_FILE = "update.pt"
_PUBLISH_MARGIN = 3.0
_PUBLISHES_REMEMBERED = 10


class Plan(Protocol):
    """What a worker trains by, see `decloud_pl.train.plan.TrainingPlan`."""

    def write(self, folder: Path) -> None: ...

    def differs_from(self, folder: Path) -> bool: ...


class Planner(Protocol):
    """Turns a round into the worker's plan.

    ``finish_by`` is the Unix time of this machine by which the update must be on disk; ``publish_reserve`` the
    seconds that publishing is given at least.
    """

    @property
    def publish_reserve(self) -> float: ...

    def plan(self, record: RoundRecord, *, base_model: Path, folder: Path, finish_by: float | None = None) -> Plan: ...


@dataclass(frozen=True)
class Steps:
    """Everything a round's effects need.

    Attributes:
        rounds_folder: where rounds have their folders.
        max_model_bytes: caps a download.
        deposit: lamports that the account a join creates must hold.
        shares: places for trainings that run at the same time.
        conventions: how validators read updates; None leaves it to the planner.
        base_models: looked at before a join; None joins without.
        revisions: of the program; None where the user has named the one that runs.
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

    def folder(self, round_id: int) -> Path:
        """Where a round's files are until it is over."""
        return self.rounds_folder / str(round_id)

    def update_on_disk(self, round_id: int) -> Update | None:
        """The finished training of a round; a damaged one is put aside to be made again."""
        path = self.folder(round_id) / UPDATE_FILE
        try:
            return read_update(path)
        except TrainingError:
            path.replace(path.with_name(path.name + ".damaged"))
            return None

    def drop_withheld(self, round_id: int) -> None:
        """Makes a round whose update is withheld train anew; a checkpoint of the same training is gone on from."""
        update = self.update_on_disk(round_id)
        if update is not None and update.withheld:
            (self.folder(round_id) / UPDATE_FILE).unlink()

    def hand_in(self, round_id: int, update: Update) -> None:
        """Makes an update that was trained elsewhere the round's own, as its worker would have left it.

        It replaces an earlier one, unless that may be on its way to the chain.

        Raises:
            RoundError: an earlier one may be.
            TrainingError: the update's file is not what the update says.
        """
        folder = self.folder(round_id)
        make_private(folder)
        path = folder / WEIGHTS_FILE
        update_in_place = replace(update, path=path)
        if self.update_on_disk(round_id) == update_in_place:
            return
        record = self.journal.get(round_id)
        if record is not None and record.pinned_cid is not None and record.update_cid != update.cid:
            if self.attempts(f"submit:{round_id}"):
                raise RoundError(
                    f"An earlier update of round {round_id} is being submitted: {record.pinned_cid}.",
                    fix="Claim the round: that completes the submission.",
                )
            self.keep(replace(record, pinned_cid=None, pinned_provider=None))
        # Until the new file is in place there is no update: the old description would be of other bytes.
        (folder / UPDATE_FILE).unlink(missing_ok=True)
        try:
            if not path.exists() or not path.samefile(update.path):
                copy_atomically(update.path, path)
            complete = path.stat().st_size == update.size
        except OSError as error:
            raise TrainingError(
                f"The update {update.path} cannot be read: {error.strerror}.", fix="Train again."
            ) from error
        if not complete:
            raise TrainingError(f"The update {update.path} is not complete.", fix="Train again.")
        write_update(folder / UPDATE_FILE, update_in_place)

    def is_planned_otherwise(self, record: RoundRecord) -> bool:
        """Whether the settings have changed since a round's update was made so that another one would come out."""
        folder = self.folder(record.round_id)
        plan = self.planner.plan(record, base_model=folder / BASE_MODEL_FILE, folder=folder)
        return plan.differs_from(folder)

    def is_read_otherwise(self, record: RoundRecord) -> bool:
        """Whether a later round shows that the validator reads updates by another convention than was trained for."""
        if self.conventions is None or record.convention is None:
            return False
        return self.conventions.of(record.validator).convention != record.convention

    def attempts(self, key: str) -> list[Attempt]:
        """Transactions that this daemon has signed for an intent."""
        return JournalTransactionLog(self.journal).attempts(key)

    def enter(self, record: RoundRecord, state: State, reason: str = "") -> RoundRecord:
        """Writes down that a state begins (or goes on, where only the reason is new)."""
        if (record.state, record.reason) == (state, reason):
            return record
        fresh = replace(record, state=state, reason=reason)
        if record.state is not state:
            fresh = replace(fresh, attempts=0, next_try_at=0)
        return self.keep(fresh)

    def reopen(self, record: RoundRecord, state: State) -> RoundRecord:
        """Takes up a round that had ended, with all its attempts; what it had pinned goes where it was not sent."""
        if not self.attempts(f"submit:{record.round_id}"):
            record = replace(record, pinned_cid=None, pinned_provider=None)
        return self.keep(replace(record, state=state, reason="taken up again", attempts=0, next_try_at=0))

    def keep(self, record: RoundRecord) -> RoundRecord:
        """Writes a row as it is and tells the reporter."""
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
        """See `decloud_pl.rounds.steps.fetch_base_model`."""
        folder, most = self.folder(record.round_id), self.max_model_bytes
        return await in_thread(
            lambda cancel: fetch_base_model(folder, record.model_cid, self.reader, max_bytes=most, cancel=cancel)
        )

    async def train(self, record: RoundRecord, *, seconds_left: int) -> RoundRecord:
        """Trains in a worker that is ended when the deadline for submissions passes.

        Raises:
            TrainingError: the worker failed, hung or was not ready in time.
            StoreError: the base model cannot be fetched.
        """
        until = self.monotonic() + max(1, seconds_left)
        window = record.submit_window if record.submit_window is not None else seconds_left
        record = self.enter(self._with_convention(replace(record, submit_window=window)), State.TRAINING)
        try:
            async with asyncio.timeout(until - self.monotonic()):
                base_model = await self.fetch_base_model(record)
        except TimeoutError as error:
            raise TrainingError(
                "The deadline for submissions passed during the download of the base model.",
                fix="Add a faster gateway to network.gateways.",
            ) from error
        folder = self.folder(record.round_id)
        async with self.shares.take() as environment:
            begun = self.monotonic()
            finish_by = self.now() + until - self.monotonic() - self.publish_reserve()
            plan = self.planner.plan(record, base_model=base_model, folder=folder, finish_by=finish_by)
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
                    "The deadline for submissions passed during the training.",
                    fix="Lower epochs or max_batches.",
                ) from error
        update = self.update_on_disk(record.round_id)
        if update is None:
            raise TrainingError("The training process ended well but left no update.")
        return self.keep(replace(_with_update(record, update), train_seconds=self.monotonic() - begun))

    def _with_convention(self, record: RoundRecord) -> RoundRecord:
        """The row with how the round's validator is taken to read updates now."""
        if self.conventions is None:
            return record
        choice = self.conventions.of(record.validator)
        taken = f"The validator is taken to read updates as {choice.convention}, because {choice.why}."
        self.reporter.report(Noted(record.round_id, taken))
        return replace(record, convention=choice.convention, convention_why=choice.why)

    async def publish(self, record: RoundRecord) -> RoundRecord:
        update = self._update(record)
        record = self.enter(_with_update(record, update), State.PUBLISHING)
        begun = self.monotonic()
        loop = asyncio.get_running_loop()

        def progress(store: str, sent: int, total: int) -> None:
            loop.call_soon_threadsafe(self.reporter.report, Uploading(record.round_id, store, sent, total))

        pinned = await self.publisher.pin(
            update,
            log=JournalUploadLog(self.journal, record.round_id),
            scratch=self.folder(record.round_id) / "read-back",
            progress=progress,
        )
        return self.keep(
            replace(
                record,
                pinned_cid=pinned.cid,
                pinned_provider=pinned.provider,
                publish_seconds=self.monotonic() - begun,
            )
        )

    async def submit(self, record: RoundRecord) -> RoundRecord:
        cid = record.pinned_cid
        if cid is None:
            raise TrainingError("There is no pinned update to submit.")
        record = self.enter(record, State.SUBMITTING)

        async def landed() -> bool:
            submission = await self.chain.submission(record.round_id, self.wallet.address)
            return submission is not None and submission.submitted and submission.gradient_cid == cid

        instruction = self.dialect.submit_gradients(record.round_id, trainer=self.wallet.address, gradient_cid=cid)
        signature = await self._send(instruction, f"submit:{record.round_id}", landed)
        return self.keep(replace(record, submit_signature=signature or record.submit_signature))

    async def check(self, record: RoundRecord, round_: Round) -> RoundRecord:
        """Moves a round on that hangs past its deadline; anyone may, and nobody else has."""

        async def landed() -> bool:
            current = await self.chain.round(record.round_id)
            return current is None or current.status is not round_.status

        instruction = self.dialect.check_round(record.round_id, creator=round_.creator)
        await self._send(instruction, f"check:{record.round_id}:{round_.status.name}", landed)
        return self.enter(record, State.SUBMITTED, "moved on past its deadline, waiting for the validator's scores")

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
        """Sends the claim in the form of the current revision, or failing that of any other; says which form it was.

        The program may have been upgraded since it was looked at. A form that it refuses costs nothing: it is
        simulated before it is signed.
        """
        revisions, refused = self.revisions, list[Dialect]()
        while True:
            dialects = [self.dialect] if revisions is None else revisions.candidates()
            dialect = next(one for one in dialects if one not in refused)
            try:
                instruction = dialect.claim_reward(round_id, trainer=self.wallet.address)
                return await self._send(instruction, f"claim:{round_id}", landed), dialect
            except ProgramError as error:
                if revisions is None or not is_of_layout(error) or len(refused) + 1 == len(dialects):
                    raise
            if not refused:
                with contextlib.suppress(ChainError):
                    await revisions.look()
            refused.append(dialect)

    def finish(self, record: RoundRecord, state: State, reason: str) -> RoundRecord:
        """Ends a round and frees its folder."""
        record = self.enter(record, state, reason)
        shutil.rmtree(self.folder(record.round_id), ignore_errors=True)
        return record

    async def _send(
        self, instruction: Instruction, key: str, landed: Callable[[], Awaitable[bool]], *, deposit: int = 0
    ) -> str | None:
        receipt = await self.sender.send([instruction], key=key, landed=landed, deposit=deposit)
        return receipt.signature

    def publish_reserve(self) -> float:
        """Seconds to leave for publishing before a deadline."""
        return publish_reserve(self.journal.rounds(), self.planner.publish_reserve)

    def _update(self, record: RoundRecord) -> Update:
        update = self.update_on_disk(record.round_id)
        if update is None:
            raise TrainingError("The finished update is no longer on disk.")
        return update


def fetch_base_model(
    folder: Path, cid: str, reader: Fetcher, *, max_bytes: int, cancel: threading.Event = NEVER
) -> Path:
    """Downloads a base model into a round's folder, verified against its CID, unless it is there already.

    Raises:
        StoreError: nobody has it, it is too large, or its bytes do not match.
        Cancelled: ``cancel`` was set.
    """
    make_private(folder)
    path = folder / BASE_MODEL_FILE
    # The file appears by a rename after its last block was verified, so its presence is enough. Where something else
    # is, a link or a pipe, the rename replaces it.
    if path.is_symlink() or not path.is_file():
        reader.fetch(cid, path, max_bytes=max_bytes, cancel=cancel)
    return path


def publish_reserve(records: Sequence[RoundRecord], least: float) -> float:
    """Seconds to leave for publishing: a multiple of the slowest of late, but not less than ``least``."""
    measured = [record.publish_seconds for record in records if record.publish_seconds is not None]
    return max(least, _PUBLISH_MARGIN * max(measured[-_PUBLISHES_REMEMBERED:], default=0.0))


def _with_update(record: RoundRecord, update: Update) -> RoundRecord:
    return replace(
        record,
        update_cid=update.cid,
        update_profile=update.profile,
        update_size=update.size,
        accuracy_before=update.accuracy_before,
        accuracy_after=update.accuracy_after,
        gain_low=update.gain_low,
        gain_high=update.gain_high,
    )
