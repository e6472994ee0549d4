"""Custom modules, data, callbacks and optimizers in a round, and the callbacks of conf/callbacks."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything

from decloud_pl.config import load
from decloud_pl.domain import Update
from decloud_pl.errors import ConfigError, DecloudError, TrainingStopped
from decloud_pl.rounds.planner import SettingsPlanner
from decloud_pl.train.callbacks.delta import trained_network
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.check import check_plan
from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import make_callbacks
from decloud_pl.train.plan import CHECKPOINT_FILE, TrainingPlan
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.train.run import train_round
from decloud_pl.train.score.finish import Finisher

MakePlan = Callable[..., TrainingPlan]
MakeSetup = Callable[..., FitSetup]

# Lightning's warnings about modules without validation, and about the folder of a fit that resumes.
pytestmark = pytest.mark.filterwarnings("ignore:.*no `validation_step`", "ignore:Checkpoint directory")

PACKAGE = '''
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from decloud_pl.train.fit.datamodule import RoundDataModule
from decloud_pl.train.fit.module import RoundModule


class TakesNetwork(LightningModule):
    """Has no configure_optimizers, so the node ``optimizer`` is used."""

    def __init__(self, network, smoothing=0.0):
        super().__init__()
        self.body, self.smoothing = network, smoothing

    def training_step(self, batch, index):
        return functional.cross_entropy(self.body(batch[0]), batch[1], label_smoothing=self.smoothing)


class TakesBase(LightningModule):
    """Has its own optimizer, and a head that is not in the update."""

    def __init__(self, base, network):
        super().__init__()
        self.classes, self.part, self.extra = base.classes, network, torch.nn.Linear(base.classes, 2)

    def training_step(self, batch, index):
        logits = self.part(batch[0])
        return functional.cross_entropy(logits, batch[1]) + 0.1 * functional.cross_entropy(
            self.extra(logits), batch[1] % 2
        )

    def validation_step(self, batch, index):
        self.log("val/accuracy", (self.part(batch[0]).argmax(1) == batch[1]).float().mean(), batch_size=len(batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Smooth(RoundModule):
    """Replaces the loss of its base class."""

    def training_step(self, batch, index):
        return functional.cross_entropy(self(batch[0]), batch[1], label_smoothing=0.05)


class Passes(RoundModule):
    """Passes further keywords to its base class."""

    def __init__(self, network, *, smoothing=0.0, **rest):
        super().__init__(network, **rest)
        self.smoothing = smoothing


class Saves(RoundModule):
    """Saves its arguments in Lightning's checkpoints: the network, the optimizer's factory and all others."""

    def __init__(self, network, **rest):
        super().__init__(network, **rest)
        self.save_hyperparameters()


class SavesData(RoundDataModule):
    def __init__(self, source, spec, **rest):
        super().__init__(source, spec, **rest)
        self.save_hyperparameters()


class OwnAdam(RoundModule):
    """Inherits the parameter ``optimizer`` and does not use it."""

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Delegates(RoundModule):
    """Makes the optimizer of its base class."""

    def configure_optimizers(self):
        return super().configure_optimizers()


class DelegatesToAdam(OwnAdam):
    def configure_optimizers(self):
        return super(DelegatesToAdam, self).configure_optimizers()


class TakesOptimizer(OwnAdam):
    """Declares the parameter ``optimizer`` for its own use."""

    def __init__(self, network, *, optimizer, **rest):
        super().__init__(network, optimizer=optimizer, **rest)
        self.make = optimizer

    def configure_optimizers(self):
        return self.make(self.parameters())


class Keeps(TakesNetwork):
    """Accepts any setting, but only the objects that it names."""

    def __init__(self, network, **settings):
        super().__init__(network)
        assert settings == {"width": 3}, settings


class Takes(LightningModule):
    """Accepts neither the network nor the base model."""


class Wraps(LightningModule):
    def __init__(self, network):
        super().__init__()
        self.first, self.rest = list(network.children())


class Raises(TakesNetwork):
    def training_step(self, batch, index):
        raise KeyError("the weather\\nand more")


class Plain:
    def __init__(self, network):
        pass


class Rows(LightningDataModule):
    def __init__(self, size=8):
        super().__init__()
        self.size = size

    def setup(self, stage):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 8 - 1
        labels = torch.tensor(digits.target)
        self.train_rows, self.held_out = TensorDataset(images[:1400], labels[:1400]), TensorDataset(
            images[1400:], labels[1400:]
        )

    def train_dataloader(self):
        return DataLoader(self.train_rows, batch_size=32, shuffle=True)


class Validated(Rows):
    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=64)


class Named(Validated):
    """Has validation batches that are not pairs."""

    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=64, collate_fn=lambda rows: {"rows": rows})


class Counted(RoundDataModule):
    """Counts how often a fit asks for its batches, and keeps a setting of its own."""

    counted = []

    def __init__(self, source, spec, *, mark, **rest):
        super().__init__(source, spec, **rest)
        self.mark = mark

    def train_dataloader(self):
        Counted.counted.append(self.mark)
        return super().train_dataloader()


class Counts(Callback):
    counted = 0

    def __init__(self, by=1):
        self.by = by

    def on_train_batch_end(self, *arguments):
        Counts.counted += self.by


class Sign(torch.optim.Optimizer):
    """Takes steps of equal size."""

    def __init__(self, parameters, lr=0.01):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad.sign()
        return loss
'''


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "site"
    (folder / "my_lab").mkdir(parents=True)
    (folder / "my_lab" / "__init__.py").write_text("")
    (folder / "my_lab" / "parts.py").write_text(PACKAGE)
    (folder / "my_lab" / "broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


MINE = {"allow_packages": ("my_lab",)}


def my(node: str, name: str) -> str:
    return f"{node}._target_=my_lab.parts.{name}"


def train(setup: FitSetup, *, supervisor: Supervisor | None = None) -> tuple[Update, RoundCallbacks]:
    """Run the part of `train_round` that follows the opening of the base model."""
    supervisor = supervisor or Supervisor()
    seed_everything(setup.config.seed, workers=True, verbose=False)
    judge, module = setup.judge(), setup.module()
    network = trained_network(module, setup.state)
    callbacks = RoundCallbacks.of(setup, network, judge, supervisor)
    setup.fit(module, callbacks.in_order, checkpoint=setup.round.folder / CHECKPOINT_FILE).run()
    assert callbacks.outbox.update is not None
    return Finisher(setup, judge, callbacks, supervisor)(callbacks.outbox.update), callbacks


@pytest.mark.parametrize(
    "own",
    [
        (my("module", "TakesNetwork"), "+module.smoothing=0.1"),
        (my("module", "TakesBase"),),
        (my("module", "Smooth"),),
        (my("module", "Passes"), "+module.smoothing=0.1"),
        (my("optimizer", "Sign"), "~optimizer.fused"),
        (my("datamodule", "Validated"),),
        (my("datamodule", "Counted"), "+datamodule.mark=1"),
        (my("module", "TakesBase"), my("datamodule", "Validated")),
    ],
    ids=[
        "network",
        "base, own optimizer",
        "a RoundModule",
        "keywords for its base class",
        "optimizer",
        "data",
        "a RoundDataModule",
        "all of it",
    ],
)
def test_what_is_the_users_own_trains_and_gains(own: tuple[str, ...], make_setup: MakeSetup) -> None:
    # A module with its own optimizer refuses the user's optimizer settings.
    rate = () if my("module", "TakesBase") in own else ("learning_rate=0.01",)
    setup = make_setup("out", *rate, "epochs=2", *own, **MINE)
    update, _ = train(setup)
    assert update.withheld == ""
    assert update.gain_low is not None
    assert update.gain_low > 0.2
    # The update has only the base model's tensors.
    assert torch.load(update.path, weights_only=True).keys() == setup.state.keys()


def test_a_class_with_keywords_of_any_name_gets_the_users_settings_and_no_objects(make_setup: MakeSetup) -> None:
    course = (my("module", "Keeps"), "+module.width=3", "max_batches=4")
    update, _ = train(make_setup("out", *course, given=("module._target_", "module.width"), **MINE))
    assert update.size > 0


def test_a_whole_round_with_nothing_but_own_parts(make_plan: MakePlan) -> None:
    heard: list[Progress] = []
    plan = make_plan(
        "out",
        *(my("module", "TakesBase"), my("datamodule", "Validated"), "epochs=2"),
        *("+callbacks.mine._target_=my_lab.parts.Counts", "+callbacks.mine.by=2"),
        **MINE,
    )
    plan.write(plan.round.folder)
    update = train_round(TrainingPlan.read(plan.round.folder), Supervisor(heard.append))
    assert update is not None
    assert update.withheld == ""
    assert update.gain is not None
    assert update.gain > 0.3
    # 1,400 rows in batches of 32, for two epochs, counted by two.
    assert sys.modules["my_lab.parts"].Counts.counted == 44 * 2 * 2
    assert {"baseline", "fit", "evaluate", "score"} <= {progress.stage for progress in heard}


def test_a_subclass_of_our_data_module_stays_itself_in_every_fit(make_setup: MakeSetup) -> None:
    """Also in a fit with another batch size, and in the last fit, which also trains on the held-out part."""
    course = (my("datamodule", "Counted"), "+datamodule.mark=7", "max_batches=4", "update.candidates=[]")
    setup = make_setup("out", *course, given=("datamodule._target_", "datamodule.mark"), **MINE)
    train(setup)
    assert sys.modules["my_lab.parts"].Counted.counted == [7]
    assert isinstance(setup.data, RoundDataModule)
    for other in (setup.data.again(batch_size=8, augment={"flip": True}), setup.data.with_held_out()):
        assert type(other) is type(setup.data)
    rows, all_rows = setup.data.training_samples, setup.data.with_held_out().training_samples
    assert all_rows > rows == setup.data.training_samples
    assert len(setup.data.again(batch_size=8).train_dataloader()) == -(-rows // 8)
    assert len(setup.data.train_dataloader()) == -(-rows // 32)


@pytest.mark.parametrize(
    ("name", "is_own"),
    [
        *(("Smooth", False), ("Passes", False), ("Delegates", False)),
        *(("OwnAdam", True), ("DelegatesToAdam", True), ("TakesOptimizer", False)),
    ],
)
def test_a_subclass_of_our_module_may_make_its_own_optimizer(name: str, is_own: bool, make_setup: MakeSetup) -> None:
    """Then the training has no learning rate that we could lower."""
    setup = make_setup("out", my("module", name), **MINE)
    assert setup.has_own_optimizer is is_own
    assert (setup.slower(0.1) is None) is is_own


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("Rows", "the data module has no validation data"),
        ("Named", "the validation batches are not pairs of inputs and labels"),
    ],
)
def test_where_nothing_can_be_measured_the_update_is_submitted(data: str, reason: str, make_setup: MakeSetup) -> None:
    heard: list[Progress] = []
    own = (my("module", "TakesNetwork"), my("datamodule", data), "learning_rate=0.01")
    update, callbacks = train(make_setup("out", *own, **MINE), supervisor=Supervisor(heard.append))
    assert update.withheld == ""
    assert (update.gain_low, update.gain_high) == (None, None)
    assert heard[-1].note == f"The gain was not measured: {reason}. The update is submitted."
    assert callbacks.choice.best.accuracy is None
    entries = torch.load(update.path, weights_only=True)
    assert max(float(entry.abs().max()) for entry in entries.values()) > 0.01


REFUSALS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "a package that is not allowed": (
        (my("module", "TakesNetwork"),),
        {},
        r"'my_lab\.parts\.TakesNetwork' may not be built.*allow_packages=my_lab",
    ),
    "a package whose name begins with an allowed one": (
        ("module._target_=my_labs.Parts",),
        MINE,
        r"'my_labs\.Parts' may not be built",
    ),
    "neither network nor base": (
        (my("module", "Takes"),),
        MINE,
        r"Takes does not accept the base model\. Add a parameter `network`",
    ),
    "no LightningModule": ((my("module", "Plain"),), MINE, r"Plain is not a LightningModule\. Derive it"),
    "no data module": ((my("datamodule", "Plain"),), MINE, r"Plain is not a LightningDataModule\. Derive it"),
    "no callback": (
        ("+callbacks.mine={_target_:my_lab.parts.Rows}",),
        MINE,
        r"Rows in the group callbacks is not a Callback",
    ),
    "a callback that watches what the module does not log": (
        ("callbacks=early_stopping", "callbacks.early_stopping.monitor=val_acc"),
        {},
        r"EarlyStopping watches 'val_acc', which the training does not log\. Set its monitor to one of train/accuracy",
    ),
    "a callback that watches what an own module does not log": (
        ("callbacks=early_stopping", "callbacks.early_stopping.monitor=val/loss", my("module", "TakesBase")),
        MINE,
        r"EarlyStopping watches 'val/loss', which the training does not log\. Set its monitor to one of val/accuracy, ",
    ),
    "a checkpoint that watches what an own module does not log": (
        (
            "+callbacks.mine={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/loss}",
            my("module", "TakesBase"),
        ),
        MINE,
        r"ModelCheckpoint watches 'val/loss', which the training does not log",
    ),
    "nothing matches the base model": (
        (my("module", "Wraps"),),
        MINE,
        r"No attribute of Wraps holds the base model's network \(4 tensors.*Store base\.network\(\)",
    ),
    "a batch size that is not taken": (
        (my("datamodule", "Validated"), "batch_size=64"),
        {**MINE, "given": ("datamodule._target_", "datamodule.batch_size")},
        r"Validated does not accept an argument 'batch_size'\. Unset datamodule\.batch_size",
    ),
    "an argument that is not taken": (
        (my("module", "TakesNetwork"), "+module.width=3"),
        {**MINE, "given": ("module._target_", "module.width")},
        r"TakesNetwork does not accept an argument 'width'\. Unset module\.width",
    ),
    "a setting of fit that an own module does not take": (
        (my("module", "TakesNetwork"), "fit.compile=true"),
        {**MINE, "given": ("module._target_", "fit.compile")},
        r"fit\.compile has no effect with my_lab\.parts\.TakesNetwork",
    ),
    "a setting of fit that an own data module does not take": (
        (my("datamodule", "Validated"), "fit.data_workers=1"),
        {**MINE, "given": ("datamodule._target_", "fit.data_workers")},
        r"fit\.data_workers has no effect with my_lab\.parts\.Validated",
    ),
    "more than all batches": (
        ("trainer.limit_train_batches=1.5",),
        {},
        r"limit_train_batches must .*\(got 1\.5\)",
    ),
    "two optimizers": (
        (my("module", "TakesBase"), "optimizer=sgd"),
        {**MINE, "given": ("module._target_", "optimizer")},
        (
            r"TakesBase has its own configure_optimizers, so the setting optimizer has no effect\. "
            r"Unset optimizer, optimizer\.\* and learning_rate, or add a parameter `optimizer`"
        ),
    ),
    "an optimizer that a subclass of our module does not use": (
        (my("module", "OwnAdam"), "learning_rate=0.1"),
        {**MINE, "given": ("module._target_", "optimizer.lr")},
        r"OwnAdam has its own configure_optimizers, so the setting optimizer has no effect\. ",
    ),
    "two schedules": (
        (my("module", "TakesBase"), "scheduler=cosine"),
        {**MINE, "given": ("module._target_", "scheduler")},
        (
            r"TakesBase has its own configure_optimizers, so the setting scheduler has no effect\. "
            r"Unset scheduler and scheduler\.\*, or add a parameter `optimizer`"
        ),
    ),
    "a step that raises": (
        (my("module", "Raises"),),
        MINE,
        r"^The training failed: KeyError: .*the weather.*\. Read the traceback in the training's log\.$",
    ),
    "an import that fails": (
        ("module._target_=my_lab.broken.Module",),
        MINE,
        r"my_lab\.broken\.Module cannot be imported: .*No module named 'a_module_that_nobody_has'",
    ),
    "a class that is not there": (("module._target_=my_lab.parts.Absent",), MINE, r"Absent cannot be imported"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_work_is_refused_in_one_sentence(
    case: str, make_setup: MakeSetup, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, fields, message = REFUSALS[case]
    with caplog.at_level(logging.ERROR), pytest.raises(DecloudError, match=message) as refusal:
        train(make_setup("out", *overrides, **fields))
    assert "\n" not in str(refusal.value)
    assert ("Traceback" in caplog.text) is (case == "a step that raises")


# The callbacks of conf/callbacks.


def test_a_callback_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "conf" / "callbacks" / "timer.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("timer:\n  _target_: lightning.pytorch.callbacks.Timer\n  duration: {hours: 1}\n")
    settings = load(["callbacks=[ema,timer]"], environ={"DECLOUD_HOME": str(tmp_path)})
    callbacks = make_callbacks(SettingsPlanner(settings).sample())
    assert [type(one).__name__ for one in callbacks] == ["EMAWeightAveraging", "Timer"]


def test_the_average_that_was_validated_is_submitted(make_setup: MakeSetup) -> None:
    """Lightning uses the averages for validation, and copies them into the module after the fit."""
    fit = ("learning_rate=0.02", "epochs=2", "update.dtype=float32", "update.candidates=[]")
    course = ("callbacks=ema", "callbacks.ema.decay=0.9", *fit)
    update, callbacks = train(make_setup("out", *course))
    ema = next(one for one in callbacks.in_order if type(one).__name__ == "EMAWeightAveraging")
    state = ema._average_model.state_dict()  # type: ignore[attr-defined]  # noqa: SLF001  # no public name
    averaged = {
        name.removeprefix("module.network."): tensor
        for name, tensor in state.items()
        if name.startswith("module.network.")
    }
    setup = make_setup("judge", *course)
    entries = torch.load(update.path, weights_only=True)
    for name, start in setup.state.items():
        torch.testing.assert_close(start + entries[name], averaged[name], atol=1e-6, rtol=0)
    assert callbacks.choice.best.accuracy == pytest.approx(setup.judge().select(averaged))
    last, _ = train(make_setup("plain", *course[2:]))
    assert last.cid != update.cid


COURSES = (
    ("callbacks=ema", "callbacks.ema.decay=0.9"),
    ("callbacks=early_stopping",),
    ("trainer.val_check_interval=0.5",),
    ("trainer.accumulate_grad_batches=2",),
    ("trainer.reload_dataloaders_every_n_epochs=1",),
    ("trainer.enable_checkpointing=true",),
    (my("module", "Saves"), my("datamodule", "SavesData"), "trainer.enable_checkpointing=true"),
)
AVERAGED = ("callbacks=swa", "callbacks.swa.swa_epoch_start=1", "trainer.limit_val_batches=0")


@pytest.mark.filterwarnings("ignore:Attribute 'network' is an instance of `nn.Module`")
@pytest.mark.parametrize(
    ("stops", "course"),
    [*(((4, 7), course) for course in COURSES), ((4,), AVERAGED)],  # at the end and in the middle of an epoch
    ids=str,
)
def test_a_training_resumes_bit_for_bit(stops: tuple[int, ...], course: tuple[str, ...], make_setup: MakeSetup) -> None:
    whole = ("epochs=3", "max_batches=4", "learning_rate=0.01", "update.candidates=[]", *course)
    expected, _ = train(make_setup("whole", *whole, **MINE))
    steps: list[int] = []

    def report(progress: Progress) -> None:
        if progress.stage == "fit" and progress.step:
            steps.append(progress.step)

    def has_reached(step: int) -> bool:
        return steps[-1:] == [step]

    broken, resumed_at = make_setup("broken", *whole, **MINE), 1
    for stop_at in stops:
        stop = stop_at // 2 if "accumulate" in course[0] else stop_at
        steps.clear()
        with pytest.raises(TrainingStopped):
            train(broken, supervisor=Supervisor(report, partial(has_reached, stop)))
        assert steps[0] == resumed_at
        resumed_at = stop + 1
    steps.clear()
    got, _ = train(broken, supervisor=Supervisor(report))
    assert steps[0] == resumed_at
    assert (got.cid, got.accuracy_after) == (expected.cid, expected.accuracy_after)


def test_early_stopping_ends_the_fit(make_setup: MakeSetup) -> None:
    course = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "learning_rate=1e-12", "max_batches=4")
    gate = ("update.candidates=[]", "update.min_gain=0")
    heard: list[Progress] = []
    setup = make_setup("out", *course, "optimizer=sgd", "epochs=9", *gate)
    update, _ = train(setup, supervisor=Supervisor(heard.append))
    # The training learns nothing, so the second validation is not better than the first.
    assert [progress.stage for progress in heard].count("evaluate") == 2
    assert not update.stopped_early  # true only for the round's deadline
    assert update.withheld


def test_stochastic_weight_averaging_is_submitted(make_setup: MakeSetup) -> None:
    """The fit ends with weights that no validation saw. They are scored, and used if they are the best."""
    fit = ("epochs=4", "learning_rate=0.01", "max_batches=20", "trainer.limit_val_batches=0")
    course = (*fit, "update.dtype=float32", "update.candidates=[]")
    averages = ("callbacks=swa", "callbacks.swa.swa_epoch_start=1", "callbacks.swa.swa_lrs=0.01")
    update, callbacks = train(make_setup("out", *course, *averages))
    assert update.withheld == ""
    swa = next(one for one in callbacks.in_order if type(one).__name__ == "StochasticWeightAveraging")
    model = swa._average_model  # type: ignore[attr-defined]  # noqa: SLF001  # no public name
    averaged = model.network.state_dict()
    setup = make_setup("judge", *course)
    assert callbacks.choice.best.accuracy == setup.judge().select(averaged)
    for name, entry in torch.load(update.path, weights_only=True).items():
        torch.testing.assert_close(setup.state[name] + entry, averaged[name], atol=1e-6, rtol=0)
    plain, _ = train(make_setup("plain", *course))
    assert update.cid != plain.cid


@pytest.mark.parametrize(
    ("choice", "metric"), [("lr_monitor", "lr-SGD"), ("device_stats", "DeviceStatsMonitor.on_train_batch_end")]
)
def test_a_monitor_writes_to_the_logger(choice: str, metric: str, make_setup: MakeSetup, tmp_path: Path) -> None:
    course = ("optimizer=sgd", "learning_rate=0.02", "max_batches=4", "trainer.log_every_n_steps=1")
    logger = f"+logger={{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:{tmp_path / 'log'}}}"
    train(make_setup("out", f"callbacks={choice}", logger, *course))
    (path,) = (tmp_path / "log").rglob("metrics.csv")
    lines = path.read_text().splitlines()
    columns = [number for number, name in enumerate(lines[0].split(",")) if name.startswith(metric)]
    assert columns
    values = {row.split(",")[columns[0]] for row in lines[1:]} - {""}
    assert values
    assert choice != "lr_monitor" or values == {"0.02"}
    with pytest.raises(ConfigError, match=r"needs a logger\. Choose one, for example logger=tensorboard"):
        train(make_setup("none", f"callbacks={choice}", *course))


def test_a_progress_bar_shows(make_setup: MakeSetup, capsys: pytest.CaptureFixture[str]) -> None:
    train(make_setup("out", "callbacks=progress_bar", "max_batches=4"))
    printed = "".join(capsys.readouterr())
    assert "Epoch 0: 100%" in printed
    assert "4/4" in printed


def test_what_the_start_can_know_is_said_there(make_plan: MakePlan) -> None:
    watched = ("callbacks=early_stopping", "callbacks.early_stopping.monitor=val/thing")
    with pytest.raises(ConfigError, match="EarlyStopping watches 'val/thing'"):
        check_plan(make_plan("a", *watched))
    check_plan(make_plan("b", "callbacks=early_stopping"))
    with pytest.raises(ConfigError, match="unexpected keyword argument 'momentum'"):
        check_plan(make_plan("e", "recipe=race", "+recipe.candidates.adamw.optimizer.momentum=0.9"))
    # The metrics that a custom module or callback logs are known only during the fit.
    check_plan(make_plan("c", *watched, my("module", "TakesBase"), **MINE))
    check_plan(make_plan("d", *watched, "+callbacks.mine={_target_:my_lab.parts.Counts}", **MINE))
