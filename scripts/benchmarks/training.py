"""Our fit against the usual loop on the real Fashion-MNIST: same network, same data, same steps, side by side."""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import our_fit
import torch
import training_worker
from usual_loop import BATCH, UsualLoop

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import ImageInput
from decloud_pl.train import delta
from decloud_pl.train.delta import Encoding
from decloud_pl.train.precision import resolve_precision
from decloud_pl.train.score import Scorer

_WARM_UP = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench training", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each, in turn")
    parser.add_argument("--steps", type=int, default=150, help="steps of a measurement")
    parser.add_argument("--seeds", type=int, default=3, help="epochs to compare accuracies by; 0 for none")
    parser.add_argument("--usual-seeds", type=int, default=None, help="as many of the usual loop; all by default")
    arguments = parser.parse_args()
    measured = run(arguments)
    if arguments.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name:<26} {value}")
    return 0 if all(measured["targets"].values()) else 1


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    precision = resolve_precision("auto", "auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured: dict[str, Any] = {"precision": precision, "threads": torch.get_num_threads()}
        for measure in (_worker, _speed, *([_accuracy] if arguments.seeds else [])):
            found = measure(arguments, folder)
            print(json.dumps(found), file=sys.stderr, flush=True)
            measured |= found
    measured["targets"] = _targets(measured)
    return measured


def _network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("simple_cnn", {"num_classes": 10})


def _speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source: Source = build(our_fit.fashion_mnist_node())
    split: Any = source.load("train")
    ours, usual = (
        _network(0).to(memory_format=torch.channels_last),
        UsualLoop(_network(0), split.images, split.labels, seed=0, rate=0.001),
    )
    made = our_fit.plan(folder, steps=arguments.steps + _WARM_UP)
    data = our_fit.data_module(source, made)
    usual.train(_WARM_UP)
    rates: dict[str, list[float]] = {"ours": [], "usual": []}
    for _ in range(arguments.rounds):
        ends = our_fit.fit(ours, source, made, data)[_WARM_UP - 1 :]
        rates["ours"].append((len(ends) - 1) / (ends[-1] - ends[0]))
        rates["usual"].append(usual.train(arguments.steps))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "ours_steps_per_second": [round(rate, 1) for rate in rates["ours"]],
        "usual_steps_per_second": [round(rate, 1) for rate in rates["usual"]],
        "ratio_of_medians": round(median["ours"] / median["usual"], 2),
    }


def _accuracy(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source: Source = build(our_fit.fashion_mnist_node())
    split: Any = source.load("train")
    scorer = Scorer(source.load("test"), ImageInput())
    ours, usual, sizes, halves = [], [], {}, []
    for seed in range(arguments.seeds):
        network = _network(seed).to(memory_format=torch.channels_last)
        base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        our_fit.fit(network, source, our_fit.plan(folder, seed=seed))
        applied = {}
        for dtype in ("float32", "float16"):
            entries = delta.encode(
                base, network.state_dict(), convention="delta", gradient_rate=0.1, encoding=Encoding(dtype)
            )
            sizes[dtype] = delta.write(folder / dtype, entries)[2]
            state = delta.apply(base, entries, convention="delta", gradient_rate=0.1)
            applied[dtype] = 100 * scorer.accuracy_of(network, state)
        ours.append(round(applied["float32"], 2))
        halves.append(round(applied["float16"], 2))
        if seed < (arguments.seeds if arguments.usual_seeds is None else arguments.usual_seeds):
            other = _network(seed)
            loop = UsualLoop(other, split.images, split.labels, seed=seed, rate=0.001)
            torch.manual_seed(seed)
            loop.train(len(split.labels) // BATCH + 1)
            usual.append(round(100 * scorer.accuracy(other), 2))
    return {
        "ours_accuracy": ours,
        "usual_accuracy": usual,
        "float16_accuracy": halves,
        "update_bytes": sizes,
        "float16_share_of_float32": round(sizes["float16"] / sizes["float32"], 4),
    }


def _worker(_: argparse.Namespace, folder: Path) -> dict[str, Any]:
    torch.save(_network(0).state_dict(), folder / "base.pt")
    return training_worker.measure(our_fit.plan(folder, steps=100), folder)


def _targets(measured: dict[str, Any]) -> dict[str, bool]:
    least = 2.3 if measured["precision"] == "bf16-mixed" else 1.4
    targets = {
        f"ratio >= {least}": measured["ratio_of_medians"] >= least,
        "peak memory < 1500 MB": measured["peak_memory_mb"] < 1500,
        "first step < 8 s of CPU": measured["first_step_cpu_seconds"] < 8,
    }
    if "ours_accuracy" not in measured:
        return targets
    ours, usual = measured["ours_accuracy"], measured["usual_accuracy"]
    targets["accuracy >= 87 %"] = min(ours) >= 87
    if usual:
        compared = statistics.mean(ours[: len(usual)]) - statistics.mean(usual)
        targets["accuracy at most 0.5 points below"] = compared >= -0.5
    targets["float16 file <= 0.51 of float32"] = measured["float16_share_of_float32"] <= 0.51
    worst = max(abs(a - b) for a, b in zip(ours, measured["float16_accuracy"], strict=True))
    targets["float16 within 0.1 points"] = worst <= 0.1
    return targets


if __name__ == "__main__":
    sys.exit(main())
