"""Compare the gate's estimate with the validator's result on the real Fashion-MNIST: scripts/bench score [--json].

Each round trains a base model, encodes and writes the update, and lets the gate judge the file on its half of the
held-out part. Then the validator's own code scores the same file on the whole test split. A third of the rounds starts
from a fresh model, a third from a partly trained model, and a third from a model that hardly gains any more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import our_fit
import torch
from safetensors.torch import load_file

from decloud_pl.build import build
from decloud_pl.data.source import Source
from decloud_pl.localnet.agents.oracle import Oracle, Samples
from decloud_pl.models import package
from decloud_pl.models.make import make_spec
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import BaseModel, ModelSpec
from decloud_pl.train.callbacks.delta import trained_network
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import quiet
from decloud_pl.train.score.scorer import Gain

_LEAST_COVERED = 0.9
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Course:
    """The parameters of one round.

    Attributes:
        seed: seed for the order of the batches, and for a fresh model.
        base: training steps of the base model; 0 for a fresh model.
        steps: training steps of the round.
        rate: the round's learning rate.
    """

    seed: int
    base: int
    steps: int
    rate: float


@dataclass(frozen=True)
class Judged:
    """The gate's verdict on a round's update, and the CPU seconds of training and gate."""

    course: Course
    base: Path
    update: Path
    gain: Gain
    training_seconds: float
    gate_seconds: float


def main() -> int:
    arguments = parse(sys.argv[1:])
    measured = run(arguments)
    if arguments.json:
        print(json.dumps(measured, indent=2))
    else:
        for entry in measured.pop("each"):
            print(json.dumps(entry))
        for name, value in measured.items():
            print(f"{name:<26} {value}")
    return 0 if all(measured["targets"].values()) else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench score", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--rounds", type=int, default=30, help="number of rounds, each with its own seed")
    parser.add_argument("--steps", type=int, default=240, help="steps of a round's longest training")
    parser.add_argument("--base-steps", type=int, default=1200, help="steps of a base model's longest training")
    parser.add_argument("--architecture", default="simple_cnn", help="architecture of the models")
    parser.add_argument(
        "--image-size", type=int, default=0, help="image size, for architectures that accept any; 0 for the default"
    )
    parser.add_argument("--no-quarantine", action="store_true", help="let the validator open our files directly")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of CPU threads")
    return parser.parse_args(arguments)


def courses(rounds: int, *, steps: int, base_steps: int) -> list[Course]:
    """Return rounds of every strength, from large first gains to fine-tuning with almost no gain."""
    found = []
    for seed in range(rounds):
        kind, strength = seed % 3, 1 + seed // 3 % 8
        base = (0, base_steps // 4, base_steps)[kind]
        rate = (0.001, 0.001, 0.0001)[kind]
        found.append(Course(seed, base, max(1, strength * steps // 8), rate))
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    quiet()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        judged = list(_rounds(arguments, Path(name)))
        begun = time.perf_counter()
        measured = _validate(judged, quarantine=not arguments.no_quarantine)
        return _summary(judged, measured, time.perf_counter() - begun)


def _rounds(arguments: argparse.Namespace, folder: Path) -> Iterator[Judged]:
    plan = our_fit.plan(folder, "trainer=cpu")
    source: Source = build(plan.config.dataset)
    sizes = {"image_size": arguments.image_size} if arguments.image_size else {}
    spec = make_spec(arguments.architecture, {"num_classes": source.num_classes, **sizes}, {})
    torch.manual_seed(0)
    first = _packed(folder / "base-first", spec)
    setup = FitSetup.of(plan, BaseModel(spec, first, source.num_classes))
    bases: dict[int, Path] = {}
    for course in courses(arguments.rounds, steps=arguments.steps, base_steps=arguments.base_steps):
        if not course.base:
            torch.manual_seed(course.seed)
            base = _packed(folder / f"base-{course.seed}", spec)
        else:
            if course.base not in bases:
                torch.manual_seed(-course.base)
                fresh = build_network(spec.architecture, spec.hyper_parameters).state_dict()
                made = Course(1000 + course.base, 0, course.base, 0.001)
                bases[course.base] = folder / f"base-after-{course.base}"
                package.save(bases[course.base], spec, _trained(setup, fresh, made))
            base = bases[course.base]
        yield _judged(setup, course, base)


def _packed(path: Path, spec: ModelSpec) -> Path:
    package.save(path, spec, build_network(spec.architecture, spec.hyper_parameters).state_dict())
    return path


def _trained(setup: FitSetup, base: State, course: Course) -> State:
    """Return the weights after a round's fit."""
    config = setup.config
    setup = dataclasses.replace(setup, state=base).with_nodes(
        optimizer={**config.optimizer, "lr": course.rate},
        trainer={**config.trainer, "limit_train_batches": course.steps, "limit_val_batches": 0},
        seed=course.seed,
    )
    # The order of the data depends on the seed; the packed samples are reused.
    data = cast(RoundDataModule, setup.data).again(seed=course.seed)
    setup = dataclasses.replace(setup, data=data)
    torch.manual_seed(course.seed)
    module = setup.module()
    setup.fit(module, []).run()
    network = trained_network(module, base)
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _judged(setup: FitSetup, course: Course, path: Path) -> Judged:
    _, base = package.load(path)
    begun = time.process_time()
    trained = _trained(setup, base, course)
    fitted = time.process_time()
    judge = dataclasses.replace(setup, state=base).judge()
    update = setup.round.folder / f"update-{course.seed}.pt"
    judge.writer(setup.config.update, note=lambda _: None).write(update, trained)
    gain = judge.verdict(update).gain
    if gain is None:
        raise RuntimeError("The gain was not measured.")
    ended = time.process_time()
    _tell({"seed": course.seed, "gain": round(100 * gain.gain, 2), "cpu_seconds": round(ended - begun, 1)})
    return Judged(course, path, update, gain, fitted - begun, ended - fitted)


def _validate(judged: list[Judged], *, quarantine: bool) -> dict[int, float]:
    """Return the gain that the validator measures, by the round's seed."""
    source: Source = build(our_fit.fashion_mnist_node())
    test: Samples | None = None
    found: dict[int, float] = {}
    with WarmQuarantine() as child:
        for base in dict.fromkeys(entry.base for entry in judged):
            spec, state = package.load(base)
            test = test or Samples.of(source.load("test"), spec.input)
            oracle = Oracle(spec, state, test)
            model, before = BaseModel(spec, base, source.num_classes), oracle.baseline()
            for seed, path in ((entry.course.seed, entry.update) for entry in judged if entry.base == base):
                if quarantine:
                    entries = load_file(str(child.open_submission(path, model, path.with_suffix(".safetensors"))))
                else:
                    entries = torch.load(path, weights_only=True)
                found[seed] = (oracle.with_submission(entries, "delta", 0.1) - before) / len(test.labels)
                _tell({"seed": seed, "measured": round(100 * found[seed], 2)})
    return found


def _summary(judged: list[Judged], measured: dict[int, float], validator_seconds: float) -> dict[str, Any]:
    each = [
        {
            **dataclasses.asdict(entry.course),
            "gain": round(100 * entry.gain.gain, 2),
            "low": round(100 * entry.gain.low, 2),
            "high": round(100 * entry.gain.high, 2),
            "measured": round(100 * measured[entry.course.seed], 2),
            "covered": entry.gain.low <= measured[entry.course.seed] <= entry.gain.high,
        }
        for entry in judged
    ]
    covered = sum(bool(entry["covered"]) for entry in each)
    errors = [abs(entry.gain.gain - measured[entry.course.seed]) for entry in judged]
    submitted = [entry for entry in judged if entry.gain.low > 0]
    return {
        "each": each,
        "rounds": len(judged),
        "covered": covered,
        "mean_width_points": round(100 * statistics.mean(entry.gain.high - entry.gain.low for entry in judged), 2),
        "mean_error_points": round(100 * statistics.mean(errors), 2),
        "submitted": len(submitted),
        "submitted_without_gain": sum(measured[entry.course.seed] <= 0 for entry in submitted),
        "held_out_samples": judged[0].gain.samples,
        "gate_cpu_seconds_per_round": round(statistics.mean(entry.gate_seconds for entry in judged), 2),
        "training_cpu_seconds_per_round": round(statistics.mean(entry.training_seconds for entry in judged), 2),
        "validator_seconds_per_round": round(validator_seconds / len(judged), 2),
        "targets": {f"covered >= {_LEAST_COVERED:.0%}": covered >= _LEAST_COVERED * len(judged)},
    }


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
