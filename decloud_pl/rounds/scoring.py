"""Fetch the files of a completed round and score them in a child process, on one split and under each convention."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decloud_pl.chain.client import ChainClient
from decloud_pl.children import OOM_OF_STRANGERS, output_of
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.source import SplitName
from decloud_pl.domain import Convention, Round, Submission
from decloud_pl.errors import DatasetError, DatasetNotFound, MachineShortage, RpcRejected, StoreError, TrainingError
from decloud_pl.rounds.background import DailyLimitExceeded
from decloud_pl.rounds.planner import processors
from decloud_pl.shortage import killed
from decloud_pl.store.fetch.fetcher import Fetcher, fetch_in_task

CHILD_SECONDS = 900.0
MOST_SEARCHED = 1000
"""The number of latest rounds, of any status, among which completed rounds are searched."""
_NICE = 15
_MEMORY_SHARE = 2
"""In the background, the child may use half of this machine's memory."""


@dataclass(frozen=True, slots=True)
class Score:
    """How many samples a model classifies correctly, and for how many its two most likely classes are almost tied."""

    correct: int
    ties: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a round's submissions on one split.

    Attributes:
        dataset: the name of the data set on this machine.
        samples: the number of samples.
        labels: the SHA-256 of the samples' labels, hexadecimal.
        base: the base model's score.
        submissions: the round's submissions, sorted by the trainer's address.
        opened: maps each trainer to the scores of the base model with the trainer's update, one score per convention.
            The value is None if the trainer's file was not opened.
        refused: maps each trainer whose file was not opened to the reason: the file is unusable, or could not be
            fetched. If a trainer earned a share of the reward, `score_round` raises an error for an unfetched file.
        products: maps each convention to a matrix with a row and a column for each opened submission. For each
            sample, a submission has a value: 1 if only the model with the submission's update classifies the sample
            correctly, -1 if only the base model does, and otherwise 0. An entry of the matrix is the dot product of the
            values of two submissions.
        alike: a matrix with the rows and columns of ``products``. An entry is the cosine similarity of two updates.
        torch: the version of torch that computed the scores.
    """

    dataset: str
    samples: int
    labels: str
    base: Score
    submissions: tuple[Submission, ...]
    opened: Mapping[str, Mapping[Convention, Score] | None]
    refused: Mapping[str, str]
    products: Mapping[Convention, tuple[tuple[int, ...], ...]]
    alike: tuple[tuple[float, ...], ...]
    torch: str

    def gain(self, trainer: str, convention: Convention) -> float | None:
        """Return the accuracy gained by a trainer's update, -1 to 1; None if its file was not opened."""
        scores = self.opened[trainer]
        return None if scores is None else (scores[convention].correct - self.base.correct) / max(1, self.samples)


async def score_round(
    chain: ChainClient,
    reader: Fetcher,
    catalog: Catalog,
    folder: Path,
    round_: Round,
    *,
    split: SplitName,
    gradient_rate: float,
    max_bytes: int,
    own: str | None = None,
    background: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Score the updates of one completed round under each convention.

    Args:
        chain: the network.
        reader: downloads files by CID.
        catalog: finds the data sets.
        folder: for downloads; the caller removes it.
        round_: a completed round.
        split: the split to score on.
        gradient_rate: η of the ``gradient`` convention on this network.
        max_bytes: the limit of each download.
        own: the address of this wallet, base58, whose update must be scored if it can be downloaded on another day.
        background: score on one processor with low priority and limited memory.
        tell: called with a sentence before each slow operation.

    Raises:
        ChainError: the network cannot be queried.
        StoreError: the base model, or an update with a share of the reward, cannot be downloaded; or the daily limit
            excludes the update of ``own`` today.
        DatasetError: the data set is not on this machine, or cannot be read.
        TrainingError: the base model or the updates cannot be scored.
        TimeoutError: scoring takes too long on this machine.
        MachineShortage: this machine lacks memory, disk space or file descriptors, or killed the scoring process.
        OSError: the scoring process crashed.
    """
    choice = catalog.resolve(round_.dataset)
    if not choice.ready:
        raise DatasetNotFound(f"The data set {choice.name} is not on this machine.")
    submissions = await _submissions(chain, round_.id)  # first, because an endpoint may not list them
    base = folder / f"{round_.id}-base"
    tell(f"Round {round_.id}: fetching its model and its updates…")
    await fetch_in_task(reader, round_.model_cid, base, max_bytes=max_bytes)
    files, refused = await _fetch(reader, folder, round_.id, submissions, max_bytes, own)
    tell(f"Round {round_.id}: scoring its updates on {choice.name} under each convention…")
    request = {
        "base": str(base),
        "dataset": choice.node(catalog.data),
        "packages": list(catalog.packages),
        "submissions": {name: str(path) for name, path in files.items()},
        "gradient_rate": gradient_rate,
        "split": split,
        "threads": 1 if background else processors(),
        "nice": _NICE if background else 0,
        "memory_bytes": _memory() // _MEMORY_SHARE if background else 0,
    }
    return _scores(choice.name, submissions, refused, await _child(request))


async def _submissions(chain: ChainClient, round_id: int) -> list[Submission]:
    try:
        return [entry for entry in await chain.round_submissions(round_id) if entry.submitted]
    except RpcRejected as error:
        also = "Or add an endpoint that lists a program's accounts to network.fallback_rpc_urls."
        error.fix = f"{error.fix} {also}".strip()
        raise


async def _fetch(
    reader: Fetcher, folder: Path, round_id: int, submissions: list[Submission], max_bytes: int, own: str | None
) -> tuple[dict[str, Path], dict[str, str]]:
    """Fetch the submitted files. A CID that several trainers share is fetched once.

    Returns:
        The path of each fetched file, by trainer; and the reason for each file that cannot be fetched, by trainer.
    """
    by_cid: dict[str, Path] = {}
    files: dict[str, Path] = {}
    refused: dict[str, str] = {}
    for place, submission in enumerate(submissions):
        path = by_cid.get(submission.gradient_cid)
        if path is None:
            path = folder / f"{round_id}-{place}"
            try:
                await fetch_in_task(reader, submission.gradient_cid, path, max_bytes=max_bytes)
            except StoreError as error:
                is_own = str(submission.trainer) == own
                if submission.contribution_bps or (is_own and isinstance(error, DailyLimitExceeded)):
                    raise  # without an update that earned a share, the shares cannot be explained
                refused[str(submission.trainer)] = error.message
                continue
            by_cid[submission.gradient_cid] = path
        files[str(submission.trainer)] = path
    return files, refused


async def _child(request: Mapping[str, Any]) -> dict[str, Any]:
    command = (sys.executable, "-m", "decloud_pl.train.score")
    try:
        given = json.dumps({**request, "seconds": CHILD_SECONDS}).encode()
        output = await output_of(command, seconds=CHILD_SECONDS, given=given, oom_score=OOM_OF_STRANGERS)
        answer: dict[str, Any] = json.loads(output.out)
    except ValueError:
        who = "The process that scores updates"
        ended = f"{who} ended with exit code {output.code}: {output.last_line.rstrip('.')}."
        raise killed(who, output.code) or OSError(ended) from None
    if "short" in answer:
        raise MachineShortage(str(answer["short"]), fix=str(answer["fix"]))
    if "error" in answer:
        kind = DatasetError if answer["of_data"] else TrainingError
        raise kind(str(answer["error"]), fix=str(answer["fix"]))
    return answer


def _scores(
    dataset: str, submissions: list[Submission], refused: Mapping[str, str], answer: Mapping[str, Any]
) -> Scores:
    opened = {
        name: None if found is None else {convention: Score(**score) for convention, score in found.items()}
        for name, found in answer["submissions"].items()
    }
    return Scores(
        dataset=dataset,
        samples=answer["samples"],
        labels=answer["labels"],
        base=Score(answer["correct"], answer["ties"]),
        submissions=tuple(submissions),
        opened={str(entry.trainer): opened.get(str(entry.trainer)) for entry in submissions},
        refused={**refused, **answer["refused"]},
        products={name: tuple(map(tuple, rows)) for name, rows in answer["products"].items()},
        alike=tuple(map(tuple, answer["alike"])),
        torch=answer["torch"],
    )


def _memory() -> int:
    """Return the size of this machine's memory in bytes, or 0 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
