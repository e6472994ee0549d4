"""Compare the gate's estimate with the validator's result on the real Fashion-MNIST: scripts/bench score [--json].

Each round trains a base model, encodes and writes the update, and lets the gate judge the file on its half of the
held-out part. Then the validator's own code scores the same file on the whole test split. A third of the rounds starts
from a fresh model, a third from a partly trained model, and a third from a model that hardly gains any more.

The reward is compared with that of an oracle, which knows the validator's result before it submits. In each round we
assume other trainers that gain as much as we do where we gain, and that gain where we do not: then a submission that
gains nothing earns nothing. `--folder` keeps the finished rounds, and a later run with more rounds continues there.
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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import our_fit
import torch
from score_validator import Validator

from decloud_pl.build import build
from decloud_pl.chain.send import SIGNATURE_FEE
from decloud_pl.data.source import Source
from decloud_pl.domain import LAMPORTS_PER_SOL, Payout
from decloud_pl.models import package
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.make import make_spec
from decloud_pl.models.quarantine.warm import WarmQuarantine
from decloud_pl.models.registry import build as build_network
from decloud_pl.models.spec import ModelSpec
from decloud_pl.train.callbacks.delta import trained_network
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import quiet
from decloud_pl.train.score.gate import expected_reward
from decloud_pl.train.score.scorer import Gain

_LEAST_COVERED = 0.9
_LEAST_CAPTURED = 0.97
_ROUNDS_FILE = "rounds.jsonl"
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
class Measured:
    """One round: the gate's estimate, the validator's result, and the seconds that they took.

    Attributes:
        course: the round's parameters.
        gain: the gate's estimate.
        measured: the gain that the validator measures.
        training_seconds: CPU seconds of the fit.
        gate_seconds: CPU seconds of the gate.
        validator_seconds: wall-clock seconds of the validator.
    """

    course: Course
    gain: Gain
    measured: float
    training_seconds: float
    gate_seconds: float
    validator_seconds: float

    @classmethod
    def read(cls, line: str) -> Measured:
        fields = json.loads(line)
        return cls(**{**fields, "course": Course(**fields["course"]), "gain": Gain(**fields["gain"])})


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
    parser.add_argument("--rounds", type=int, default=60, help="number of rounds, each with its own seed")
    parser.add_argument("--steps", type=int, default=240, help="steps of a round's longest training")
    parser.add_argument("--base-steps", type=int, default=1200, help="steps of a base model's longest training")
    parser.add_argument("--architecture", default="simple_cnn", help="architecture of the models")
    parser.add_argument(
        "--image-size", type=int, default=0, help="image size, for architectures that accept any; 0 for the default"
    )
    parser.add_argument("--folder", type=Path, help="keep base models and finished rounds here, for the next run")
    parser.add_argument("--pool", type=float, default=0.1, help="SOL that the trainers of a round share")
    parser.add_argument("--trainers", type=int, default=2, help="trainers in a round, including this one")
    parser.add_argument("--no-quarantine", action="store_true", help="let the validator open our files directly")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of CPU threads")
    return parser.parse_args(arguments)


def courses(rounds: int, *, steps: int, base_steps: int) -> list[Course]:
    """Return the parameters of rounds with large to almost no gains, by the training steps of the base model."""
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
    payout = Payout(round(arguments.pool * LAMPORTS_PER_SOL), arguments.trainers, SIGNATURE_FEE)
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        quarantine = None if arguments.no_quarantine else stack.enter_context(WarmQuarantine())
        return _summary(list(_rounds(arguments, folder, quarantine)), payout)


def _rounds(arguments: argparse.Namespace, folder: Path, quarantine: WarmQuarantine | None) -> Iterator[Measured]:
    """Yield all rounds, those of an earlier run with the same parameters first."""
    file = folder / _ROUNDS_FILE
    kept = [Measured.read(line) for line in file.read_text().splitlines()] if file.exists() else []
    wanted = courses(arguments.rounds, steps=arguments.steps, base_steps=arguments.base_steps)
    done = {entry.course: entry for entry in kept}
    yield from (done[course] for course in wanted if course in done)
    if all(course in done for course in wanted):
        return
    plan = our_fit.plan(folder / "base.pt", "trainer=cpu")
    source: Source = build(plan.config.dataset)
    sizes = {"image_size": arguments.image_size} if arguments.image_size else {}
    spec = make_spec(arguments.architecture, {"num_classes": source.num_classes, **sizes}, {})
    torch.manual_seed(0)
    first = _packed(folder / "base-first", spec)
    setup = FitSetup.of(plan, BaseModel(spec, first, source.num_classes))
    validator = Validator(source, quarantine)
    for course in wanted:
        if course not in done:
            measured = _measured(setup, course, _base(setup, spec, course, folder), validator)
            with file.open("a") as lines:
                lines.write(json.dumps(dataclasses.asdict(measured)) + "\n")
            yield measured


def _base(setup: FitSetup, spec: ModelSpec, course: Course, folder: Path) -> Path:
    """Return the base model of a round, which is made at first use."""
    if not course.base:
        torch.manual_seed(course.seed)
        return _packed(folder / f"base-{course.seed}", spec)
    path = folder / f"base-after-{course.base}"
    if not path.exists():
        torch.manual_seed(-course.base)
        fresh = build_network(spec.architecture, spec.hyper_parameters).state_dict()
        package.save(path, spec, _trained(setup, fresh, Course(1000 + course.base, 0, course.base, 0.001)))
    return path


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


def _measured(setup: FitSetup, course: Course, path: Path, validator: Validator) -> Measured:
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
    ended, before = time.process_time(), time.perf_counter()
    measured = validator.gain(path, update)
    _tell({"seed": course.seed, "gain": round(100 * gain.gain, 2), "measured": round(100 * measured, 2)})
    return Measured(course, gain, measured, fitted - begun, ended - fitted, time.perf_counter() - before)


def _summary(rounds: list[Measured], payout: Payout) -> dict[str, Any]:
    each = [
        {
            **dataclasses.asdict(entry.course),
            "gain": round(100 * entry.gain.gain, 2),
            "low": round(100 * entry.gain.low, 2),
            "high": round(100 * entry.gain.high, 2),
            "chance": round(entry.gain.chance, 4),
            "measured": round(100 * entry.measured, 2),
            "covered": entry.gain.low <= entry.measured <= entry.gain.high,
        }
        for entry in rounds
    ]
    covered = sum(bool(entry["covered"]) for entry in each)
    expected = {entry.course: expected_reward(payout, entry.gain.chance) for entry in rounds}
    submitted = [entry for entry in rounds if expected[entry.course] >= payout.fee]
    certain = [entry for entry in rounds if entry.gain.low > 0]
    captured = _reward(submitted, rounds, payout)
    below = sum(expected[entry.course] < payout.fee for entry in submitted)
    return {
        "each": each,
        "rounds": len(rounds),
        "profitable": sum(entry.measured > 0 for entry in rounds),
        "profitable_expected": round(sum(entry.gain.chance for entry in rounds), 1),
        "covered": covered,
        "mean_width_points": round(100 * statistics.mean(entry.gain.high - entry.gain.low for entry in rounds), 2),
        "mean_error_points": round(100 * statistics.mean(abs(entry.gain.gain - entry.measured) for entry in rounds), 2),
        "by_expected_reward": captured,
        "by_min_gain_0": _reward(certain, rounds, payout),
        "submitted_below_cost": below,
        "held_out_samples": rounds[0].gain.samples,
        "gate_cpu_seconds_per_round": round(statistics.mean(entry.gate_seconds for entry in rounds), 2),
        "training_cpu_seconds_per_round": round(statistics.mean(entry.training_seconds for entry in rounds), 2),
        "validator_seconds_per_round": round(statistics.mean(entry.validator_seconds for entry in rounds), 2),
        "targets": {
            f"covered >= {_LEAST_COVERED:.0%}": covered >= _LEAST_COVERED * len(rounds),
            f"of the oracle's reward >= {_LEAST_CAPTURED:.0%}": (captured["of_the_oracles_reward"] or 0.0)
            >= _LEAST_CAPTURED,
            "submitted below cost = 0": not below,
        },
    }


def _reward(submitted: list[Measured], rounds: list[Measured], payout: Payout) -> dict[str, Any]:
    """Return what a gate's submissions earn after fees, and its share of what the oracle's submissions earn."""

    def earns(entry: Measured) -> float:
        """Return what submitting earns after the fee. A single trainer gets the pool in any case."""
        paid = entry.measured > 0 or payout.trainers == 1
        return paid * payout.pool / payout.trainers - payout.fee

    earned, most = sum(map(earns, submitted)), sum(max(0.0, earns(entry)) for entry in rounds)
    return {
        "submitted": len(submitted),
        "without_gain": sum(entry.measured <= 0 for entry in submitted),
        "of_the_oracles_reward": round(earned / most, 4) if most else None,
    }


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
