"""From a finished fit to an update with a verdict: judged, and mended where that helps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, seed_everything

from decloud_pl.domain import RemedyName, Update
from decloud_pl.errors import TrainingDiverged
from decloud_pl.train.best import BestWeights
from decloud_pl.train.callback import ProgressCallback
from decloud_pl.train.checkpoint import CheckpointCallback, stopped
from decloud_pl.train.deadline import DeadlineCallback
from decloud_pl.train.fitting import Ground
from decloud_pl.train.gate import Verdict, described
from decloud_pl.train.judge import Judge
from decloud_pl.train.plan import Progress, TrainingPlan
from decloud_pl.train.remedies import LOWER_RATE, Average, LowerRate, Remedy, Scale, Workshop
from decloud_pl.train.score import Scorer
from decloud_pl.train.writing import UpdateWriter

State = Mapping[str, torch.Tensor]

LOWER_RATE_CHECKPOINT = "lower-rate.ckpt"
# What things may take, in times of the base model's scoring on all of the held-out data. Each scoring of a half is 0.5:
# encoding one or a few of them, the verdict one, and two more where it looks for a cause.
_WRITE_AND_JUDGE = 2.0
_SLACK = 1.0
_LINE_SEARCH = 2.5
_LEAST_TRAINING = 4.0


def seconds_after_the_fit(plan: TrainingPlan, base_scoring: float) -> float:
    """What to reserve for everything after the fit: the verdict, and the remedies that need no further training.

    Args:
        plan: the training.
        base_scoring: seconds that scoring the base model on the held-out data took.
    """
    shares: dict[RemedyName, float] = {"scale": _LINE_SEARCH + _WRITE_AND_JUDGE, "average": _WRITE_AND_JUDGE}
    after = _WRITE_AND_JUDGE + _SLACK + sum(shares.get(name, 0.0) for name in plan.remedies)
    return after * base_scoring


@dataclass(frozen=True)
class Finish:
    """Judges the update of a fit, and tries the plan's remedies where it would be withheld.

    Attributes:
        plan: the training.
        ground: of its round.
        judge: of update files.
        writer: of update files.
        report: gets progress.
        base_scoring: seconds that scoring the base model took.
        finish_at: when the update must be on disk, on the scale of ``monotonic``; None for no limit.
        monotonic: the time in seconds.
        stop_requested: whether the training was asked to stop.
        processes: that trained together; this is the first of them, and the others have gone.
    """

    plan: TrainingPlan
    ground: Ground
    judge: Judge
    writer: UpdateWriter
    report: Callable[[Progress], None]
    base_scoring: float
    finish_at: float | None
    monotonic: Callable[[], float]
    stop_requested: Callable[[], bool]
    processes: int = 1

    def __call__(self, update: Update, *, trained: State, trained_score: float | None, average: State | None) -> Update:
        """The update with its verdict, perhaps another one than was given.

        Args:
            update: the fit's, on disk.
            trained: the weights that it was made from.
            trained_score: their accuracy on the half for choosing, where it is known.
            average: the average over the fit's last part, None where there is none.

        Raises:
            TrainingStopped: it was asked to; everything is done again when the training is started again.
        """
        verdict = self.judge.verdict(update.path)
        if not verdict.passed:
            workshop = Workshop(
                path=update.path,
                write=lambda path, weights: self.writer.write(path, weights)[0],
                judge=self.judge.verdict,
                time_left=self._time_left,
                check=self._check,
                note=lambda text: self.report(Progress("remedy", note=text)),
            )
            stopped_early = update.stopped_early
            remedies = self._remedies(trained, trained_score, average)
            update, verdict = workshop.improve(update, verdict, [remedies[name] for name in self.plan.remedies])
            update = dataclasses.replace(update, stopped_early=stopped_early)
        return self._with(update, verdict)

    def instead(self, diverged: TrainingDiverged, path: Path) -> Update:
        """The update of another training, at a lower rate, in place of one that came to nothing.

        Args:
            diverged: how that ended.
            path: the update file to write.

        Raises:
            TrainingDiverged: the other one did too, or it is no remedy of the plan or not possible.
            TrainingStopped: it was asked to.
        """
        if "lower_rate" not in self.plan.remedies:
            raise diverged
        self.report(Progress("remedy", note=diverged.message))
        weights, words = self._train_again()
        self.report(Progress("remedy", note=f"Remedy lower_rate: {words}"))
        if weights is None:
            raise diverged
        update, _ = self.writer.write(path, weights)
        return self._with(update, self.judge.verdict(path))

    def _with(self, update: Update, verdict: Verdict) -> Update:
        gain = verdict.gain
        before, after, note = gain.before, gain.after, str(verdict)
        if self.plan.score_split == "test":
            before, after = self._on_the_test_split(update.path)
            note = f"On held-out data the update {described(gain)}."
        self.report(Progress("score", accuracy=after, note=note))
        return dataclasses.replace(
            update,
            accuracy_before=before,
            accuracy_after=after,
            gain_low=gain.low,
            gain_high=gain.high,
            withheld=verdict.withheld,
        )

    def _on_the_test_split(self, path: Path) -> tuple[float, float]:
        scorer = Scorer(self.ground.source.load("test"), self.ground.spec.input)
        network = self.ground.network()
        return scorer.accuracy(network), scorer.accuracy_of(network, self.judge.applied(path))

    def _remedies(
        self, trained: State, trained_score: float | None, average: State | None
    ) -> dict[RemedyName, Callable[[], Remedy]]:
        unit = self.base_scoring
        return {
            "scale": lambda: Scale(
                self.ground.base,
                trained,
                self.judge.select,
                seconds=(_LINE_SEARCH + _WRITE_AND_JUDGE) * unit,
                trained_score=trained_score,
            ),
            "average": lambda: Average(average, seconds=_WRITE_AND_JUDGE * unit),
            "lower_rate": lambda: LowerRate(self._train_again, seconds=(_LEAST_TRAINING + _WRITE_AND_JUDGE) * unit),
        }

    def _train_again(self) -> tuple[State | None, str]:
        """Another fit from the base model at a lower rate, with a checkpoint of its own."""
        rate = self.plan.optimizer.get("lr")
        if self.processes > 1:
            return None, "several processes cannot begin another training."
        if not isinstance(rate, (int, float)) or isinstance(rate, bool):
            return None, "the optimizer's settings name no lr that could be lowered."
        plan = dataclasses.replace(self.plan, optimizer={**self.plan.optimizer, "lr": rate * LOWER_RATE})
        seed_everything(plan.seed, workers=True, verbose=False)
        network = self.ground.network()

        def report(progress: Progress) -> None:
            self.report(dataclasses.replace(progress, stage="remedy"))

        best = BestWeights(
            self.judge.select_network,
            network_of=lambda _: network,
            report=lambda accuracy: report(Progress("evaluate", accuracy=accuracy)),
        )
        callbacks: list[Callback] = [ProgressCallback(report), best]
        if self.finish_at is not None:
            stop_at = self.finish_at - (_WRITE_AND_JUDGE + _SLACK) * self.base_scoring
            callbacks.append(DeadlineCallback(stop_at, monotonic=self.monotonic))
        path = self.plan.out / LOWER_RATE_CHECKPOINT
        callbacks.append(
            CheckpointCallback(
                path,
                fingerprint=plan.fingerprint(),
                every_seconds=self.ground.options.checkpoint_seconds,
                seed=plan.seed,
                stop_requested=self.stop_requested,
                monotonic=self.monotonic,
            )
        )
        self.report(Progress("remedy", note=f"Training again from the base model at the rate {rate * LOWER_RATE:g}."))
        self.ground.fit(plan, network, callbacks, checkpoint=path, logger=False).run()
        return best.weights(network), f"trained again at the rate {rate * LOWER_RATE:g}."

    def _time_left(self) -> float:
        return math.inf if self.finish_at is None else self.finish_at - self.monotonic()

    def _check(self) -> None:
        if self.stop_requested():
            raise stopped()
