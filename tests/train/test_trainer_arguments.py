"""Every argument of Lightning's Trainer takes effect in a fit, or is refused with the reason."""

from __future__ import annotations

import csv
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, TensorDataset

from decloud_pl.config import compose
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError, TrainingError
from decloud_pl.train.callbacks.delta import trained_network
from decloud_pl.train.callbacks.in_round import RoundCallbacks
from decloud_pl.train.fit.setup import FitSetup
from decloud_pl.train.fit.trainer import Fit, make_callbacks, quiet
from decloud_pl.train.plan import UPDATE_FILE
from decloud_pl.train.progress import Progress, Supervisor
from decloud_pl.trainer_arguments import HONOURED, REFUSED

MakeSetup = Callable[..., FitSetup]

ARGUMENTS = tuple(name for name in inspect.signature(Trainer.__init__).parameters if name != "self")
BATCHES = 4


class Seen(Callback):
    """Records a fit's state from inside."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.labels: list[list[int]] = []
        self.validations: list[int] = []
        self.validated = 0
        self.sane = 0
        self.during: dict[str, Any] = {}

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.sane += 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.during["anomaly"] = torch.is_anomaly_enabled()
        self.during["deterministic"] = torch.are_deterministic_algorithms_enabled()
        self.during["benchmark"] = torch.backends.cudnn.benchmark
        self.labels.append(batch[1].tolist())

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.steps.append(trainer.global_step)

    def on_validation_batch_start(self, trainer: Trainer, *arguments: Any) -> None:
        self.validated += not trainer.sanity_checking

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.validations.append(trainer.global_step)


@dataclass
class Bench:
    """Runs fits as a user would configure them."""

    make_setup: MakeSetup
    printed: Callable[[], str]
    count: int = 0
    seen: Seen = field(default_factory=Seen)

    def setup(self, *overrides: str) -> FitSetup:
        self.count += 1
        return self.make_setup(
            f"fit-{self.count}", "optimizer=sgd", f"trainer.limit_train_batches={BATCHES}", *overrides
        )

    def prepared(self, *overrides: str, callbacks: Sequence[Callback] = ()) -> Fit:
        setup = self.setup(*overrides)
        seed_everything(0, verbose=False)
        self.seen = Seen()
        return setup.fit(setup.module(), [self.seen, *make_callbacks(setup.plan), *callbacks])

    def fit(self, *overrides: str) -> Fit:
        fit = self.prepared(*overrides)
        fit.run()
        return fit

    def round(self, *overrides: str, supervisor: Supervisor | None = None) -> Fit:
        """Run a fit with all callbacks of a round. Its update is on disk afterwards."""
        setup = self.setup(*overrides)
        seed_everything(0, verbose=False)
        module = setup.module()
        network = trained_network(module, setup.state)
        callbacks = RoundCallbacks.of(setup, network, setup.judge(), supervisor or Supervisor())
        self.seen = Seen()
        fit = setup.fit(module, [self.seen, *callbacks.in_order], checkpoint=setup.round.folder / "training.ckpt")
        fit.run()
        assert callbacks.outbox.update is not None
        assert callbacks.outbox.update.path == setup.round.folder / UPDATE_FILE
        return fit


def weights(fit: Fit) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in fit.module.parameters()])


def change(bench: Bench, *overrides: str) -> torch.Tensor:
    """Return the change of every entry after one step at a rate of 1."""
    fit = bench.prepared(
        "optimizer.lr=1", "optimizer.momentum=0", "optimizer.nesterov=false", "trainer.max_steps=1", *overrides
    )
    before = weights(fit).clone()
    fit.run()
    return weights(fit) - before


EARLY = ("callbacks=early_stopping", "+callbacks.early_stopping.stopping_threshold=0")
"""Stops after the first validation, regardless of its result."""


def accelerator(bench: Bench) -> None:
    assert type(bench.fit("trainer.accelerator=cpu").trainer.accelerator).__name__ == "CPUAccelerator"
    with pytest.raises(ConfigError, match="Trainer cannot be built"):
        bench.prepared("trainer.accelerator=abacus")


def strategy(bench: Bench) -> None:
    assert isinstance(bench.prepared("trainer.strategy=ddp").trainer.strategy, DDPStrategy)
    node = "{_target_:lightning.pytorch.strategies.DDPStrategy,find_unused_parameters:true}"
    made = bench.prepared(f"trainer.strategy={node}").trainer.strategy
    assert isinstance(made, DDPStrategy)
    assert made._ddp_kwargs == {"find_unused_parameters": True}  # noqa: SLF001  # no public name


def devices(bench: Bench) -> None:
    trainer = bench.prepared("trainer.devices=2", "trainer.strategy=ddp").trainer
    assert (trainer.num_devices, trainer.world_size) == (2, 2)  # test_worker trains on two devices


def num_nodes(bench: Bench) -> None:
    trainer = bench.prepared("trainer.num_nodes=3", "trainer.strategy=ddp").trainer
    assert (trainer.num_nodes, trainer.world_size) == (3, 3)


def precision(bench: Bench) -> None:
    for wanted in ("32-true", "64-true", "bf16-true", "bf16-mixed"):
        fit = bench.round(f"trainer.precision={wanted}")
        assert fit.trainer.precision == wanted
    assert bench.prepared("trainer.precision=auto").trainer.precision in ("32-true", "bf16-mixed")


def plugins(bench: Bench) -> None:
    node = "{_target_:lightning.pytorch.plugins.MixedPrecision,precision:bf16-mixed,device:cpu}"
    fit = bench.round(f"trainer.plugins=[{node}]", "trainer.precision=null")
    assert fit.trainer.precision == "bf16-mixed"
    with pytest.raises(ConfigError, match=r"AsyncCheckpointIO in trainer\.plugins is not supported"):
        bench.prepared("trainer.plugins=[{_target_:lightning.pytorch.plugins.io.AsyncCheckpointIO}]")


def max_epochs(bench: Bench) -> None:
    for named in ("trainer.max_epochs=3", "epochs=3"):
        assert bench.fit(named).trainer.global_step == 3 * BATCHES
    for wrong in ("0", "-1", "null"):
        with pytest.raises(ConfigError, match=r"epochs must be at least 1 \(got (0|-1|None)\)"):
            bench.setup(f"trainer.max_epochs={wrong}")


def min_epochs(bench: Bench) -> None:
    assert bench.fit("epochs=4", *EARLY).trainer.current_epoch == 1
    held = ("epochs=4", "trainer.min_epochs=3")
    assert bench.fit(*held, *EARLY).trainer.current_epoch == 3
    assert late(bench, *held) == 1


def min_steps(bench: Bench) -> None:
    held = ("epochs=4", f"trainer.min_steps={2 * BATCHES}")
    assert bench.fit(*held, *EARLY).trainer.global_step == 2 * BATCHES
    assert late(bench, *held) == 1


def late(bench: Bench, *overrides: str) -> int:
    """Return the steps of a fit whose deadline passed after the first one. A late update earns nothing."""
    heard: list[Progress] = []
    clock = iter([0.0] * 2)
    supervisor = Supervisor(heard.append, monotonic=lambda: next(clock, 100.0), finish_at=50.0)
    fit = bench.round(*overrides, "update.candidates=[]", supervisor=supervisor)
    return fit.trainer.global_step


def max_steps(bench: Bench) -> None:
    assert bench.round("epochs=3", "trainer.max_steps=6").trainer.global_step == 6


def max_time(bench: Bench) -> None:
    for shown in ("00:00:00:00", "{seconds:0}"):
        fit = bench.round("epochs=3", f"trainer.max_time={shown}")
        assert fit.trainer.global_step <= 1
    assert bench.fit("trainer.max_time=00:01:00:00").trainer.global_step == BATCHES


def limit_train_batches(bench: Bench) -> None:
    whole = bench.setup().data.batches_per_epoch(None)  # type: ignore[attr-defined]
    for limit, batches in (("3", 3), ("0.1", whole // 10), ("1.0", whole)):
        assert bench.fit(f"trainer.limit_train_batches={limit}").trainer.global_step == batches


def limit_val_batches(bench: Bench) -> None:
    bench.fit("trainer.limit_val_batches=1")
    assert bench.seen.validated == 1
    bench.round("trainer.limit_val_batches=0")
    assert bench.seen.validated == 0


def val_check_interval(bench: Bench) -> None:
    bench.round("epochs=2", "trainer.val_check_interval=0.5")
    assert bench.seen.validations == [2, 4, 6, 8]
    bench.fit("epochs=2", "trainer.val_check_interval=3", "trainer.check_val_every_n_epoch=null")
    assert bench.seen.validations == [3, 6]


def check_val_every_n_epoch(bench: Bench) -> None:
    bench.fit("epochs=4", "trainer.check_val_every_n_epoch=2")
    assert bench.seen.validations == [2 * BATCHES, 4 * BATCHES]


def num_sanity_val_steps(bench: Bench) -> None:
    bench.fit()
    assert bench.seen.sane == 0
    bench.round("trainer.num_sanity_val_steps=1")
    assert (bench.seen.sane, bench.seen.validations) == (1, [BATCHES])


def accumulate_grad_batches(bench: Bench) -> None:
    assert bench.round("trainer.accumulate_grad_batches=2").trainer.global_step == BATCHES // 2


def gradient_clip_val(bench: Bench) -> None:
    assert float(change(bench).norm()) > 0.1
    assert float(change(bench, "trainer.gradient_clip_val=0.001").norm()) == pytest.approx(0.001, rel=1e-3)
    # Lightning refuses this for Adam's fused kernel.
    bench.fit("optimizer=adam", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.001")


def gradient_clip_algorithm(bench: Bench) -> None:
    by_value = change(bench, "trainer.gradient_clip_val=0.001", "trainer.gradient_clip_algorithm=value")
    assert float(by_value.abs().max()) == pytest.approx(0.001, rel=1e-3)
    assert float(by_value.norm()) > 0.002


def deterministic(bench: Bench) -> None:
    bench.fit()
    assert bench.seen.during["deterministic"] is False
    bench.fit("trainer.deterministic=true")
    assert bench.seen.during["deterministic"] is True


def benchmark(bench: Bench) -> None:
    for wanted in (True, False):
        bench.fit(f"trainer.benchmark={wanted}")
        assert bench.seen.during["benchmark"] is wanted


def detect_anomaly(bench: Bench) -> None:
    for wanted in (True, False):
        bench.fit(f"trainer.detect_anomaly={wanted}")
        assert bench.seen.during["anomaly"] is wanted


def use_distributed_sampler(bench: Bench) -> None:
    for wanted, sampler in ((True, DistributedSampler), (False, RandomSampler)):
        fit = bench.prepared("trainer.strategy=ddp", f"trainer.use_distributed_sampler={wanted}")
        rows = TensorDataset(torch.zeros(64, 3, 8, 8), torch.zeros(64, dtype=torch.long))
        loader = DataLoader(rows, batch_size=16, shuffle=True)
        with one_process():
            fit.trainer.fit(fit.module, train_dataloaders=loader)
        assert isinstance(fit.trainer.train_dataloader.sampler, sampler)  # type: ignore[union-attr]
    # The round's own data is shared batch by batch in any case; test_worker compares two processes with one.


def sync_batchnorm(bench: Bench) -> None:
    found: list[type] = []

    class Look(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            found.append(type(pl_module.norm))

    for wanted in (True, False):
        fit = bench.prepared("trainer.strategy=ddp", f"trainer.sync_batchnorm={wanted}", callbacks=[Look()])
        fit.module.norm = torch.nn.BatchNorm2d(3).requires_grad_(False)
        with one_process():
            if wanted:
                with pytest.raises(TrainingError, match="SyncBatchNorm layers only work with GPU modules"):
                    fit.run()
            else:
                fit.run()
    assert found == [torch.nn.BatchNorm2d]


def reload_dataloaders_every_n_epochs(bench: Bench) -> None:
    bench.fit("epochs=3")
    kept = bench.seen.labels
    assert kept[:BATCHES] != kept[BATCHES : 2 * BATCHES] != kept[2 * BATCHES :]
    bench.round("epochs=3", "trainer.reload_dataloaders_every_n_epochs=1")
    assert bench.seen.labels == kept


def log_every_n_steps(bench: Bench) -> None:
    for every, steps in ((1, ["0", "1", "2", "3"]), (2, ["1", "3"])):
        fit = bench.fit(*csv_logger(bench), f"trainer.log_every_n_steps={every}")
        rows = logged(fit)
        assert [row["step"] for row in rows if row["train/loss"]] == steps


def csv_logger(bench: Bench) -> tuple[str, ...]:
    node = f"{{_target_:lightning.pytorch.loggers.CSVLogger,save_dir:${{home}}/{bench.count}}}"
    return (f"+logger={node}",)


def logged(fit: Fit) -> list[dict[str, str]]:
    (logger,) = fit.trainer.loggers
    logger.save()
    return list(csv.DictReader((Path(str(logger.log_dir)) / "metrics.csv").open()))


def enable_autolog_hparams(bench: Bench) -> None:
    for wanted in (True, False):
        fit = bench.prepared(*csv_logger(bench), f"trainer.enable_autolog_hparams={wanted}")
        fit.module.save_hyperparameters({"width": 16})
        fit.run()
        path = Path(str(fit.trainer.loggers[0].log_dir)) / "hparams.yaml"
        assert (path.exists() and yaml.safe_load(path.read_text()) == {"width": 16}) is wanted


def enable_checkpointing(bench: Bench) -> None:
    kept = {wanted: bench.round(f"trainer.enable_checkpointing={wanted}").trainer for wanted in (True, False)}
    found = {wanted: list(Path(trainer.default_root_dir).rglob("epoch=*.ckpt")) for wanted, trainer in kept.items()}
    assert len(found[True]) == 1
    assert found[False] == []


def enable_progress_bar(bench: Bench) -> None:
    assert bench.fit().trainer.progress_bar_callback is None
    bar = bench.round("trainer.enable_progress_bar=true").trainer.progress_bar_callback
    assert isinstance(bar, (TQDMProgressBar, RichProgressBar))


def enable_model_summary(bench: Bench) -> None:
    quiet()  # as in a worker; it must not silence the summary
    bench.fit()
    assert bench.printed() == ""
    bench.fit("trainer.enable_model_summary=true")
    assert "Trainable params" in bench.printed()
    # The plain summary goes to Lightning's log.
    assert logging.getLogger("lightning.pytorch.callbacks.model_summary").isEnabledFor(logging.INFO)


def profiler(bench: Bench) -> None:
    for kind in ("simple", "advanced"):
        fit = bench.round(f"trainer.profiler={kind}")
        assert "optimizer_step" in (Path(fit.trainer.default_root_dir) / "fit-profile.txt").read_text()
    node = "{_target_:lightning.pytorch.profilers.SimpleProfiler,filename:mine}"
    fit = bench.fit(f"trainer.profiler={node}")
    assert (Path(fit.trainer.default_root_dir) / "fit-mine.txt").exists()


EFFECTS: dict[str, Callable[[Bench], None]] = {
    effect.__name__: effect
    for effect in (
        *(accelerator, strategy, devices, num_nodes, precision, plugins, sync_batchnorm, use_distributed_sampler),
        *(max_epochs, min_epochs, max_steps, min_steps, max_time, limit_train_batches, limit_val_batches),
        *(val_check_interval, check_val_every_n_epoch, num_sanity_val_steps, accumulate_grad_batches),
        *(gradient_clip_val, gradient_clip_algorithm, deterministic, benchmark, detect_anomaly),
        *(reload_dataloaders_every_n_epochs, log_every_n_steps, enable_autolog_hparams, enable_checkpointing),
        *(enable_progress_bar, enable_model_summary, profiler),
    )
}
FOREIGN = {
    "logger": "true",
    "callbacks": "[{_target_:lightning.pytorch.callbacks.Timer}]",
    "fast_dev_run": "true",
    "overfit_batches": "1",
    "limit_test_batches": "1",
    "limit_predict_batches": "0.5",
    "barebones": "true",
    "inference_mode": "false",
    "default_root_dir": "/tmp",
    "model_registry": "mine/model",
}
"""Values that a user could set for the refused arguments."""


@pytest.fixture
def bench(make_setup: MakeSetup, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    yield Bench(make_setup, lambda: "".join(capsys.readouterr()))
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@contextmanager
def one_process() -> Iterator[None]:
    """Clean up after a distributed fit in this process: it leaves a process group and environment variables."""
    before = dict(os.environ)
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]


@pytest.mark.filterwarnings("ignore")  # Lightning's warnings about tiny fits
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_has_its_effect_or_is_refused(name: str, bench: Bench) -> None:
    if name not in REFUSED:
        EFFECTS[name](bench)
        return
    wanted = rf"trainer\.{name}=.* is not supported\. .*\."
    with pytest.raises(ConfigError, match=wanted) as refusal:  # regardless of the value
        compose([f"trainer.{name}={FOREIGN[name]}"])
    assert refusal.value.fix == REFUSED[name][1]


def test_the_list_of_arguments_is_complete() -> None:
    assert set(EFFECTS) == HONOURED
    assert REFUSED.keys() == set(FOREIGN)
    assert sorted([*HONOURED, *REFUSED]) == sorted(ARGUMENTS)
    shown = yaml.safe_load((config_dir() / "trainer" / "default.yaml").read_text())
    assert set(shown) == {"_target_", *ARGUMENTS}
    assert {name: shown[name] for name in REFUSED} == {name: value for name, (value, _) in REFUSED.items()}


def test_an_argument_that_lightning_does_not_have() -> None:
    with pytest.raises(ConfigError, match=r"Lightning's Trainer has no argument 'unknown' \(trainer\.unknown\)"):
        compose(["+trainer.unknown=1"])
    with pytest.raises(ConfigError, match=r"trainer\.unknown"):
        compose(["trainer.unknown=1"])


def test_what_the_trainer_itself_refuses_is_one_sentence(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"lightning\.pytorch\.Trainer cannot be built: .*Correct its settings\.$"):
        bench.prepared("trainer.precision=half")
    with pytest.raises(TrainingError, match=r"The training failed: .*Read the traceback in the training's log\.$"):
        bench.fit("trainer.val_check_interval=1000")
