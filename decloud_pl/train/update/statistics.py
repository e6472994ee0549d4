"""Adapt batch norms to validators that apply an update to the parameters but not to the running statistics.

Such a validator scores the trained parameters with the base model's running statistics. In evaluation mode, a
batch norm computes

    y = weight × (x − mean) ÷ √(var + ε) + bias

so the trained statistics (m₁, v₁) with the trained parameters (w, b) compute the same as the base model's statistics
(m₀, v₀) with the parameters

    w' = w × √((v₀ + ε) ÷ (v₁ + ε))        b' = b + w × (m₀ − m₁) ÷ √(v₁ + ε)

With this identity, the trained statistics are moved into the parameters, and no accuracy is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # the public classes have no common base of another name

State = Mapping[str, torch.Tensor]


def with_statistics_of(base: State, state: State, network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a state that computes the same as ``state`` in evaluation mode, but has the buffers of ``base``.

    A batch norm without running statistics stays as in ``state``. A batch norm without parameters cannot be adapted, so
    its output changes with the statistics of ``base``.

    Args:
        base: the fetched base model's state.
        state: the trained state, with the same names and shapes.
        network: a network that can load both states.
    """
    parameters = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    moved = {name: tensor if name in parameters else base[name] for name, tensor in state.items()}
    for path, module in network.named_modules(remove_duplicate=False):
        if not isinstance(module, _BatchNorm) or not module.affine or module.running_var is None:
            continue
        prefix = f"{path}." if path else ""
        mean, variance, weight, bias = (f"{prefix}{name}" for name in ("running_mean", "running_var", "weight", "bias"))
        old, new = base[variance].double() + module.eps, state[variance].to(base[variance].device).double() + module.eps
        shift = base[mean].double() - state[mean].to(base[mean].device).double()
        trained = state[weight].to(base[weight].device)
        moved[weight] = (trained.double() * (old / new).sqrt()).to(trained.dtype)
        added = (trained.double() * shift / new.sqrt()).to(trained.dtype)
        moved[bias] = state[bias].to(base[bias].device) + added
    return moved
