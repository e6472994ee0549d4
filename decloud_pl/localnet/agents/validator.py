"""The validator: it claims rounds, measures the baseline, scores every submission and sets each trainer's share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.durable import make_private
from decloud_pl.errors import (
    ContentNotFound,
    DecloudError,
    IntegrityError,
    InvalidCid,
    RpcUnavailable,
    SizeLimitExceeded,
    StoreUnavailable,
)
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.retry import Backoff
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.cid import Cid

logger = logging.getLogger(__name__)

_UNOBTAINABLE = (ContentNotFound, IntegrityError, InvalidCid, SizeLimitExceeded)
_MOST_ATTEMPTS = 3
"""Attempts to fetch a submission that the store cannot deliver at the moment. Then it is treated as unobtainable."""
_BACKOFF = Backoff(2.0, 60.0)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """The last problem with a round, and the time of the next attempt."""

    attempts: int
    next_try_at: float
    message: str


@dataclass
class Validator:
    """Validates rounds. It claims a round only after it has measured the base model on the round's data set.

    If a round fails, for example because it has no valid submission, the validator postpones it and continues with
    the other rounds.

    Attributes:
        files: folder for downloads.
        mappings: maps a data set's name on chain to the name of the data set to score on, if the two differ.
        max_bytes: the largest base model or submission that the validator downloads.
        grace: seconds to wait for more trainers after the first has joined.
        monotonic: returns monotonic seconds, to time ``grace`` and postponed rounds.
        data: the folder of the data sets.
    """

    actor: Actor
    bench: Bench
    reader: GatewayReader
    files: Path
    mappings: dict[str, str]
    max_bytes: int
    grace: float
    monotonic: Callable[[], float]
    # A local network downloads no data sets. The scoring process reads from the same folder.
    data: DataFolder = field(default_factory=lambda: DataFolder.from_node({"download": False}))
    _first_seen_joined: dict[int, float] = field(default_factory=dict)
    _baselines: dict[tuple[str, str], float] = field(default_factory=dict)
    _troubles: dict[int, _Trouble] = field(default_factory=dict)

    async def step(self) -> None:
        now = await self.actor.chain.rpc.clock()
        for round_ in await self.actor.chain.rounds():
            trouble = self._troubles.get(round_.id)
            if round_.status in self.actor.dialect.final_statuses or (
                trouble is not None and self.monotonic() < trouble.next_try_at
            ):
                continue
            try:
                await self._attend(round_, now)
            except RpcUnavailable:
                raise  # affects every round
            except (DecloudError, OSError) as error:
                self._put_off(round_, error)
            else:
                self._troubles.pop(round_.id, None)

    async def _attend(self, round_: Round, now: int) -> None:
        # If the round waits for this validator, it validates late instead of expiring the round.
        is_awaited = round_.validator == self.actor.wallet.address and (
            round_.status is RoundStatus.VALIDATING
            or (round_.status is RoundStatus.WAITING_TRAINERS and round_.trainers_count > 0)
        )
        if not is_awaited and await self.actor.check_if_overdue(round_, now):
            return
        if round_.status is RoundStatus.WAITING_VALIDATOR:
            await self._claim(round_)
        elif round_.validator != self.actor.wallet.address:
            return
        elif round_.status is RoundStatus.WAITING_TRAINERS:
            await self._start(round_)
        elif round_.status is RoundStatus.VALIDATING:
            await self._validate(round_)

    def _put_off(self, round_: Round, error: DecloudError | OSError) -> None:
        before = self._troubles.get(round_.id)
        attempts = 1 if before is None else before.attempts + 1
        if before is None or before.message != str(error):
            logger.warning("Round %d is postponed: %s", round_.id, error)
        next_try_at = self.monotonic() + _BACKOFF.after(attempts)
        self._troubles[round_.id] = _Trouble(attempts, next_try_at, str(error))

    async def _claim(self, round_: Round) -> None:
        # Measure first: trainers would wait forever in a claimed round that is never scored, while an unclaimed round
        # expires and is refunded.
        await self._baseline(round_)
        me = self.actor.wallet.address
        instruction = self.actor.dialect.claim_round(round_.id, validator=me)
        await self.actor.send_on_round(
            round_.id, instruction, f"claim:{round_.id}", lambda current: current.validator == me
        )

    async def _start(self, round_: Round) -> None:
        baseline = await self._baseline(round_)
        if not round_.trainers_count:
            return
        since = self._first_seen_joined.setdefault(round_.id, self.monotonic())
        if self.monotonic() - since < self.grace:
            return
        instruction = self.actor.dialect.start_training(
            round_.id, validator=self.actor.wallet.address, baseline_score=round(baseline * 10_000)
        )
        await self.actor.send_on_round(
            round_.id,
            instruction,
            f"start:{round_.id}",
            lambda current: current.status is not RoundStatus.WAITING_TRAINERS,
        )
        self._first_seen_joined.pop(round_.id, None)

    async def _baseline(self, round_: Round) -> float:
        """Return the top-1 accuracy of the base model on the test split, 0 to 1."""
        dataset = self._dataset(round_)
        key = (round_.model_cid, dataset)
        if key not in self._baselines:
            base = await self._fetch(round_.model_cid, "base")
            self._baselines[key] = await self.bench.baseline(base, dataset=dataset)
        return self._baselines[key]

    def _dataset(self, round_: Round) -> str:
        return Catalog(self.data, self.mappings, chain_names=self.actor.dialect.datasets).resolve(round_.dataset).name

    async def _validate(self, round_: Round) -> None:
        submissions = [entry for entry in await self.actor.chain.round_submissions(round_.id) if entry.submitted]
        base = await self._fetch(round_.model_cid, "base")
        files = await self._updates(round_, submissions)
        contributions = await self.bench.contributions(base, files, dataset=self._dataset(round_))
        for submission in submissions:
            share = contributions.get(str(submission.trainer), 0)
            if submission.contribution_bps != share:
                await self._set_contribution(round_, submission, share)
        instruction = self.actor.dialect.complete_validation(round_.id, validator=self.actor.wallet.address)
        await self.actor.send_on_round(
            round_.id, instruction, f"complete:{round_.id}", lambda current: current.status is RoundStatus.COMPLETED
        )
        for path in files.values():
            path.unlink(missing_ok=True)

    async def _set_contribution(self, round_: Round, submission: Submission, share: int) -> None:
        async def landed() -> bool:
            current = await self.actor.chain.submission(round_.id, submission.trainer)
            return current is not None and current.contribution_bps == share

        instruction = self.actor.dialect.set_contribution(
            round_.id,
            validator=self.actor.wallet.address,
            trainer=submission.trainer,
            contribution_bps=share,
        )
        await self.actor.send(instruction, f"contribution:{round_.id}:{submission.trainer}:{share}", landed)

    async def _updates(self, round_: Round, submissions: list[Submission]) -> dict[str, Path]:
        """Fetch the submissions. Return the files by trainer address, without submissions that cannot be fetched.

        Raises:
            StoreUnavailable: the store cannot deliver a submission now, and the round has attempts left.
        """
        files: dict[str, Path] = {}
        trouble = self._troubles.get(round_.id)
        patient = trouble is None or trouble.attempts < _MOST_ATTEMPTS
        for submission in submissions:
            try:
                files[str(submission.trainer)] = await self._fetch(submission.gradient_cid, "update")
            except (*_UNOBTAINABLE, StoreUnavailable) as error:
                if patient and isinstance(error, StoreUnavailable):
                    raise
                logger.warning(
                    "Round %d: the update of trainer %s counts as missing: %s", round_.id, submission.trainer, error
                )
        return files

    async def _fetch(self, cid: str, kind: str) -> Path:
        # The reader verifies the bytes before the file appears under its CID, so an existing file is valid.
        path = self.files / f"{kind}-{Cid.parse(cid)}"
        if not path.exists():
            make_private(self.files)
            await asyncio.to_thread(self.reader.fetch, cid, path, max_bytes=self.max_bytes)
        return path
