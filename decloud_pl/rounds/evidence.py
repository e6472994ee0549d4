"""Find out from completed rounds by which convention a network's validators read updates.

The chain stores which share of the reward each update got. Each convention predicts different shares for the same
files. So the files and the shares together show which convention the validator used, even if it is not documented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from decloud_pl.chain.client import ChainClient
from decloud_pl.data.catalog import Catalog
from decloud_pl.domain import BPS_DENOMINATOR, Convention, Round, RoundStatus, is_equal_split
from decloud_pl.errors import DatasetError, MachineShortage, StoreError, TrainingError
from decloud_pl.rounds.scoring import CHILD_SECONDS, MOST_SEARCHED, Scores, score_round
from decloud_pl.shortage import shortage
from decloud_pl.store.fetch.fetcher import Fetcher

_CLEAR = 0.25
"""The least difference between the errors of two predictions (shares of the pool) that identifies a convention."""
_CHANCE = 0.002
"""Gains below this are treated as zero: on held-out data they may be chance."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One submission of a completed round.

    Attributes:
        trainer: the trainer's address.
        share_bps: the share that the validator gave, in basis points.
        gains: for each convention, the gain in accuracy on held-out data, -1 to 1; None if the update's file could not
            be opened.
    """

    trainer: str
    share_bps: int
    gains: Mapping[Convention, float] | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one round shows about its validator's convention.

    Attributes:
        round_id: the round.
        validator: the address of the validator that scored it.
        dataset: the data set's name on chain.
        outcomes: one per submission.
        missed: for each convention, how far its predicted shares differ from the paid shares, as a fraction of the
            reward pool, 0 to 1.
        convention: the convention that the validator used, or None if the round is inconclusive.
    """

    round_id: int
    validator: str
    dataset: str
    outcomes: tuple[Outcome, ...]
    missed: Mapping[Convention, float]
    convention: Convention | None


@dataclass(frozen=True, slots=True)
class Record:
    """What several rounds show about their validators' conventions.

    Attributes:
        rounds: the scored rounds, the latest first.
        passed_over: the rounds that could not be scored, with the reasons.
        convention: the convention of all conclusive rounds; None if no round is conclusive or they disagree.
    """

    rounds: tuple[Evidence, ...]
    passed_over: Mapping[int, str]

    @property
    def convention(self) -> Convention | None:
        found = {evidence.convention for evidence in self.rounds} - {None}
        return found.pop() if len(found) == 1 else None


def weigh(outcomes: Sequence[Outcome]) -> tuple[dict[Convention, float], Convention | None]:
    """Compute `Evidence.missed` and `Evidence.convention` from the submissions of one round."""
    given = [outcome.share_bps / BPS_DENOMINATOR for outcome in outcomes]
    missed: dict[Convention, float] = {}
    for convention in get_args(Convention):
        gained = [_gain(outcome, convention) for outcome in outcomes]
        total = sum(gained)
        # If no update gains, validators give equal shares to all submissions that they can open.
        opened = [outcome.gains is not None for outcome in outcomes]
        predicted = [part / (total or sum(opened) or 1) for part in (gained if total else opened)]
        missed[convention] = sum(abs(one - other) for one, other in zip(predicted, given, strict=True)) / 2
    best, other = sorted(missed, key=lambda convention: missed[convention])
    clear = missed[other] - missed[best] >= _CLEAR
    # The public validator of v1.2 gives equal shares regardless of the gains, so these show nothing.
    valid = [outcome.share_bps for outcome in outcomes if outcome.gains is not None]
    return missed, best if clear and not is_equal_split(valid) else None


def _gain(outcome: Outcome, convention: Convention) -> float:
    gain = 0.0 if outcome.gains is None else outcome.gains[convention]
    return gain if gain > _CHANCE else 0.0


async def gather(
    chain: ChainClient,
    reader: Fetcher,
    catalog: Catalog,
    folder: Path,
    *,
    gradient_rate: float,
    max_bytes: int,
    most: int = 3,
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Score completed rounds, the latest first, until enough of them are conclusive.

    Args:
        chain: the network.
        reader: downloads files by CID.
        catalog: finds the data sets.
        folder: for downloads; the caller removes it.
        gradient_rate: η of the ``gradient`` convention on this network.
        max_bytes: the limit of each download.
        most: the number of conclusive rounds that is enough. The search also ends when ``3 * most`` rounds are scored,
            and after the latest `MOST_SEARCHED` rounds of the network.
        tell: called with a sentence before each slow operation.

    Raises:
        RpcUnavailable: no endpoint answers.
    """
    found: list[Evidence] = []
    passed_over: dict[int, str] = {}
    async for round_ in chain.latest_rounds(MOST_SEARCHED):
        if round_.status is not RoundStatus.COMPLETED:
            continue
        if sum(evidence.convention is not None for evidence in found) >= most or len(found) >= 3 * most:
            break
        try:
            found.append(
                await look(
                    *(chain, reader, catalog, folder, round_),
                    gradient_rate=gradient_rate,
                    max_bytes=max_bytes,
                    tell=tell,
                )
            )
        except TimeoutError:
            passed_over[round_.id] = f"Scoring its updates takes longer than {CHILD_SECONDS:.0f} s on this machine."
        except (StoreError, DatasetError, TrainingError, MachineShortage, OSError) as error:
            passed_over[round_.id] = str(shortage(error) or error)
    return Record(tuple(found), passed_over)


async def look(
    chain: ChainClient,
    reader: Fetcher,
    catalog: Catalog,
    folder: Path,
    round_: Round,
    *,
    gradient_rate: float,
    max_bytes: int,
    background: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Evidence:
    """Score the updates of one completed round on held-out data, under each convention.

    Arguments and errors are those of `score_round`.
    """
    scores = await score_round(
        *(chain, reader, catalog, folder, round_),
        split="held_out",
        gradient_rate=gradient_rate,
        max_bytes=max_bytes,
        background=background,
        tell=tell,
    )
    outcomes = tuple(
        Outcome(str(entry.trainer), entry.contribution_bps, _gains(scores, str(entry.trainer)))
        for entry in scores.submissions
    )
    missed, convention = weigh(outcomes)
    return Evidence(round_.id, str(round_.validator), round_.dataset, outcomes, missed, convention)


def _gains(scores: Scores, trainer: str) -> dict[Convention, float] | None:
    gains = {convention: scores.gain(trainer, convention) for convention in get_args(Convention)}
    return None if None in gains.values() else cast("dict[Convention, float]", gains)
