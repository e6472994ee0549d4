"""The callback works alone, with anybody's Lightning module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from decloud_pl.domain import Update
from decloud_pl.errors import TrainingError
from decloud_pl.train import delta
from decloud_pl.train.callback import DeltaCallback
from decloud_pl.train.delta import Encoding


class Line(LightningModule):
    """Somebody's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        return nn.functional.mse_loss(self.layer(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Inbox:
    def __init__(self) -> None:
        self.updates: list[Update] = []

    def publish(self, update: Update) -> None:
        self.updates.append(update)


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 2, generator=generator)
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8)


def trainer(tmp_path: Path, callback: DeltaCallback, **options: object) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[callback],
        **{"max_epochs": 2, **options},  # type: ignore[arg-type]
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_update_leads_from_the_base_to_the_trained_weights(tmp_path: Path) -> None:
    module, inbox = Line(), Inbox()
    base = {name: value.clone() for name, value in module.state_dict().items()}
    callback = DeltaCallback(base, inbox, path=tmp_path / "update.pt", encoding=Encoding("float32"))
    trainer(tmp_path, callback).fit(module, loader())
    (update,) = inbox.updates
    entries = torch.load(update.path, weights_only=True)
    applied = delta.apply(base, entries, convention="delta", gradient_rate=0.1)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(applied[name], value)
        assert not torch.equal(base[name], value)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_resumed_fit_is_measured_against_the_fetched_weights(tmp_path: Path) -> None:
    module, inbox = Line(), Inbox()
    base = {name: value.clone() for name, value in module.state_dict().items()}
    first = trainer(
        tmp_path, DeltaCallback(base, inbox, path=tmp_path / "first.pt", encoding=Encoding("float32")), max_epochs=1
    )
    first.fit(module, loader())
    first.save_checkpoint(tmp_path / "half-way.ckpt")
    resumed = Line()
    callback = DeltaCallback(base, inbox, path=tmp_path / "update.pt", encoding=Encoding("float32"))
    trainer(tmp_path, callback).fit(resumed, loader(), ckpt_path=tmp_path / "half-way.ckpt")
    entries = torch.load(inbox.updates[-1].path, weights_only=True)
    applied = delta.apply(base, entries, convention="delta", gradient_rate=0.1)
    torch.testing.assert_close(applied["layer.weight"], resumed.layer.weight.detach())


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_accuracies_are_those_of_what_a_validator_will_apply(tmp_path: Path) -> None:
    module, inbox = Line(), Inbox()
    scored: list[torch.Tensor] = []

    def score(state: object) -> float:
        scored.append(state["layer.weight"])  # type: ignore[index]
        return 0.75

    base = {name: value.clone() for name, value in module.state_dict().items()}
    callback = DeltaCallback(base, inbox, path=tmp_path / "u.pt", score=score, accuracy_before=0.25)
    trainer(tmp_path, callback).fit(module, loader())
    (update,) = inbox.updates
    assert (update.accuracy_before, update.accuracy_after) == (0.25, 0.75)
    entries = torch.load(update.path, weights_only=True)
    torch.testing.assert_close(scored[0], base["layer.weight"] + entries["layer.weight"].float())


def test_sharded_strategies_are_refused(tmp_path: Path) -> None:
    module = Line()
    callback = DeltaCallback(module.state_dict(), Inbox(), path=tmp_path / "u.pt")
    sharded = trainer(tmp_path, callback)
    # Lightning itself only takes this strategy where GPUs are.
    sharded._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(TrainingError, match="shards the model"):
        callback.setup(sharded, module, "fit")
