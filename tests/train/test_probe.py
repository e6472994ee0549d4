"""The probe before a training: its choice, its report, its bounded duration, and its stored result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from decloud_pl.config.training import TuneConfig
from decloud_pl.errors import TrainingStopped
from decloud_pl.models.quarantine.opened import OPENED_FILE
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.plan import BASE_WEIGHTS_FILE, PROBE_FILE, UPDATE_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from decloud_pl.train.tune.choose import tuned
from decloud_pl.train.tune.halving import Found, OutOfTime, Reached, Rung
from decloud_pl.train.tune.probe import TunedValues, choose_epochs, epochs_that_fit, read, search, seconds_for
from decloud_pl.train.tune.trial import LightningCourses

MakePlan = Callable[..., TrainingPlan]
MakeSetup = Callable[..., FitSetup]
PROBE = ("tune=probe", "tune.batches=10", "tune.most_epochs=0")


class Written:
    """Courses with given accuracies by rate. Each start takes 1 s and each batch 0.1 s."""

    def __init__(self, accuracies: dict[float, float | None], *, rises: float = 0.0) -> None:
        self.accuracies = accuracies
        self.rises = rises
        self.time = 1000.0
        self.taken: dict[float, int] = {}

    def monotonic(self) -> float:
        return self.time

    def go_on(self, rate: float, batches: int) -> Reached:
        seconds = (batches - self.taken.get(rate, 0)) / 10
        self.time += 1 + seconds
        self.taken[rate] = batches
        accuracy = self.accuracies[rate]
        return Reached(None if accuracy is None else accuracy + self.rises * batches, seconds)

    def search(self, plan: TrainingPlan, *, left: float | None = None) -> TunedValues:
        return search(
            plan,
            rate=0.001,
            make_courses=lambda end: self,
            batches_per_epoch=100,
            supervisor=Supervisor(monotonic=self.monotonic, finish_at=None if left is None else self.time + left),
        )


BEST_IS_HIGHER: dict[float, float | None] = {0.0001: 0.2, 0.0003: 0.3, 0.001: 0.5, 0.003: 0.625, 0.01: None}


def test_it_says_what_it_bought_and_cost(make_plan: MakePlan) -> None:
    plan = make_plan("out")
    choice = Written(BEST_IS_HIGHER).search(plan)
    assert choice.note == (
        "Probe: learning rate 0.003 instead of 0.001: +12.5 points on held-out data after 100 batches; took 40 s."
    )
    assert (choice.gain, choice.batches, choice.seconds) == (0.125, 100, 40.0)
    assert [rung["batches"] for rung in choice.rungs] == [25, 50, 100]  # no longer than the training itself
    assert choice.nodes(plan.config) == {
        "optimizer": {**plan.config.optimizer, "lr": 0.003},
        "trainer": plan.config.trainer,
    }


def test_it_says_why_it_changes_nothing(make_plan: MakePlan) -> None:
    plan = make_plan("out")
    choice = Written({**BEST_IS_HIGHER, 0.003: 0.5}).search(plan)
    keeps = "keeping learning rate 0.001, because no other rate was clearly better on held-out data after 100 batches"
    assert keeps in choice.note
    assert choice.nodes(plan.config) == {}
    choice = Written(dict.fromkeys(BEST_IS_HIGHER)).search(plan)
    assert "every learning rate that was tried diverged; keeping 0.001" in choice.note
    assert choice.nodes(plan.config) == {}
    choice = Written({**BEST_IS_HIGHER, 0.001: None}).search(plan)
    assert "0.003 instead of 0.001: the training diverges with 0.001" in choice.note
    assert choice.gain is None


def test_it_takes_no_more_than_its_share_of_the_time(make_plan: MakePlan) -> None:
    assert seconds_for(TuneConfig(), None) == 120
    assert seconds_for(TuneConfig(), 3600) == 120
    assert seconds_for(TuneConfig(share=0.1), 600) == 60
    plan, courses = make_plan("out"), Written(BEST_IS_HIGHER)
    choice = courses.search(plan, left=200)  # 30 seconds: five courses of 3.5, three more of 3.5
    assert choice.batches == 50
    assert courses.time <= 1030
    choice = Written(BEST_IS_HIGHER).search(plan, left=100)
    assert choice.note == "Probe skipped: 15 s are too short to try 5 learning rates."
    choice = Written(BEST_IS_HIGHER).search(plan, left=5)
    assert "Probe skipped: only 0.8 s are available for it before the deadline" in choice.note
    assert choice.nodes(plan.config) == {}


def test_epochs_follow_the_deadline_where_the_training_still_gains(make_plan: MakePlan) -> None:
    plan = make_plan("out")
    # An epoch of 100 batches takes 10 s, and its evaluation 1 s.
    choice = Written(BEST_IS_HIGHER, rises=0.001).search(plan, left=360)
    assert choice.epochs == 24 - 14
    assert "10 epochs instead of 1, because it still gains" in choice.note
    assert Written(BEST_IS_HIGHER).search(plan, left=360).epochs == 1
    long = make_plan("long", "epochs=100")
    choice = Written(BEST_IS_HIGHER).search(long, left=360)
    assert choice.epochs == 10
    assert "10 epochs instead of 100, to meet the deadline" in choice.note


@pytest.mark.parametrize(
    ("configured", "epochs", "most", "fitting", "still_gains", "expected"),
    [
        (2, (), 10, None, True, 2),  # no deadline: nothing to fill
        (2, (1, 5), 10, None, True, 5),
        (2, (1, 5), 10, None, False, 2),
        (2, (5,), 0, 20, True, 5),
        (2, (), 10, 7, True, 7),
        (2, (), 10, 50, True, 10),
        (20, (), 10, 50, True, 20),
        (20, (), 10, 7, False, 7),
        (20, (5,), 0, 7, False, 5),
        (2, (), 10, 0, True, 2),  # the deadline will end it early
        (20, (5,), 10, 0, True, 5),
    ],
)
def test_how_many_epochs(
    configured: int, epochs: tuple[int, ...], most: int, fitting: int | None, still_gains: bool, expected: int
) -> None:
    options = TuneConfig(epochs=list(epochs), most_epochs=most)
    assert choose_epochs(configured, options, fitting=fitting, still_gains=still_gains) == expected


def test_a_choice_is_read_again_for_its_plan_only(make_plan: MakePlan, tmp_path: Path) -> None:
    plan, path = make_plan("out"), tmp_path / PROBE_FILE
    choice = Written(BEST_IS_HIGHER).search(plan)
    path.write_text(choice.to_json())
    kept = read(path, plan.fingerprint())
    assert kept is not None
    assert (kept.nodes(plan.config), kept.note) == (choice.nodes(plan.config), choice.note)
    assert read(path, "another plan") is None
    path.write_text(choice.to_json()[:40])
    assert read(path, plan.fingerprint()) is None
    assert read(tmp_path / "absent", plan.fingerprint()) is None


def test_every_setting_reaches_the_plan(make_plan: MakePlan) -> None:
    assert make_plan("none").config.tune.method == "none"
    assert make_plan("probe", "tune=probe").config.tune == TuneConfig(method="probe")
    changes = ("tune.rates=[0.5,2]", "tune.epochs=[3]", "tune.most_epochs=4", "tune.batches=5", "tune.share=0.2")
    changed = TuneConfig("probe", rates=[0.5, 2.0], epochs=[3], most_epochs=4, batches=5, share=0.2, max_seconds=9.0)
    assert make_plan("changed", "tune=probe", *changes, "tune.max_seconds=9").config.tune == changed


def heard_of(plan: TrainingPlan) -> tuple[list[Progress], bytes]:
    heard: list[Progress] = []
    update = train_round(plan, Supervisor(heard.append))
    assert update is not None
    return heard, update.path.read_bytes()


def accuracies(heard: list[Progress]) -> list[float | None]:
    return [progress.accuracy for progress in heard if progress.stage == "evaluate"]


def test_a_badly_chosen_rate_is_put_right_once_and_for_all(make_plan: MakePlan) -> None:
    """A worker that is stopped during its probe repeats it. A later worker reuses the result and its checkpoint."""
    plan = make_plan("probed", "max_batches=20", "learning_rate=0.0001", *PROBE, "tune.batches=5")
    folder, rungs = plan.round.folder, list[Progress]()
    with pytest.raises(TrainingStopped):
        train_round(plan, Supervisor(rungs.append, lambda: any(heard.stage == "probe" for heard in rungs)))
    assert {path.name for path in folder.iterdir()} == {BASE_WEIGHTS_FILE, OPENED_FILE}
    # A killed probe leaves its courses in an earlier state, or half written.
    (folder / "probe").mkdir()
    (folder / "probe" / "0.001.ckpt").write_bytes(b"half of a checkpoint")

    heard, update = heard_of(plan)
    *compared, said = (progress for progress in heard if progress.stage == "probe")
    choice = json.loads((folder / PROBE_FILE).read_text())
    assert choice["note"] == said.note
    assert [rung["batches"] for rung in choice["rungs"]] == [5, 10, 20]
    assert len(compared) == 3
    assert choice["learning_rate"] > 0.0001
    assert choice["gain"] > 0
    assert not (folder / "probe").exists()
    # A course is the start of the training, here all of it. So both reach exactly the same accuracy.
    found = dict(choice["rungs"][-1]["accuracies"])[choice["learning_rate"]]
    assert accuracies(heard) == [pytest.approx(found, abs=1e-6)]  # the module's metric uses 32 bits
    # The probe changes nothing in the training except for the result.
    chosen = make_plan("chosen", "max_batches=20", f"learning_rate={choice['learning_rate']}")
    assert heard_of(chosen)[1] == update

    (folder / UPDATE_FILE).unlink()
    heard, again = heard_of(plan)
    assert again == update
    assert [progress.step for progress in heard if progress.stage == "fit" and progress.step] == []
    assert [progress.note for progress in heard if progress.stage == "probe"] == [
        f"{said.note} Reused from the earlier run."
    ]
    assert json.loads((folder / PROBE_FILE).read_text()) == choice


def untouched(_state: Mapping[str, torch.Tensor]) -> float | None:
    """A score function for a probe that must be skipped."""
    raise AssertionError


def tune(setup: FitSetup, *, now: float = 0.0) -> tuple[FitSetup, list[str]]:
    """Tune a setup without any training, and return the result and the reports."""
    heard: list[Progress] = []
    chosen = tuned(setup, untouched, Supervisor(heard.append, monotonic=lambda: now, finish_at=100.0))
    return chosen, [progress.note for progress in heard]


def skipped(setup: FitSetup, *, now: float = 0.0) -> str:
    """Return the report about a setup that stays unchanged."""
    chosen, (note,) = tune(setup, now=now)
    assert chosen.plan == setup.plan
    return note


def test_where_there_is_nothing_to_search_it_is_said_and_kept(make_setup: MakeSetup) -> None:
    setup = make_setup("rate", *PROBE, "optimizer=sgd", "~optimizer.lr")
    note = skipped(setup)
    assert note == "Probe skipped: the optimizer has no lr to search for."
    assert json.loads((setup.round.folder / PROBE_FILE).read_text())["note"] == note
    assert skipped(setup) == f"{note} Reused from the earlier run."
    assert "s are available for it before the deadline" in skipped(make_setup("late", *PROBE), now=99.0)


def test_processes_that_something_else_starts_are_not_probed_for(
    make_setup: MakeSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set the variables of processes that torchrun started. Only torchrun has the number of machines."""
    told = {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    setup = make_setup("out", *PROBE, "trainer.devices=2", "trainer.strategy=ddp")
    note = skipped(setup)
    assert note == "Probe skipped: the processes must be started by Lightning on one machine."
    assert {path.name for path in setup.round.folder.iterdir()} == {BASE_WEIGHTS_FILE, OPENED_FILE}


def test_a_process_that_lightning_starts_takes_over_what_the_first_one_chose(
    make_setup: MakeSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup("out", *PROBE, "trainer.devices=2", "trainer.strategy=ddp")
    choice = Written(BEST_IS_HIGHER).search(setup.plan)
    (setup.round.folder / PROBE_FILE).write_text(choice.to_json())
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning stores there permanently which process this is
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("NODE_RANK", "0")
    chosen, heard = tune(setup)
    assert chosen.config == dataclasses.replace(setup.config, **choice.nodes(setup.config)) != setup.config
    assert heard == []  # the first process reports it


def test_courses_resume_where_they_stand_and_those_that_diverge_are_dropped(make_setup: MakeSetup) -> None:
    setup = make_setup("out", "optimizer=sgd", "batch_size=64", "max_batches=5")
    total = sum(float(tensor.double().sum()) for tensor in setup.state.values())

    torch.manual_seed(1)

    def courses(name: str, *, end: float = 1.0) -> LightningCourses:
        (setup.round.folder / name).mkdir()
        return LightningCourses(
            setup,
            lambda trained: sum(float(tensor.double().sum()) for tensor in trained.values()) - total,
            folder=setup.round.folder / name,
            end=end,
            supervisor=Supervisor(monotonic=lambda: 0.0),
        )

    step_by_step, at_once = courses("step by step"), courses("at once")
    step_by_step.go_on(0.01, 2)
    assert step_by_step.go_on(1e38, 7).accuracy is None
    # Across the end of an epoch and with the same dropout.
    step_by_step.go_on(0.01, 5)
    assert step_by_step.go_on(0.01, 7).accuracy == at_once.go_on(0.01, 7).accuracy != 0.0
    with pytest.raises(OutOfTime):
        courses("late", end=0.0).go_on(0.01, 2)


def test_the_pace_is_that_of_the_trainings_alone() -> None:
    found = Found((Rung(1, {1.0: 0.5}),), seconds_per_batch=0.1, seconds_per_course=1.0)
    assert epochs_that_fit(found, 90, 100.0) == 8  # 90 s minus four scorings; 10 s per epoch
    assert epochs_that_fit(found, 90, 0.0) == 0
    assert epochs_that_fit(Found(()), 90, 100.0) == 0
