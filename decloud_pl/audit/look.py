"""Audit one completed round: fetch its files, score them on the test split, and compare the shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from decloud_pl import __version__
from decloud_pl.audit.history import History, history_of
from decloud_pl.audit.report import LATE_SECONDS, Copy, Entry, Report
from decloud_pl.audit.verdict import Judgement, judge
from decloud_pl.chain.client import ChainClient
from decloud_pl.data.catalog import Catalog
from decloud_pl.domain import Convention, Round
from decloud_pl.rounds.scoring import Scores, score_round
from decloud_pl.store.fetch.fetcher import Fetcher

_ALIKE = 0.998
"""A copy with 6 % of noise. An epoch of the digits with two seeds gave 0.35 (simple_cnn) to 0.94 (a small MLP)."""


@dataclass(frozen=True)
class Auditor:
    """Audits rounds of one network.

    Attributes:
        network: the chain's genesis hash.
        chain: reads the network's accounts.
        reader: downloads files by CID.
        catalog: returns the catalog of this machine's data sets.
        convention: returns the convention that the validator of a round is assumed to use.
        gradient_rate: η of the ``gradient`` convention.
        max_bytes: the limit of one download, in bytes.
    """

    network: str
    chain: ChainClient
    reader: Fetcher
    catalog: Callable[[], Catalog]
    convention: Callable[[Round], Convention]
    gradient_rate: float
    max_bytes: int

    async def audit(
        self,
        round_: Round,
        folder: Path,
        *,
        convention: Convention | None = None,
        own: str | None = None,
        background: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Report:
        """Audit a completed round.

        Args:
            round_: the round.
            folder: the folder for downloads. The caller must remove it.
            convention: the convention that the validator is assumed to use; None for the result of ``self.convention``.
            own: see `score_round`.
            background: see `score_round`.
            tell: see `score_round`.

        Raises:
            ChainError, StoreError, DatasetError, TrainingError, TimeoutError, MachineShortage, OSError: see
                `score_round`.
        """
        catalog = self.catalog()
        scores = await score_round(
            *(self.chain, self.reader, catalog, folder, round_),
            split="test",
            gradient_rate=self.gradient_rate,
            max_bytes=self.max_bytes,
            own=own,
            background=background,
            tell=tell,
        )
        is_mapped = scores.dataset != round_.dataset or round_.dataset in catalog.paths
        judged = judge(scores, round_, convention or self.convention(round_), is_mapped=is_mapped)
        history = await history_of(self.chain, round_, scores.submissions)
        return self._report(round_, scores, judged, history, is_mapped=is_mapped)

    def _report(self, round_: Round, scores: Scores, judged: Judgement, history: History, *, is_mapped: bool) -> Report:
        seconds = history.score_seconds(round_)
        return Report(
            network=self.network,
            program_id=str(self.chain.dialect.program_id),
            round_id=round_.id,
            creator=str(round_.creator),
            validator=str(round_.validator),
            model_cid=round_.model_cid,
            dataset=round_.dataset,
            scored_on=scores.dataset,
            is_mapped=is_mapped,
            samples=scores.samples,
            labels=scores.labels,
            reward_amount=round_.reward_amount,
            baseline_score=round_.baseline_score,
            base_correct=scores.base.correct,
            base_ties=scores.base.ties,
            convention=judged.convention,
            gradient_rate=self.gradient_rate,
            verdict=judged.verdict,
            reasons=judged.reasons,
            entries=_entries(scores, judged, history),
            copies=_copies(scores, history),
            completed=history.completed,
            score_seconds=seconds,
            is_late=seconds is not None and seconds > LATE_SECONDS,
            versions={"decloud_pl": __version__, "torch": scores.torch},
            at=time.time(),
        )


def _entries(scores: Scores, judged: Judgement, history: History) -> tuple[Entry, ...]:
    found = []
    for submission in scores.submissions:
        name = str(submission.trainer)
        opened = scores.opened[name]
        score = None if opened is None else opened[judged.convention]
        found.append(
            Entry(
                name,
                submission.gradient_cid,
                submission.contribution_bps,
                judged.fair.get(name),
                judged.noise.get(name),
                None if score is None else score.correct,
                None if score is None else score.ties,
                history.submitted.get(name),
                history.scored.get(name),
            )
        )
    return tuple(found)


def _copies(scores: Scores, history: History) -> tuple[Copy, ...]:
    """Return each pair of updates that are equal or nearly equal."""
    cids = {str(entry.trainer): entry.gradient_cid for entry in scores.submissions}
    opened = [name for name, found in scores.opened.items() if found is not None]
    alike = {
        (opened[row], opened[column]): scores.alike[row][column] for row, column in combinations(range(len(opened)), 2)
    }
    order = list(history.submitted)  # in the order of the chain
    found = []
    for one, other in combinations(cids, 2):
        same = cids[one] == cids[other]
        cosine = 1.0 if same else alike.get((one, other), 0.0)
        if cosine < _ALIKE:
            continue
        is_ordered = one in order and other in order
        first, second = sorted((one, other), key=order.index) if is_ordered else [one, other]
        found.append(Copy(first, second, is_ordered=is_ordered, cosine=cosine, same_cid=same))
    return tuple(found)
