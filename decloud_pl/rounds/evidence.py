"""How this network's validators read updates, as the chain's own record shows it.

A completed round says who got which share of the reward for which update. Each convention predicts other shares from
the same files, so the files and the shares together tell which one was used: no promise of a document, nobody's word.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from decloud_pl.chain.client import ChainClient
from decloud_pl.children import output_of
from decloud_pl.data.catalog import Catalog
from decloud_pl.domain import BPS_DENOMINATOR, Convention, Round, RoundStatus
from decloud_pl.errors import DatasetError, MachineShortage, StoreError, TrainingError
from decloud_pl.rounds.planner import processors
from decloud_pl.shortage import killed, shortage
from decloud_pl.store.fetch.fetcher import Fetcher, fetch_in_task

_CHILD_SECONDS = 900.0
_LOOKED_THROUGH = 1000
"""The latest rounds, of any status."""
_NICE = 15
_CLEAR = 0.25
"""Two readings are told apart where the parts of the pool that their predictions misplace differ by this much."""
_CHANCE = 0.002
"""Gains below this are taken for nothing: on held-out data they are chance."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One submission of a completed round.

    Attributes:
        trainer: whose it is.
        share_bps: what the validator gave.
        gains: accuracy gained on held-out data, by convention, 0 to 1; None where the file could not be opened.
    """

    trainer: str
    share_bps: int
    gains: Mapping[Convention, float] | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one round shows.

    Attributes:
        round_id: the round.
        validator: who scored it.
        dataset: the data set's name on chain.
        outcomes: of every submission.
        missed: by convention, the share of the pool that its predictions put elsewhere, 0 to 1.
        convention: the one that the validator used, None where the round does not tell.
    """

    round_id: int
    validator: str
    dataset: str
    outcomes: tuple[Outcome, ...]
    missed: Mapping[Convention, float]
    convention: Convention | None


@dataclass(frozen=True, slots=True)
class Record:
    """What the rounds looked at show together.

    Attributes:
        rounds: those that could be looked at, the latest first.
        passed_over: why others could not, by round.
        convention: what every round that tells says; None where none tells or they contradict each other.
    """

    rounds: tuple[Evidence, ...]
    passed_over: Mapping[int, str]

    @property
    def convention(self) -> Convention | None:
        told = {evidence.convention for evidence in self.rounds} - {None}
        return told.pop() if len(told) == 1 else None


def weigh(outcomes: Sequence[Outcome]) -> tuple[dict[Convention, float], Convention | None]:
    """How far each convention's predictions miss the shares that were given, and which one fits; see `Evidence`."""
    given = [outcome.share_bps / BPS_DENOMINATOR for outcome in outcomes]
    missed: dict[Convention, float] = {}
    for convention in get_args(Convention):
        gained = [_gain(outcome, convention) for outcome in outcomes]
        total = sum(gained)
        # Where nobody gained, validators share equally among the submissions that can be opened.
        opened = [outcome.gains is not None for outcome in outcomes]
        predicted = [part / (total or sum(opened) or 1) for part in (gained if total else opened)]
        missed[convention] = sum(abs(one - other) for one, other in zip(predicted, given, strict=True)) / 2
    best, other = sorted(missed, key=lambda convention: missed[convention])
    clear = missed[other] - missed[best] >= _CLEAR
    return missed, best if clear and not _is_equal_split(outcomes) else None


def _is_equal_split(outcomes: Sequence[Outcome]) -> bool:
    """Whether all valid submissions got the same: the public validator of v1.2 gives that whatever they gain."""
    shares = [outcome.share_bps for outcome in outcomes if outcome.gains is not None]
    return len(shares) > 1 and max(shares) - min(shares) <= 1


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
    """Looks at the latest completed rounds until ``most`` of them told something.

    Args:
        chain: the network.
        reader: delivers files by CID.
        catalog: where data sets are.
        folder: for downloads; the caller removes it.
        gradient_rate: of the network's validators, under the gradient convention.
        max_bytes: caps each download.
        most: rounds that tell, after which no further one is looked at.
        tell: takes a sentence for each thing that takes time.

    Raises:
        RpcUnavailable: the network cannot be asked.
    """
    found: list[Evidence] = []
    passed_over: dict[int, str] = {}
    async for round_ in chain.latest_rounds(_LOOKED_THROUGH):
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
            passed_over[round_.id] = f"Scoring its updates takes longer than {_CHILD_SECONDS:.0f} s here."
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
    """What one completed round shows.

    Args:
        chain: see `gather`, as for the arguments that are not named here.
        reader: see `gather`.
        catalog: see `gather`.
        folder: see `gather`.
        round_: completed.
        gradient_rate: see `gather`.
        max_bytes: see `gather`.
        background: scores on one processor, after everything else that wants it.
        tell: see `gather`.

    Raises:
        ChainError: the network cannot be asked.
        StoreError: a file cannot be fetched.
        DatasetError: the data set is not on this machine.
        TrainingError: the base model or the updates cannot be scored.
        TimeoutError: scoring takes too long on this machine.
        MachineShortage: this machine has no memory, room or file descriptors for it, or ended the scoring.
        OSError: the process that scores met a defect.
    """
    choice = catalog.resolve(round_.dataset)
    if not choice.ready:
        raise DatasetError(f"The data set {choice.name} is not on this machine.")
    base = folder / f"{round_.id}-base"
    tell(f"Round {round_.id}: fetching its model and its updates…")
    await fetch_in_task(reader, round_.model_cid, base, max_bytes=max_bytes)
    submissions = [entry for entry in await chain.round_submissions(round_.id) if entry.submitted]
    files: dict[str, Path] = {}
    for place, submission in enumerate(submissions):
        path = folder / f"{round_.id}-{place}"
        try:
            await fetch_in_task(reader, submission.gradient_cid, path, max_bytes=max_bytes)
        except StoreError:
            if submission.contribution_bps:
                raise  # what earned must be part of the picture
            continue
        files[str(submission.trainer)] = path
    tell(f"Round {round_.id}: scoring its updates on {choice.name} under each convention…")
    gains = await _ask(base, choice.node(catalog.data), files, gradient_rate, background=background)
    outcomes = tuple(
        Outcome(str(entry.trainer), entry.contribution_bps, gains.get(str(entry.trainer))) for entry in submissions
    )
    missed, convention = weigh(outcomes)
    return Evidence(round_.id, str(round_.validator), round_.dataset, outcomes, missed, convention)


async def _ask(
    base: Path, dataset: Mapping[str, Any], files: Mapping[str, Path], gradient_rate: float, *, background: bool
) -> dict[str, Mapping[Convention, float] | None]:
    request = {
        "base": str(base),
        "dataset": dataset,
        "submissions": {name: str(path) for name, path in files.items()},
        "gradient_rate": gradient_rate,
        "threads": 1 if background else processors(),
        "nice": _NICE if background else 0,
    }
    command = (sys.executable, "-m", "decloud_pl.train.score")
    given = json.dumps(request).encode()
    try:
        output = await output_of(command, seconds=_CHILD_SECONDS, given=given)
        answer = json.loads(output.out)
    except ValueError:
        who = "The process that scores updates"
        ended = f"{who} ended with exit code {output.code}: {output.last_line.rstrip('.')}."
        raise killed(who, output.code) or OSError(ended) from None
    if "short" in answer:
        raise MachineShortage(str(answer["short"]), fix=str(answer["fix"]))
    if "error" in answer:
        raise TrainingError(str(answer["error"]))
    gains: dict[str, Mapping[Convention, float] | None] = answer["gains"]
    return gains
