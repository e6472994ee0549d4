"""Measure what an update gains under each convention: ``python -m decloud_pl.train.score`` answers in JSON.

It runs in a separate process. The caller needs no torch, and a model that is too large ends only this process. The
files come from strangers, so the quarantine opens each of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load_file

from decloud_pl.build import build
from decloud_pl.children import open_messages, send
from decloud_pl.data.source import Source
from decloud_pl.domain import Convention
from decloud_pl.errors import DecloudError, UntrustedFileRejected
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.models.registry import build as build_network
from decloud_pl.shortage import shortage
from decloud_pl.train.fit.encoding import check_fit
from decloud_pl.train.score.scorer import Scorer
from decloud_pl.train.update import delta


def gains(
    base: Path, dataset: Mapping[str, Any], submissions: Mapping[str, Path], gradient_rate: float
) -> dict[str, dict[Convention, float] | None]:
    """Return the accuracy gained over the base model on the held-out split, by submission and convention.

    Args:
        base: the base model's file from the network.
        dataset: the configuration node of the round's data set.
        submissions: names and files from the network.
        gradient_rate: η of the ``gradient`` convention.

    Returns:
        The gains, -1 to 1. A submission that cannot be opened has None.

    Raises:
        DecloudError: the base model or the data set cannot be used.
    """
    source: Source = build(dict(dataset))
    found: dict[str, dict[Convention, float] | None] = {}
    with WarmQuarantine() as quarantine:
        model = quarantine.open_base_model(base, base.with_name(f"{base.name}.safetensors"))
        check_fit(model, source)
        held_out = Scorer(lambda: source.load("held_out"), model.spec.input)
        network = build_network(model.spec.architecture, model.spec.hyper_parameters)
        state = load_file(str(model.weights))
        before = held_out.accuracy_of(network, state)
        parameters = {name for name, _ in network.named_parameters()}
        for name, path in submissions.items():
            try:
                opened = quarantine.open_submission(path, model, path.with_name(f"{path.name}.safetensors"))
            except UntrustedFileRejected:
                found[name] = None
                continue
            entries = load_file(str(opened))
            read = partial(delta.apply, state, entries, gradient_rate=gradient_rate)
            states = {"delta": read(convention="delta"), "gradient": read(convention="gradient", parameters=parameters)}
            found[name] = {
                convention: held_out.accuracy_of(network, states[convention]) - before
                for convention in get_args(Convention)
            }
    return found


def main() -> None:
    messages = open_messages()
    request = json.load(sys.stdin)
    os.nice(int(request["nice"]))
    torch.set_num_threads(max(1, int(request["threads"])))
    submissions = {name: Path(path) for name, path in request["submissions"].items()}
    try:
        found: dict[str, Any] = {
            "gains": gains(Path(request["base"]), request["dataset"], submissions, request["gradient_rate"])
        }
    except Exception as error:
        missing = shortage(error)
        if missing is not None:
            found = {"short": missing.message, "fix": missing.fix}
        elif isinstance(error, DecloudError):
            found = {"error": str(error)}
        else:
            raise
    send(messages, found)
