"""Turn a finished fit into an update with a verdict, and apply remedies if the gate would withhold it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, seed_everything
from torch import nn

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingDiverged
from decloud_pl.train.callbacks.best import BestWeights
from decloud_pl.train.callbacks.delta import ProgressCallback, trained_network
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import make_callbacks
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.gate import Verdict, described
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.score.remedies import (
    LEAST_TRAINING,
    LINE_SEARCH,
    LOWER_RATE,
    SLACK,
    WRITE_AND_JUDGE,
    Remedy,
    improve,
    rescaled,
)
from decloud_pl.train.score.scorer import Scorer

State = Mapping[str, torch.Tensor]

LOWER_RATE_CHECKPOINT = "lower-rate.ckpt"


@dataclass(frozen=True)
class Finisher:
    """Judges the update of a fit, and tries the remedies if it would be withheld.

    ``processes`` is the number of processes that trained together. This one is the first; the others have ended.
    """

    setup: FitSetup
    judge: Judge
    callbacks: RoundCallbacks
    supervisor: Supervisor
    processes: int = 1

    def __call__(self, update: Update, network: nn.Module) -> Update:
        """Return the fit's update with its verdict, or a better update from a remedy.

        Args:
            update: the fit's update.
            network: the trained network.

        Raises:
            TrainingStopped: a stop was requested. A restart repeats all of this.
        """
        verdict = self.judge.verdict(update.path)
        better, verdict = improve(
            update,
            verdict,
            self._remedies(network),
            write=lambda path, weights: self.callbacks.writer.write(path, weights)[0],
            judge=self.judge.verdict,
            supervisor=self.supervisor,
        )
        update = dataclasses.replace(better, stopped_early=update.stopped_early)
        return self._with(update, verdict)

    def instead(self, diverged: TrainingDiverged, path: Path) -> Update:
        """Return the update of another training at a lower rate, after a training that diverged.

        Raises:
            TrainingDiverged: that training diverged too, or the plan does not allow it, or it is not possible.
            TrainingStopped: a stop was requested.
        """
        if "lower_rate" not in self.setup.remedies:
            raise diverged
        self.supervisor.note("remedy", diverged.message)
        weights, words = self._train_again()
        self.supervisor.note("remedy", f"Remedy lower_rate: {words}")
        if weights is None:
            raise diverged
        update, _ = self.callbacks.writer.write(path, weights)
        return self._with(update, self.judge.verdict(path))

    def _with(self, update: Update, verdict: Verdict) -> Update:
        gain = verdict.gain
        if gain is None:
            self.supervisor.note("score", str(verdict))
            return dataclasses.replace(update, withheld=verdict.withheld)
        before, after, note = gain.before, gain.after, str(verdict)
        source = self.setup.source
        if self.setup.round.score_split == "test" and source is not None:
            scorer, network = Scorer(source.load("test"), self.setup.base.spec.input), self.setup.network()
            before = scorer.accuracy(network)
            after = scorer.accuracy_of(network, self.judge.applied(update.path))
            note = f"On held-out data the update {described(gain)}."
        self.supervisor.report(Progress("score", accuracy=after, note=note))
        return dataclasses.replace(
            update,
            accuracy_before=before,
            accuracy_after=after,
            gain_low=gain.low,
            gain_high=gain.high,
            withheld=verdict.withheld,
        )

    def _remedies(self, network: nn.Module) -> list[Remedy]:
        seconds, best, select = self.callbacks.baseline.seconds, self.callbacks.best, self.judge.select

        def scale() -> tuple[State | None, str]:
            trained = best.weights(network)
            return rescaled(self.setup.state, trained, select, trained_score=best.accuracy)

        def average() -> tuple[State | None, str]:
            weights = self.callbacks.averaged(network)
            if weights is None:
                return None, "the training ended before its last part, so there is no average."
            return weights, "averaged the weights over the last part of the training."

        known = (
            Remedy("scale", (LINE_SEARCH + WRITE_AND_JUDGE) * seconds, scale),
            Remedy("average", WRITE_AND_JUDGE * seconds, average),
            Remedy("lower_rate", (LEAST_TRAINING + WRITE_AND_JUDGE) * seconds, self._train_again),
        )
        by_name = {remedy.name: remedy for remedy in known}
        return [by_name[name] for name in self.setup.remedies]

    def _train_again(self) -> tuple[State | None, str]:
        """Fit again from the base model at a lower rate, with a separate checkpoint."""
        rate = self.setup.config.optimizer.get("lr")
        if self.processes > 1:
            return None, "not possible in a training with several processes."
        if self.setup.has_own_optimizer or not isinstance(rate, (int, float)) or isinstance(rate, bool):
            return None, "the optimizer's settings have no lr to lower."
        setup = self.setup.with_nodes(optimizer={**self.setup.config.optimizer, "lr": rate * LOWER_RATE})
        supervisor = self.supervisor.as_stage("remedy")
        seed_everything(setup.config.seed, workers=True, verbose=False)
        module = setup.module()
        network = trained_network(module, setup.state)
        best = BestWeights(
            network=network,
            score=self.judge.select,
            report=lambda accuracy: supervisor.report(Progress("evaluate", accuracy=accuracy)),
        )
        callbacks: list[Callback] = [best, *make_callbacks(setup.plan), ProgressCallback(supervisor.report)]
        if supervisor.finish_at is not None:
            stop_at = supervisor.finish_at - (WRITE_AND_JUDGE + SLACK) * self.callbacks.baseline.seconds
            callbacks.append(DeadlineCallback(stop_at, monotonic=supervisor.monotonic))
        path = setup.round.folder / LOWER_RATE_CHECKPOINT
        callbacks.append(setup.checkpoints(path, supervisor))
        supervisor.note("remedy", f"Training again from the base model at learning rate {rate * LOWER_RATE:g}.")
        setup.fit(module, callbacks, checkpoint=path, logger=False).run()
        return best.weights(network), f"trained again at learning rate {rate * LOWER_RATE:g}."
