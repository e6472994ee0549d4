"""Trained statistics of batch norms, moved into the parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from decloud_pl.models.registry import build
from decloud_pl.train.update.statistics import with_statistics_of


def trained(network: nn.Module, *, seed: int) -> nn.Module:
    """Return the network with other parameters and statistics, as after a fit."""
    other = copy.deepcopy(network)
    made = torch.Generator().manual_seed(seed)
    for name, tensor in other.state_dict().items():
        if tensor.dtype.is_floating_point:
            noise = torch.rand(tensor.shape, generator=made)
            tensor.copy_(noise * 3 + 0.05 if name.endswith("running_var") else tensor + 0.3 * (noise - 0.5))
        else:
            tensor.add_(7)
    return other


def test_a_resnet_computes_the_same_with_the_buffers_of_its_base_model() -> None:
    base = build("resnet", {"num_classes": 10}).eval()
    network = trained(base, seed=1).eval()
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    expected = network(images).detach()
    state = with_statistics_of(base.state_dict(), network.state_dict(), network)
    buffers = dict(base.named_buffers())
    assert {name: state[name] for name in buffers}.keys() == buffers.keys()
    assert all(torch.equal(state[name], buffer) for name, buffer in buffers.items())
    moved = copy.deepcopy(base)
    moved.load_state_dict(state)
    found = moved(images).detach()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert torch.equal(found.argmax(1), expected.argmax(1))
    kept = {**network.state_dict(), **buffers}
    moved.load_state_dict(kept)
    assert not torch.allclose(moved(images), expected, rtol=0.1)  # so the statistics matter


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4, track_running_stats=False), nn.LayerNorm(4)]
)
def test_what_has_nothing_to_move_keeps_its_parameters(norm: nn.Module) -> None:
    base = nn.Sequential(nn.Linear(4, 4), norm)
    network = trained(base, seed=3)
    state = with_statistics_of(base.state_dict(), network.state_dict(), network)
    for name, parameter in network.named_parameters():
        assert torch.equal(state[name], parameter)
    for name, buffer in base.named_buffers():
        assert torch.equal(state[name], buffer)


class Shared(nn.Module):
    """A batch norm that is used and registered twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.BatchNorm1d(4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(rows))  # type: ignore[no-any-return]


def test_a_norm_of_two_names_moves_under_both() -> None:
    base = Shared().eval()
    network = trained(base, seed=4).eval()
    rows = torch.rand(8, 4, generator=torch.Generator().manual_seed(5))
    state = with_statistics_of(base.state_dict(), network.state_dict(), network)
    moved = copy.deepcopy(base)
    moved.load_state_dict(state)
    torch.testing.assert_close(moved(rows), network(rows))
