"""A last fit, which continues from the judged update on all the training data, including the held-out part.

No data is left to judge the last fit, so its update must stay close to the judged update. The last fit takes at most as
many steps as the judged training and uses a tenth of that training's learning rate. The new update must predict the
same class as the judged update on nearly all samples of the held-out part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, seed_everything

from decloud_pl.domain import Update
from decloud_pl.errors import DecloudError, TrainingStopped
from decloud_pl.train.callbacks.delta import ProgressCallback, trained_network
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.deadline import DeadlineCallback
from decloud_pl.train.fit.setup import LOWER_RATE, FitSetup
from decloud_pl.train.fit.trainer import make_callbacks
from decloud_pl.train.plan import LAST_UPDATE_FILE
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.score.choice import LEAST_TRAINING, SLACK, WRITE_AND_JUDGE
from decloud_pl.train.score.judge import Judge
from decloud_pl.train.update.writing import UpdateWriter

State = Mapping[str, torch.Tensor]

_STAGE = "last fit"
_CHECKPOINT = "last-fit.ckpt"
_INSTEAD = "The judged update is submitted instead."
_LEAST_AGREEMENT = 0.97
_CERTAIN_SHARE = 0.5
"""The last fit needs a gain of which at least this share is certain."""


@dataclass(frozen=True)
class LastFit:
    """The last fit of a round.

    Attributes:
        setup: the setup of the judged training.
        judge: compares the two updates on the held-out part.
        writer: writes the new update; it also wrote the judged update.
        supervisor: sets the deadline, receives the progress, and may request a stop.
        weights: the trained weights whose difference from the base model is the judged update. They include the trained
            statistics of batch norms, which an update for the ``gradient`` convention moves into the parameters.
        steps: number of steps of the judged training.
        scoring: how many seconds it took to score the base model on one half of the held-out part.
    """

    setup: FitSetup
    judge: Judge
    writer: UpdateWriter
    supervisor: Supervisor
    weights: State
    steps: int
    scoring: float

    def after(self, judged: Update) -> Update:
        """Run the last fit and return its update. If the fit fails or its update differs too much, return ``judged``.

        The accuracies are always those of the judged update, whose file stays unchanged. If a stop is requested, only
        the last fit ends, and the judged update is returned.
        """
        setup = self._possible(judged)
        if setup is None:
            return judged
        path = setup.round.folder / LAST_UPDATE_FILE
        try:
            last = self._trained(setup, path)
            report = self.supervisor.report
            agreement = self.judge.agreement(judged.path, path, scored=lambda: report(Progress(_STAGE)))
        except TrainingStopped:
            return judged
        except DecloudError as error:
            self._note(f"The last fit on all the training data failed: {error.message} {_INSTEAD}")
            return judged
        same = f"predicts the same class as the judged update on {agreement:.1%} of the held-out part"
        shown = f"The last fit on all the training data {same}"
        if agreement < _LEAST_AGREEMENT:
            self._note(f"{shown}, but at least {_LEAST_AGREEMENT:.0%} is required. {_INSTEAD}")
            path.unlink()
            return judged
        self._note(
            f"{shown}. The update of the last fit is submitted. Its accuracy cannot be measured, because it was trained"
            " on all the data. The reported accuracies and the verdict are those of the judged update."
        )
        own = ("path", "cid", "profile", "size", "encoding")
        return dataclasses.replace(judged, **{name: getattr(last, name) for name in own})

    def _possible(self, judged: Update) -> FitSetup | None:
        """Return the setup of the last fit; None if the settings, the time or the judged update rule out a last fit."""
        setup, gain, low = self.setup, judged.gain, judged.gain_low
        # A plan without a deadline belongs to no round. Its result is a score, which must describe the judged update.
        if not setup.config.update.last_fit or self.supervisor.finish_at is None or setup.round.score_split == "test":
            return None
        if judged.withheld or gain is None or low is None or not 0 < gain * _CERTAIN_SHARE < low:
            return None
        if self.supervisor.time_left() < (LEAST_TRAINING + WRITE_AND_JUDGE + SLACK) * self.scoring:
            return None
        slower = setup.slower(LOWER_RATE)
        if slower is None or not self.steps or not isinstance(setup.data, RoundDataModule):
            return None
        most = int(setup.config.trainer.get("max_steps") or -1)
        steps = self.steps if most < 0 else min(most, self.steps)
        slower = slower.with_nodes(trainer={**setup.config.trainer, "max_steps": steps, "min_steps": None})
        return dataclasses.replace(slower, state=dict(self.weights), data=setup.data.with_held_out())

    def _trained(self, setup: FitSetup, path: Path) -> Update:
        """Continue the training from the judged weights, and write the new update to ``path``."""
        supervisor = self.supervisor.as_stage(_STAGE)
        supervisor.check_stop()
        self._note("The gain is certain and time is left, so a last fit continues on all the training data.")
        seed_everything(setup.config.seed, workers=True, verbose=False)
        module = setup.module()
        network = trained_network(module, setup.state)
        stop_at = (self.supervisor.finish_at or 0.0) - (WRITE_AND_JUDGE + SLACK) * self.scoring
        callbacks: list[Callback] = [
            *make_callbacks(setup.plan),
            ProgressCallback(supervisor.report, monotonic=supervisor.monotonic),
            DeadlineCallback(stop_at, monotonic=supervisor.monotonic),
            setup.checkpoints(setup.round.folder / _CHECKPOINT, supervisor, every_seconds=0),  # heeds a stop
        ]
        setup.fit(module, callbacks, logger=False).run()
        last, _ = self.writer.write(path, network.state_dict())
        return last

    def _note(self, text: str) -> None:
        self.supervisor.note(_STAGE, text)
