"""The validator: claims rounds, measures the baseline, scores every submission, shares the reward out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from decloud_pl.domain import Round, RoundStatus, Submission
from decloud_pl.errors import ContentNotFound, IntegrityError, InvalidCid, SizeLimitExceeded
from decloud_pl.localnet.agents.actor import Actor
from decloud_pl.localnet.agents.bench import Bench
from decloud_pl.store.gateway import GatewayReader

logger = logging.getLogger(__name__)

_NOT_TO_BE_HAD = (ContentNotFound, IntegrityError, InvalidCid, SizeLimitExceeded)


@dataclass
class Validator:
    """Validates every round it can.

    Attributes:
        files: folder for downloads.
        mappings: from the chain's data set names to those that this validator scores on.
        can_score: whether it has a data set of the chain's; other rounds are left to other validators.
        max_bytes: the largest base model or submission it downloads.
        grace: seconds to wait for more trainers after the first has joined.
        monotonic: seconds, for the grace.
    """

    actor: Actor
    bench: Bench
    reader: GatewayReader
    files: Path
    mappings: dict[str, str]
    can_score: Callable[[str], bool]
    max_bytes: int
    grace: float
    monotonic: Callable[[], float]
    _first_seen_joined: dict[int, float] = field(default_factory=dict)
    _baselines: dict[str, float] = field(default_factory=dict)

    async def step(self) -> None:
        chain, me = self.actor.chain, self.actor.wallet.address
        now = await chain.rpc.clock()
        for round_ in await chain.rounds():
            if round_.status.is_over:
                continue
            if await self.actor.check_if_overdue(round_, now):
                continue
            if round_.status is RoundStatus.WAITING_VALIDATOR and self.can_score(round_.dataset):
                await self._claim(round_)
            elif round_.validator != me:
                continue
            elif round_.status is RoundStatus.WAITING_TRAINERS:
                await self._start(round_)
            elif round_.status is RoundStatus.VALIDATING:
                await self._validate(round_)

    async def _claim(self, round_: Round) -> None:
        async def landed() -> bool:
            current = await self.actor.chain.round(round_.id)
            return current is not None and current.validator == self.actor.wallet.address

        instruction = self.actor.dialect.claim_round(round_.id, validator=self.actor.wallet.address)
        await self.actor.send(instruction, f"claim:{round_.id}", landed)

    async def _start(self, round_: Round) -> None:
        baseline = await self._baseline(round_)
        if not round_.trainers_count:
            return
        since = self._first_seen_joined.setdefault(round_.id, self.monotonic())
        if self.monotonic() - since < self.grace:
            return

        async def landed() -> bool:
            current = await self.actor.chain.round(round_.id)
            return current is not None and current.status is not RoundStatus.WAITING_TRAINERS

        instruction = self.actor.dialect.start_training(
            round_.id, validator=self.actor.wallet.address, baseline_score=round(baseline * 10_000)
        )
        await self.actor.send(instruction, f"start:{round_.id}", landed)
        self._first_seen_joined.pop(round_.id, None)

    async def _baseline(self, round_: Round) -> float:
        """Top-1 accuracy of the base model on the test split, 0 to 1."""
        if round_.model_cid not in self._baselines:
            base = await self._fetch(round_.model_cid, "base")
            self._baselines[round_.model_cid] = await self.bench.baseline(base, dataset=self._dataset(round_))
        return self._baselines[round_.model_cid]

    def _dataset(self, round_: Round) -> str:
        return self.mappings.get(round_.dataset, round_.dataset)

    async def _validate(self, round_: Round) -> None:
        chain = self.actor.chain
        submissions = await chain.round_submissions(round_.id)
        contributions = await self._score(round_, [entry for entry in submissions if entry.submitted])
        for submission in submissions:
            share = contributions.get(str(submission.trainer), 0)
            if submission.submitted and submission.contribution_bps != share:
                await self._set_contribution(round_, submission, share)

        async def landed() -> bool:
            current = await chain.round(round_.id)
            return current is not None and current.status is RoundStatus.COMPLETED

        instruction = self.actor.dialect.complete_validation(round_.id, validator=self.actor.wallet.address)
        await self.actor.send(instruction, f"complete:{round_.id}", landed)

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

    async def _score(self, round_: Round, submissions: list[Submission]) -> dict[str, int]:
        """Basis points by trainer address."""
        base = await self._fetch(round_.model_cid, "base")
        files: dict[str, Path] = {}
        for submission in submissions:
            try:
                files[str(submission.trainer)] = await self._fetch(submission.gradient_cid, "update")
            except _NOT_TO_BE_HAD as error:
                logger.warning("Round %d, trainer %s: %s", round_.id, submission.trainer, error)
        return await self.bench.contributions(base, files, dataset=self._dataset(round_))

    async def _fetch(self, cid: str, kind: str) -> Path:
        # Bytes were verified before the file appeared under its content's name, so one download is enough.
        from decloud_pl.store.cid import Cid

        path = self.files / f"{kind}-{Cid.parse(cid)}"
        if not path.exists():
            self.files.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(self.reader.fetch, cid, path, max_bytes=self.max_bytes)
        return path
