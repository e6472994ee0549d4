"""Compare our fit with the usual loop on the real Fashion-MNIST: same network, same data, same steps."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import our_fit
import step_profile
import torch
import training_worker
from usual_loop import UsualLoop

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.domain import Encoding, UpdateDtype
from decloud_pl.models.inputs import ImageInput
from decloud_pl.models.registry import build as build_network
from decloud_pl.train.fit.allocator import reuse_freed_memory
from decloud_pl.train.fit.precision import resolve_precision
from decloud_pl.train.score.scorer import Scorer
from decloud_pl.train.update import delta

_WARM_UP = 20
Measure = Callable[[argparse.Namespace, Path], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench training", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--part", choices=list(_PARTS), action="append", help="measure only this part (may be repeated)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each fit, in turn")
    parser.add_argument("--steps", type=int, default=60, help="steps per measurement")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of CPU threads")
    parser.add_argument("--update-steps", type=int, default=300, help="steps before the update is encoded")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds to compare accuracies with")
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
    torch.set_num_threads(arguments.threads)
    precision = resolve_precision("auto", "auto")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured: dict[str, Any] = {"precision": precision, "threads": torch.get_num_threads()}
        # One function measures several parts, so a request for one of them returns them all.
        wanted = dict.fromkeys(_PARTS[part] for part in arguments.part or _PARTS)
        for measure in wanted:
            found = measure(arguments, folder)
            _tell(found)
            measured |= found
    measured["targets"] = _targets(measured)
    return measured


def _network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("simple_cnn", {"num_classes": 10})


@functools.cache
def _usual_loop() -> UsualLoop:
    source: Source = build(our_fit.fashion_mnist_node())
    split: Any = source.load("train")
    return UsualLoop(_network(0), split.images, split.labels, seed=0, rate=0.001)


def _usual_rate(steps: int, threads: int) -> float:
    """Train with the usual loop of this process, and return its steps per second."""
    torch.set_num_threads(threads)
    return _usual_loop().train(steps)


def _speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    ours = our_fit.setup(folder, steps=arguments.steps + _WARM_UP)
    rates: dict[str, list[float]] = {"ours": [], "usual": []}
    reuse_freed_memory()  # as `train_round` does
    # In a process of its own, the usual loop keeps the allocator's default.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        other.submit(_usual_rate, _WARM_UP, arguments.threads).result()
        for _ in range(arguments.rounds):
            ends = our_fit.fit(ours)[1][_WARM_UP - 1 :]
            rates["ours"].append((len(ends) - 1) / (ends[-1] - ends[0]))
            rates["usual"].append(other.submit(_usual_rate, arguments.steps, arguments.threads).result())
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "ours_steps_per_second": [round(rate, 1) for rate in rates["ours"]],
        "usual_steps_per_second": [round(rate, 1) for rate in rates["usual"]],
        "ratio_of_medians": round(median["ours"] / median["usual"], 2),
        "step_profile": step_profile.shares(our_fit.setup(folder, steps=arguments.steps)),
    }


def _accuracy(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source: Source = build(our_fit.fashion_mnist_node())
    split: Any = source.load("train")
    scorer = Scorer(source.load("test"), ImageInput())
    ours, usual = [], []
    for seed in range(arguments.seeds):
        network, _ = our_fit.fit(our_fit.setup(folder, seed=seed))
        ours.append(round(100 * scorer.accuracy(network), 2))
        _tell({"seed": seed, "ours_accuracy": ours[-1]})
        other = _network(seed)
        loop = UsualLoop(other, split.images, split.labels, seed=seed, rate=0.001)
        torch.manual_seed(seed)
        loop.train(loop.steps_per_epoch)
        usual.append(round(100 * scorer.accuracy(other), 2))
        _tell({"seed": seed, "usual_accuracy": usual[-1]})
    return {"ours_accuracy": ours, "usual_accuracy": usual}


def _update(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the sizes of an update, and the accuracy that a validator measures with each."""
    source: Source = build(our_fit.fashion_mnist_node())
    scorer = Scorer(source.load("test"), ImageInput())
    made = our_fit.setup(folder, steps=arguments.update_steps)
    base = made.state
    network, _ = our_fit.fit(made)
    trained = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    dtypes: tuple[UpdateDtype, ...] = ("float32", "float16")
    sizes, accuracies = {}, {}
    for dtype in dtypes:
        entries = delta.encode(base, trained, convention="delta", gradient_rate=0.1, encoding=Encoding(dtype))
        sizes[dtype] = delta.write(folder / dtype, entries)[2]
        state = delta.apply(base, entries, convention="delta", gradient_rate=0.1)
        accuracies[dtype] = round(100 * scorer.accuracy_of(network, state), 2)
    return {
        "update_bytes": sizes,
        "update_accuracy": accuracies,
        "float16_share_of_float32": round(sizes["float16"] / sizes["float32"], 4),
    }


def _worker(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    torch.save(_network(0).state_dict(), folder / "base.pt")
    our_fit.plan(folder / "base.pt", steps=100, threads=arguments.threads).write(folder)
    return training_worker.measure(folder)


_PARTS: dict[str, Measure] = {
    "start": _worker,
    "memory": _worker,
    "speed": _speed,
    "update": _update,
    "accuracy": _accuracy,
}


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), file=sys.stderr, flush=True)


def _targets(measured: dict[str, Any]) -> dict[str, bool]:
    """Return the targets of the measured parts, and whether they are met."""
    targets: dict[str, bool] = {}
    if "first_step_cpu_seconds" in measured:
        targets["first step < 8 s of CPU"] = measured["first_step_cpu_seconds"] < 8
        targets["peak memory < 1500 MB"] = measured["peak_memory_mb"] < 1500
    if "ratio_of_medians" in measured:
        least = 2.8 if measured["precision"] == "bf16-mixed" else 1.4
        targets[f"ratio >= {least}"] = measured["ratio_of_medians"] >= least
    if "update_bytes" in measured:
        targets["float16 file <= 0.51 of float32"] = measured["float16_share_of_float32"] <= 0.51
        accuracy = measured["update_accuracy"]
        targets["float16 within 0.1 points"] = abs(accuracy["float32"] - accuracy["float16"]) <= 0.1
    if "ours_accuracy" in measured:
        ours, usual = measured["ours_accuracy"], measured["usual_accuracy"]
        targets["accuracy >= 87 %"] = min(ours) >= 87
        targets["accuracy at most 0.5 points below"] = statistics.mean(ours) - statistics.mean(usual) >= -0.5
    return targets


if __name__ == "__main__":
    sys.exit(main())
