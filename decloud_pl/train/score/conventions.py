"""Score updates on one split under each convention: ``python -m decloud_pl.train.score`` answers in JSON.

The scoring runs in this separate process, so its caller does not import torch, and a model that needs too much memory
ends only this process. The files come from strangers, so the quarantine opens each of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load_file

from decloud_pl.build import build
from decloud_pl.children import open_messages, send
from decloud_pl.data.source import Source, SplitName
from decloud_pl.domain import Convention
from decloud_pl.errors import ConfigError, DatasetError, DecloudError, UntrustedFileRejected
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.encoding import check_fit
from decloud_pl.train.score import likeness
from decloud_pl.train.score.scorer import Scorer
from decloud_pl.train.update import delta


def scores(
    base: Path,
    dataset: Mapping[str, Any],
    submissions: Mapping[str, Path],
    gradient_rate: float,
    split: SplitName,
    packages: Collection[str] = (),
) -> dict[str, Any]:
    """Return how many samples the base model and each submission get right, under each convention, as JSON values.

    Args:
        base: the base model's file as downloaded.
        dataset: the configuration node of the round's data set.
        submissions: each submission's file as downloaded, by name.
        gradient_rate: η of the ``gradient`` convention.
        split: the split to score on.
        packages: the user's packages that may contain the data set's reader.

    Returns:
        A dict with these keys:

        - ``samples``: the number of samples. ``labels``: the SHA-256 of their labels.
        - ``correct`` and ``ties``: the base model's numbers of hits and of ties; see `Scorer.hits_and_ties`.
        - ``submissions``: by name and convention, the submission's ``correct`` and ``ties``. A name maps to None if the
          quarantine refused the file.
        - ``refused``: by name, why the quarantine refused the file.
        - ``products``: by convention, a square matrix with one row and one column for each opened submission, in the
          order of ``submissions``. An entry is the dot product of the row's vector and the column's vector. The vector
          of a submission has one element per sample: 1 if only the submission gets the sample right, -1 if only the
          base model gets it right, otherwise 0.
        - ``alike``: a matrix with the same rows and columns. An entry is the cosine of the two updates, -1 to 1.
        - ``torch``: PyTorch's version.

    Raises:
        DecloudError: the base model or the data set cannot be used.
    """
    source: Source = build(dict(dataset), packages=packages)
    found: dict[str, dict[Convention, dict[str, int]] | None] = {}
    changes: dict[Convention, list[torch.Tensor]] = {convention: [] for convention in get_args(Convention)}
    refused: dict[str, str] = {}
    sketches: list[torch.Tensor] = []
    with WarmQuarantine() as quarantine:
        model = quarantine.open_base_model(base, base.with_name(f"{base.name}.safetensors"))
        check_fit(model, source)
        scorer = Scorer(lambda: source.load(split), model.spec.input)
        network = model.spec.network()
        state = load_file(str(model.weights))
        before, ties = scorer.hits_and_ties(network, state)
        parameters = {name for name, _ in network.named_parameters()}
        for name, path in submissions.items():
            out = path.with_name(f"{path.name}.safetensors")
            try:
                entries = load_file(str(quarantine.open_submission(path, model, out)))
            except UntrustedFileRejected as error:
                found[name], refused[name] = None, error.message
                continue
            finally:
                out.unlink(missing_ok=True)
            sketches.append(likeness.sketch(state, entries))
            read = partial(delta.apply, state, entries, gradient_rate=gradient_rate)
            scored: dict[Convention, dict[str, int]] = {}
            for convention in get_args(Convention):
                applied = read(convention=convention, parameters=None if convention == "delta" else parameters)
                hits, close = scorer.hits_and_ties(network, applied)
                changes[convention].append(hits.float() - before.float())
                scored[convention] = {"correct": int(hits.sum()), "ties": close}
            found[name] = scored
    labels = hashlib.sha256(scorer.split.labels.astype("<i8").tobytes())
    return {
        "samples": len(before),
        "labels": labels.hexdigest(),
        "correct": int(before.sum()),
        "ties": ties,
        "submissions": found,
        "refused": refused,
        "products": {convention: _products(changed) for convention, changed in changes.items()},
        "alike": likeness.cosines(sketches),
        "torch": torch.__version__,
    }


def _products(changed: list[torch.Tensor]) -> list[list[int]]:
    return [[round(float(one.double() @ other.double())) for other in changed] for one in changed]


def main() -> None:
    messages = open_messages()
    request = json.load(sys.stdin)
    signal.alarm(int(request["seconds"]) + 1)  # in case the parent no longer runs by then
    os.nice(int(request["nice"]))
    torch.set_num_threads(max(1, int(request["threads"])))
    if request["memory_bytes"]:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (int(request["memory_bytes"]), hard))
    submissions = {name: Path(path) for name, path in request["submissions"].items()}
    found: dict[str, Any]
    try:
        found = scores(
            Path(request["base"]),
            request["dataset"],
            submissions,
            request["gradient_rate"],
            request["split"],
            request["packages"],
        )
    except Exception as error:
        missing = shortage(error)
        if missing is not None:
            found = {"short": missing.message, "fix": missing.fix}
        elif isinstance(error, DecloudError):
            of_data = isinstance(error, (ConfigError, DatasetError))  # only the data set is built from a configuration
            found = {"error": error.message, "fix": error.fix, "of_data": of_data}
        else:
            raise
    send(messages, found)
