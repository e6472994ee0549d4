"""The callback works alone, with any Lightning module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from decloud_pl.domain import Encoding, Update, UpdateForm
from decloud_pl.errors import TrainingError
from decloud_pl.models import ModelSpec, save
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.callbacks.delta import DeltaCallback
from decloud_pl.train.update import delta


class Line(LightningModule):
    """A custom module."""

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


class Wrapped(LightningModule):
    """A custom module around networks. Each keyword becomes an attribute."""

    def __init__(self, **networks: nn.Module) -> None:
        super().__init__()
        for name, network in networks.items():
            setattr(self, name, network)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        network = next(self.children())
        return nn.functional.cross_entropy(network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    path = tmp_path_factory.mktemp("base") / "mlp.safetensors"
    torch.manual_seed(0)
    spec = ModelSpec("mlp", {"num_classes": 3, "image_size": 8, "hidden": 4, "layers": 1}, ImageInput(size=8))
    save(path, spec, spec.network())
    return BaseModel(spec, path, 3)


def images() -> DataLoader[tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    return DataLoader(TensorDataset(torch.randn(24, 3, 8, 8, generator=generator), labels), batch_size=8)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_network_is_found_inside_a_module(tmp_path: Path, base: BaseModel) -> None:
    inbox = Inbox()
    network = base.network()
    module = Wrapped(inner=nn.Sequential(nn.Identity(), network), head=nn.Linear(3, 3))
    trainer(tmp_path, DeltaCallback(base, inbox)).fit(module, images())
    (update,) = inbox.updates
    assert update.path == tmp_path / "update.pt"
    assert (update.accuracy_before, update.accuracy_after) == (None, None)
    entries = torch.load(update.path, weights_only=True)
    applied = delta.apply(base.state_dict(), entries, convention="delta", gradient_rate=0.1)
    assert applied.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(applied[name], value, atol=1e-3, rtol=1e-2)
        assert not torch.equal(base.state_dict()[name], value)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_one_that_is_named_is_taken_of_two(tmp_path: Path, base: BaseModel) -> None:
    inbox = Inbox()
    student, teacher = base.network(), base.network()
    module = Wrapped(student=student, teacher=teacher)
    callback = DeltaCallback(base, inbox, path=str(tmp_path / "u.pt"), network_of=lambda module: module.student)
    trainer(tmp_path, callback).fit(module, images())
    assert inbox.updates[0].path == tmp_path / "u.pt"


def refusal(tmp_path: Path, callback: DeltaCallback, module: LightningModule) -> str:
    """Return the message of a fit that fails before its first step."""
    with pytest.raises(TrainingError) as caught:
        trainer(tmp_path, callback).fit(module, images())
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_module_without_the_base_models_network_is_refused_before_the_fit(tmp_path: Path, base: BaseModel) -> None:
    wrong = ModelSpec("mlp", {"num_classes": 3, "image_size": 8, "hidden": 5, "layers": 1}).network()
    assert refusal(tmp_path, DeltaCallback(base, Inbox()), Wrapped(network=wrong)) == (
        "No attribute of Wrapped holds the base model's network (4 tensors, same names and shapes). "
        "Store base.network() in an attribute of the module, and do not add, remove or reshape its tensors."
    )
    two = Wrapped(student=base.network(), teacher=base.network())
    assert refusal(tmp_path, DeltaCallback(base, Inbox()), two) == (
        "Wrapped holds 2 networks with the base model's tensors: student, teacher. "
        "Keep only one as an attribute of the module, or select it with DeltaCallback's network_of=."
    )
    named = DeltaCallback(base, Inbox(), network_of=lambda module: module.network)
    said = refusal(tmp_path, named, Wrapped(network=wrong))
    assert said.startswith("network_of returned a MLP whose tensors differ from the base model's: ")
    assert "head.weight has shape (3, 5) instead of (3, 4)" in said


def test_no_base_weights_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"DeltaCallback got no base weights to compare with\. Pass it a base"):
        DeltaCallback({}, Inbox())


class RoundInbox(Inbox):
    """A round with its own form of updates."""

    def __init__(self, form: UpdateForm) -> None:
        super().__init__()
        self.update_form = form


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_round_gets_the_update_in_its_own_form(tmp_path: Path, base: BaseModel) -> None:
    form = UpdateForm(tmp_path / "round" / "update.pt", "gradient", 0.5, Encoding("float32"))
    inbox, network = RoundInbox(form), base.network()
    trainer(tmp_path, DeltaCallback(base, inbox)).fit(Wrapped(network=network), images())
    (update,) = inbox.updates
    assert (update.path, update.convention, update.encoding) == (form.path, "gradient", "float32")
    entries = torch.load(update.path, weights_only=True)
    applied = delta.apply(base.state_dict(), entries, convention="gradient", gradient_rate=0.5)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(applied[name], value)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
async def test_it_publishes_where_a_loop_runs(tmp_path: Path, base: BaseModel) -> None:
    inbox = Inbox()
    trainer(tmp_path, DeltaCallback(base, inbox)).fit(Wrapped(network=base.network()), images())
    assert len(inbox.updates) == 1


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_the_weights_to_publish_may_be_others_than_the_last(tmp_path: Path, base: BaseModel) -> None:
    inbox = Inbox()
    callback = DeltaCallback(base, inbox, weights_of=lambda _: base.state_dict(), stopped_early=lambda: True)
    trainer(tmp_path, callback).fit(Wrapped(network=base.network()), images())
    (update,) = inbox.updates
    assert update.stopped_early
    assert not any(entry.any() for entry in torch.load(update.path, weights_only=True).values())


def test_sharded_strategies_are_refused(tmp_path: Path) -> None:
    module = Line()
    callback = DeltaCallback(module.state_dict(), Inbox(), path=tmp_path / "u.pt")
    sharded = trainer(tmp_path, callback)
    # Lightning accepts this strategy only on machines with GPUs.
    sharded._accelerator_connector.strategy = FSDPStrategy()  # noqa: SLF001  # no public name sets it
    with pytest.raises(TrainingError, match="shards the model"):
        callback.setup(sharded, module, "fit")
