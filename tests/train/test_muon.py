"""Muon on the weights of hidden layers and AdamW on the rest, as one optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from decloud_pl.config import compose
from decloud_pl.train.fit.module import RoundModule
from decloud_pl.train.fit.muon import MuonOnHidden
from decloud_pl.train.fit.optimizers import optimizer_factory
from decloud_pl.train.fit.schedule import cosine

INPUTS = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4


def network(*, channels_last: bool = False) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    return made.to(memory_format=torch.channels_last) if channels_last else made


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(INPUTS), LABELS)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("channels_last", [False, True])
def test_filters_are_trained_by_muon_and_the_rest_by_adamw(channels_last: bool) -> None:
    model, other = network(channels_last=channels_last), network()
    train(model, MuonOnHidden(model.parameters(), lr=0.01, filter_lr=2.0, weight_decay=0.0), 1)
    train(other, torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.0), 1)
    before, after, by_adamw = network().state_dict(), model.state_dict(), other.state_dict()
    # Muon's step is almost orthogonal: its singular values are near one, times the rate.
    step = (after["0.weight"] - before["0.weight"]).flatten(1) / 0.02
    assert torch.linalg.svdvals(step).min() > 0.4
    assert torch.linalg.svdvals(step).max() < 1.6
    for name in ("0.bias", "3.weight", "3.bias"):
        torch.testing.assert_close(after[name], by_adamw[name])


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (40, 2, 3, 3)])
def test_a_filter_gets_the_update_of_torchs_muon(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    filter_ = nn.Parameter(torch.randn(shape))
    matrix = nn.Parameter(filter_.detach().flatten(1).clone())
    ours = MuonOnHidden([filter_], lr=0.01, filter_lr=2.0, weight_decay=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.1)
    for _ in range(3):
        filter_.grad = torch.randn(shape)
        matrix.grad = filter_.grad.flatten(1).clone()
        before = matrix.detach().clone()
        ours.step()
        theirs.step()  # type: ignore[no-untyped-call]
        step = (matrix.detach() - before).norm()
        assert (filter_.detach().flatten(1) - matrix.detach()).norm() < 0.05 * step  # theirs computes in bfloat16
        matrix.data.copy_(filter_.detach().flatten(1))


@pytest.mark.parametrize("shape", [(24, 12), (12, 40)])
def test_a_hidden_layer_gets_the_update_of_torchs_muon_in_the_size_of_adamw(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    one, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ours = MuonOnHidden([{"params": [one], "use_muon": True}], lr=0.01, weight_decay=0.1)
    theirs = torch.optim.Muon([other], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        one.grad = torch.randn(shape)
        other.grad = one.grad.clone()
        ours.step()
        theirs.step()  # type: ignore[no-untyped-call]
    assert (one - other).norm() < 0.05 * (one - start).norm()  # theirs computes in bfloat16


class Reader(nn.Module):
    """Has each kind of weight: embedded, hidden, too wide for Muon, attention, sharded and output."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.hidden = nn.Linear(8, 16)
        self.frozen = nn.Linear(16, 16)
        self.tied = nn.Linear(8, 50)
        self.tied.weight = self.words.weight
        self.wide = nn.Linear(300, 400)
        self.frozen.requires_grad_(False)
        self.sharded = nn.Linear(8, 8)
        self.sharded.weight = nn.Parameter(torch.zeros(64))
        self.head = nn.Linear(16, 4)


def test_embeddings_the_output_layer_and_wide_layers_are_not_hidden() -> None:
    module = Reader()
    hidden, rest = MuonOnHidden.groups_of(module)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert hidden["use_muon"]
    assert not rest["use_muon"]
    assert [names[id(one)] for one in hidden["params"]] == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "hidden.weight",
    ]
    trained = [*hidden["params"], *rest["params"]]
    assert {names[id(one)] for one in trained} == set(names.values()) - {"frozen.weight", "frozen.bias"}
    assert len(trained) == len({id(one) for one in trained})


def test_a_module_s_layers_decide_how_they_are_trained() -> None:
    hidden = nn.Linear(108, 8)
    module = RoundModule(
        nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(8, 4)),
        num_classes=4,
        optimizer=optimizer_factory(compose(["optimizer=muon"]).optimizer),
    )
    made = module.configure_optimizers()
    assert isinstance(made, MuonOnHidden)
    by_adamw, by_muon = made.param_groups
    assert [tuple(one.shape) for one in by_muon["params"]] == [(8, 108)]
    assert [tuple(one.shape) for one in by_adamw["params"]] == [(8,), (4, 8), (4,)]
    before = hidden.weight.detach().clone()
    nn.functional.cross_entropy(module(INPUTS), LABELS).backward()  # type: ignore[no-untyped-call]
    made.step()
    values = torch.linalg.svdvals(hidden.weight - before)
    assert values.max() < 2 * values.min()


def test_adamw_trains_the_filters_of_depthwise_convolutions() -> None:
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    assert len(MuonOnHidden(depthwise.parameters()).param_groups) == 1


def test_it_learns_and_resumes_exactly() -> None:
    model = network()
    optimizer = MuonOnHidden(model.parameters(), lr=0.01)
    first = train(model, optimizer, 1)
    assert train(model, optimizer, 20) < first / 2
    again = network()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = MuonOnHidden(again.parameters(), lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(again, resumed, 3) == train(model, optimizer, 3)


def test_a_schedule_drives_both() -> None:
    model = network()
    optimizer = MuonOnHidden(model.parameters(), lr=0.01, filter_lr=3.0)
    schedule = cosine(optimizer, 2)
    train(model, optimizer, 1)
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005, 0.015])
    before = copy.deepcopy(model.state_dict())
    schedule.step()
    train(model, optimizer, 1)  # at a rate of zero
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_a_network_without_filters_is_trained_by_adamw() -> None:
    model = nn.Linear(2, 2)
    optimizer = MuonOnHidden(model.parameters(), lr=0.01)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert len(optimizer.param_groups) == 1
