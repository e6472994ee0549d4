"""The module in training."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from decloud_pl.models.registry import build
from decloud_pl.train.fit.module import RoundModule


@pytest.mark.parametrize("compiled", [False, True])
def test_compiling_is_opt_in_and_keeps_the_names_of_the_weights(compiled: bool) -> None:
    network = build("simple_cnn", {"num_classes": 10})
    names = list(network.state_dict())
    RoundModule(network, num_classes=10, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), compiled=compiled)
    is_compiled = network._compiled_call_impl is not None  # noqa: SLF001  # torch has no public name for it
    assert is_compiled is compiled
    assert list(network.state_dict()) == names


def test_the_loss_of_a_share_of_a_batch_is_weighted() -> None:
    module = RoundModule(nn.Linear(2, 3), num_classes=3, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
    module.trainer = Trainer(accelerator="cpu", log_every_n_steps=0, logger=False, enable_checkpointing=False)
    inputs, labels = torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
    whole = module.training_step((inputs, labels), 1).detach()
    share = module.training_step((inputs, labels, torch.tensor(0.5)), 1).detach()
    torch.testing.assert_close(share, whole / 2)
    torch.testing.assert_close(whole, nn.functional.cross_entropy(module(inputs), labels).detach())
