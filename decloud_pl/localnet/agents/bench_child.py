"""The child process of `bench`: creates base models and scores submissions.

It reads one JSON request per line and writes one JSON answer per line, until stdin closes.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from decloud_pl.build import build
from decloud_pl.data.catalog import Catalog
from decloud_pl.data.entry import DataFolder
from decloud_pl.data.source import Source
from decloud_pl.durable import appearing
from decloud_pl.errors import DecloudError, LocalnetError, UntrustedFileRejected
from decloud_pl.localnet.agents.oracle import Oracle, Samples, shares
from decloud_pl.models import package
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import InputSpec
from decloud_pl.models.make import make_spec
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.models.registry import build as build_network

logger = logging.getLogger(__name__)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    for line in _requests():
        request = json.loads(line)
        try:
            answer = {"result": _REQUESTS[request.pop("request")](**request)}
        except DecloudError as error:
            answer = {"error": str(error)}
        except Exception:  # after an internal error, the warm process can still serve the next request
            logger.exception("Internal error in a request")
            answer = {"error": "Internal error in the scoring process. See scoring.log, and please report it."}
        answers.write(json.dumps(answer) + "\n")


def _requests() -> Iterator[str]:
    """Yield requests as they arrive. When the parent ends, this process exits at once, even during a request."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, name="exit-with-parent", daemon=True).start()
    while True:
        yield waiting.get()


def make_base_model(path: str, architecture: str, format: str, classes: int) -> None:  # noqa: A002  # the key in the request
    """Write a freshly initialised model."""
    torch.manual_seed(classes)
    spec = make_spec(architecture, {"num_classes": classes}, {})
    network = build_network(spec.architecture, spec.hyper_parameters)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if format == "package":
        package.save(target, spec, network.state_dict())
        return
    with appearing(target) as scratch:
        torch.save(network.state_dict(), scratch)


def baseline(base: str, dataset: str, data: str | None = None) -> float:
    """Return the accuracy of a base model, 0 to 1."""
    model, test = _open(Path(base)), _test(base, dataset, data)
    return _correct(Oracle(model.spec, model.state_dict(), test), base, dataset) / len(test.labels)


def contributions(submissions: dict[str, str], **asked: Any) -> dict[str, int]:
    """Return each submission's share of the reward in basis points. The share of a refused submission is 0.

    Arguments and errors are those of `counts`.
    """
    return dict.fromkeys(submissions, 0) | shares(*counts(submissions=submissions, **asked))


def counts(
    base: str, dataset: str, data: str | None, submissions: dict[str, str], scoring: Any, gradient_rate: float
) -> tuple[int, dict[str, int]]:
    """Return how many predictions are correct with the base model alone, and with each valid submission.

    If ``scoring`` is ``equal``, nothing is scored and all counts are 0. For such counts, `shares` returns equal shares.

    Raises:
        LocalnetError: no submission is valid.
    """
    model = _open(Path(base))
    oracle = Oracle(model.spec, model.state_dict(), _test(base, dataset, data))
    # All submissions use one file name, so that a kill leaves at most one file, which the next submission replaces.
    safe = Path(base).with_name("entries.safetensors")
    correct: dict[str, int] = {}
    refusals = ""
    for name, path in submissions.items():
        try:
            entries = load_file(str(quarantine().open_submission(Path(path), model, safe)))
        except UntrustedFileRejected as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            refusals += f" {name}: {error}"
        else:
            correct[name] = 0 if scoring == "equal" else oracle.with_submission(entries, scoring, gradient_rate)
        finally:
            safe.unlink(missing_ok=True)
    if not correct:
        raise LocalnetError(f"No submission is valid, so the validator does not complete the round.{refusals}")
    return 0 if scoring == "equal" else _correct(oracle, base, dataset), correct


_REQUESTS: dict[str, Callable[..., Any]] = {
    "make_base_model": make_base_model,
    "baseline": baseline,
    "contributions": contributions,
}

_models: dict[Path, BaseModel] = {}
_tests: dict[tuple[str, InputSpec], Samples] = {}
_baselines: dict[tuple[str, str], int] = {}


@functools.cache
def quarantine() -> WarmQuarantine:
    """Return the quarantine that opens all untrusted files of this process. It ends when this process ends."""
    return WarmQuarantine()


def _open(path: Path) -> BaseModel:
    if path not in _models:
        _models[path] = quarantine().open_base_model(path, path.with_name(path.name + ".safetensors"))
    return _models[path]


def _correct(oracle: Oracle, base: str, dataset: str) -> int:
    """Count a base model's correct predictions. The count is cached, because a round needs it at its start and end."""
    if (base, dataset) not in _baselines:
        _baselines[base, dataset] = oracle.baseline()
    return _baselines[base, dataset]


def _test(base: str, dataset: str, data: str | None) -> Samples:
    spec = _open(Path(base)).spec.input
    key = (dataset, spec)
    if key not in _tests:
        folder = DataFolder.from_node({"folder": data, "download": False})
        source: Source = build(Catalog(folder).resolve(dataset).node(folder))
        _tests[key] = Samples.of(source.load("test"), spec)
    return _tests[key]
