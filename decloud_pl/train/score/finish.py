"""Turn a finished fit into an update with a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, seed_everything

from decloud_pl.domain import ScoreSplit, Update
from decloud_pl.errors import ConfigError, TrainingDiverged, TrainingError, TrainingStopped
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.callbacks.delta import ProgressCallback, trained_network
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.setup import LOWER_RATE, FitSetup
from decloud_pl.train.fit.trainer import make_callbacks
from decloud_pl.train.plan import LOWER_RATE_CHECKPOINT_FILE, LOWER_RATE_UPDATE_FILE
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.choice import LEAST_TRAINING, SLACK, WRITE_AND_JUDGE
from decloud_pl.train.score.gate import described
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.last_fit import LastFit
from decloud_pl.train.score.scorer import Scorer

State = Mapping[str, torch.Tensor]

_KEPT = "The update of the first training is kept."


@dataclass(frozen=True)
class Finisher:
    """Judges the update of a fit. Trains again at a lower rate first if the fit diverged or its gain is uncertain.

    ``processes`` is the number of processes that trained together. This process is the first of them; the other
    processes have ended.
    """

    setup: FitSetup
    judge: Judge
    callbacks: RoundCallbacks
    supervisor: Supervisor
    processes: int = 1

    def __call__(self, update: Update, judged: Callable[[Update], None] = lambda _: None) -> Update:
        """Judge the fit's update and return it with the verdict.

        If its gain is uncertain, and the plan and the time allow it, train again at a lower rate. If the second
        training is better, judge and return its update instead, unless that is withheld and the first is not. If the
        second training fails, return the first update. The second training may be killed, so ``judged`` is called with
        the first update before it, unless that is withheld.

        Raises:
            TrainingStopped: a stop was requested. The caller must forget the first update, so that the second training
                continues after a restart.
        """
        if not self._wants_lower_rate():
            return self._judged(update)
        first, weights = self._judged(update), self.callbacks.choice.weights
        if not first.withheld:
            judged(first)
        better = self._of_a_lower_rate(first)
        if better is None:
            return first
        second = self._judged(better)
        if second.withheld and not first.withheld:
            self.callbacks.choice.weights = weights  # a last fit continues from them
            return first
        return second

    def with_last_fit(self, update: Update, *, steps: int) -> Update:
        """Run a last fit (see `LastFit`) and return its update. If that is impossible, return the judged ``update``.

        ``steps`` is the number of steps of the judged training.
        """
        if self.processes > 1:
            return update
        callbacks = self.callbacks
        weights, seconds = callbacks.choice.weights, callbacks.baseline.seconds
        last = LastFit(self.setup, self.judge, callbacks.writer, self.supervisor, weights, steps, seconds)
        return last.after(update)

    def _wants_lower_rate(self) -> bool:
        choice = self.callbacks.choice
        if "lower_rate" not in choice.candidates or self.judge.seems_certain(choice.weights):
            return False
        self.supervisor.check_stop()
        least = LEAST_TRAINING * choice.seconds()
        if min(self.supervisor.time_left() - WRITE_AND_JUDGE * choice.seconds(), self._planned_left()) < least:
            self.supervisor.note("choose", "No time is left to train again at a lower learning rate.")
            return False
        return True

    def _of_a_lower_rate(self, update: Update) -> Update | None:
        """Train again at a lower rate. Return the new update if it is better; None if ``update`` is to be kept."""
        choice = self.callbacks.choice
        try:
            weights, words = self._train_again(self._planned_left())
        except TrainingStopped:
            raise
        except (TrainingError, ConfigError) as error:
            weights = None
            words = f"The training at a lower learning rate failed: {error.message} {_KEPT}"
        self.supervisor.note("choose", words)
        if weights is None or (self.judge.select(weights) or 0.0) <= (choice.accuracy or 0.0):
            return None
        # Another file: until this one is judged, the record names the first.
        better, _ = self.callbacks.writer.write(update.path.with_name(LOWER_RATE_UPDATE_FILE), weights)
        choice.weights = weights  # a last fit continues from them
        return dataclasses.replace(better, stopped_early=update.stopped_early)

    def instead(self, diverged: TrainingDiverged, path: Path) -> Update:
        """Train again at a lower rate, because the training diverged. Return the judged update.

        Raises:
            TrainingDiverged: the second training diverged too, is not possible, or is not allowed by the plan.
            TrainingStopped: a stop was requested.
        """
        if "lower_rate" not in self.setup.candidates:
            raise diverged
        self.supervisor.note("choose", diverged.message)
        # Without this training there is nothing to submit, so it gets the whole planned time.
        weights, words = self._train_again(self.setup.planned_seconds or math.inf)
        self.supervisor.note("choose", words)
        if weights is None:
            raise diverged
        update, _ = self.callbacks.writer.write(path, weights)
        return self._judged(update)

    def _judged(self, update: Update) -> Update:
        """Judge an update's file. Return the update with the verdict and the accuracies."""
        verdict = self.judge.verdict(update.path, scored=lambda: self.supervisor.report(Progress("score")))
        gain = verdict.gain
        if gain is None:
            self.supervisor.note("score", str(verdict))
            return dataclasses.replace(update, withheld=verdict.withheld)
        before, after, note = gain.before, gain.after, str(verdict)
        split: ScoreSplit = "held_out"
        source = self.setup.source
        if self.setup.round.score_split == "test" and source is not None:
            split = "test"
            scorer, network = Scorer(source.load("test"), self.setup.base.spec.input), self.setup.network()
            before = scorer.accuracy(network)
            after = scorer.accuracy_of(network, self.judge.applied(update.path))
            note = f"On held-out data the update {described(gain)}."
        self.supervisor.report(Progress("score", accuracy=after, note=note))
        return dataclasses.replace(
            update,
            accuracy_before=before,
            accuracy_after=after,
            score_split=split,
            gain_low=gain.low,
            gain_high=gain.high,
            withheld=verdict.withheld,
        )

    def _planned_left(self) -> float:
        """Return how many of the seconds that were planned for the training are left. Each further fit costs energy."""
        deadline = self.callbacks.deadline
        left = None if deadline is None else deadline.planned_seconds_left()
        return math.inf if left is None else left

    def _train_again(self, seconds: float) -> tuple[State | None, str]:
        """Fit again from the base model at a lower rate for at most ``seconds``, with a separate checkpoint.

        Return the best weights (None if the fit is not possible), and a sentence that says what was done or why not.
        """
        if self.processes > 1:
            return None, "A training with several processes is not repeated at a lower learning rate."
        setup = self.setup.slower(LOWER_RATE)
        if setup is None:
            return None, "The optimizer has no lr to lower."
        rate = f"{setup.config.optimizer['lr']:g}"
        supervisor = self.supervisor.as_stage("choose")
        seed_everything(setup.config.seed, workers=True, verbose=False)
        module = setup.module()
        network = trained_network(module, setup.state)
        best = BestWeights(
            network=network,
            score=self.judge.select,
            report=lambda accuracy: supervisor.report(Progress("evaluate", accuracy=accuracy)),
            by_score=setup.source is None,
        )
        callbacks: list[Callback] = [best, *make_callbacks(setup.plan)]
        passed = None
        if supervisor.finish_at is not None:
            stop_at = supervisor.finish_at - (WRITE_AND_JUDGE + SLACK) * self.callbacks.baseline.seconds
            planned = seconds if math.isfinite(seconds) else None
            deadline = DeadlineCallback(stop_at, monotonic=supervisor.monotonic, planned_seconds=planned)
            callbacks.append(deadline)
            passed = deadline.share
        callbacks.append(ProgressCallback(supervisor.report, passed))
        path = setup.round.folder / LOWER_RATE_CHECKPOINT_FILE
        callbacks.append(setup.checkpoints(path, supervisor))
        supervisor.note("choose", f"Training again from the base model at learning rate {rate}.")
        setup.fit(module, callbacks, checkpoint=path, logger=False).run()
        return best.weights(network), f"Trained again from the base model at learning rate {rate}."
