"""Muon on filters and AdamW on the rest, as one optimizer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from decloud_pl.train.fit.muon import MuonOnFilters
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
    train(model, MuonOnFilters(model.parameters(), lr=0.01, filter_lr=2.0, weight_decay=0.0), 1)
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
    ours = MuonOnFilters([filter_], lr=0.01, filter_lr=2.0, weight_decay=0.1)
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


def test_adamw_trains_the_filters_of_depthwise_convolutions() -> None:
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    assert len(MuonOnFilters(depthwise.parameters()).param_groups) == 1


def test_it_learns_and_resumes_exactly() -> None:
    model = network()
    optimizer = MuonOnFilters(model.parameters(), lr=0.01)
    first = train(model, optimizer, 1)
    assert train(model, optimizer, 20) < first / 2
    again = network()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = MuonOnFilters(again.parameters(), lr=0.01)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert train(again, resumed, 3) == train(model, optimizer, 3)


def test_a_schedule_drives_both() -> None:
    model = network()
    optimizer = MuonOnFilters(model.parameters(), lr=0.01, filter_lr=3.0)
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
    optimizer = MuonOnFilters(model.parameters(), lr=0.01)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert len(optimizer.param_groups) == 1
