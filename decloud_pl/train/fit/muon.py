"""Muon for the weights of hidden layers, and AdamW for all other parameters, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

_MATRIX_DIMENSIONS, _FILTER_DIMENSIONS = 2, 4
_LONGEST_SIDE = 256
"""AdamW trains a linear layer whose shorter side is longer. On a CPU, Muon would double the time of a step."""
_RMS_OF_ADAMW = 0.2
# The values of torch.optim.Muon.
_MOMENTUM = 0.95
_STEPS = 5
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_EPSILON = 1e-7


class MuonOnHidden(Optimizer):
    """Muon for the weights of hidden layers, and `torch.optim.AdamW` for all other parameters.

    A convolution filter (out, in, height, width) is treated as the matrix (out, in · height · width); see
    https://arxiv.org/abs/2404.00498. AdamW also updates the filters of depthwise convolutions, because each of their
    rows belongs to another channel.

    Muon's update of a linear layer has the size of AdamW's, so both use ``lr``; see https://arxiv.org/abs/2502.16982.

    Args:
        params: the parameters, or the groups that `groups_of` returns. Without groups, Muon trains only the filters,
            because a list of parameters does not show which of them are embeddings or the output layer.
        lr: the learning rate.
        filter_lr: Muon's learning rate for filters, as a multiple of ``lr``.
        weight_decay: weight decay of both optimizers.
        fused: whether AdamW uses its fused kernel.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.003,
        *,
        filter_lr: float = 10.0,
        weight_decay: float = 0.05,
        fused: bool | None = None,
    ) -> None:
        given, matrices = _ungrouped(list(params))
        filters = [one for one in given if _is_filter(one)]
        by_muon = {id(one) for one in (*filters, *matrices)}
        rest = [one for one in given if id(one) not in by_muon]
        self._parts: list[Optimizer] = []
        if rest:
            self._parts.append(AdamW(rest, lr=lr, weight_decay=weight_decay, fused=fused))
        if filters:
            self._parts.append(_Muon(filters, lr=filter_lr * lr, weight_decay=weight_decay))
        if matrices:
            self._parts.append(_Muon(matrices, lr=lr, weight_decay=weight_decay, match_adamw=True))
        super().__init__(given, {"lr": lr})
        self._share_groups()

    @staticmethod
    def groups_of(module: nn.Module) -> list[dict[str, Any]]:
        """Return a module's trainable parameters in two groups: those of hidden linear layers, and all others.

        The last linear layer of the network is the output layer, which AdamW trains, as it does weights that an
        embedding shares. The network is the module's attribute ``network`` if it has one, otherwise the module itself.
        """
        inner = getattr(module, "network", None)
        network = inner if isinstance(inner, nn.Module) else module
        layers = list(network.modules())
        linear = [one.weight for one in layers if isinstance(one, nn.Linear) and one.weight.requires_grad][:-1]
        linear += [one.in_proj_weight for one in layers if isinstance(one, nn.MultiheadAttention)]
        embeddings = {id(one.weight) for one in layers if isinstance(one, (nn.Embedding, nn.EmbeddingBag))}
        hidden = {id(one) for one in linear if one is not None and _is_narrow(one)} - embeddings
        parameters = [one for one in module.parameters() if one.requires_grad]
        return [
            {"params": [one for one in parameters if (id(one) in hidden) is in_hidden], "use_muon": in_hidden}
            for in_hidden in (True, False)
        ]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # as torch's
        """Update all parameters."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        # A schedule changes the rates in these groups, which are the parts' own.
        self.param_groups = [group for part in self._parts for group in part.param_groups]


class _Muon(Optimizer):
    """The update of `torch.optim.Muon`, in the weights' own precision.

    torch's version computes in bfloat16. On a CPU without bfloat16 instructions, it takes 26 times as long.
    ``match_adamw`` is torch's ``adjust_lr_fn="match_rms_adamw"``.
    """

    def __init__(
        self, weights: list[nn.Parameter], *, lr: float, weight_decay: float, match_adamw: bool = False
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})
        self._match_adamw = match_adamw

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # MuonOnHidden calls the closure
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is not None:
                    self._update(one, one.grad, lr=group["lr"], weight_decay=group["weight_decay"])

    def _update(self, one: nn.Parameter, grad: torch.Tensor, *, lr: float, weight_decay: float) -> None:
        state = self.state[one]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        average = state["momentum_buffer"].lerp_(grad, 1 - _MOMENTUM)
        matrix = grad.lerp(average, _MOMENTUM).flatten(1)  # Nesterov's momentum
        rows, columns = matrix.shape
        factor = _RMS_OF_ADAMW * max(rows, columns) ** 0.5 if self._match_adamw else max(1.0, rows / columns) ** 0.5
        one.mul_(1 - lr * weight_decay).sub_(_orthogonal(matrix).reshape(one.shape), alpha=lr * factor)


def _ungrouped(given: Sequence[Any]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return all parameters, and those in the groups with ``use_muon``."""
    if not given or not isinstance(given[0], dict):
        return list(given), []
    every = [one for group in given for one in group["params"]]
    return every, [one for group in given if group["use_muon"] for one in group["params"]]


def _is_filter(parameter: nn.Parameter) -> bool:
    return parameter.ndim == _FILTER_DIMENSIONS and parameter.shape[1] > 1


def _is_narrow(weight: torch.Tensor) -> bool:
    # A sharded weight has one dimension.
    return weight.ndim == _MATRIX_DIMENSIONS and min(weight.shape) <= _LONGEST_SIDE


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Move the singular values of a matrix close to one, with the Newton-Schulz steps of `torch.optim.Muon`.

    Each step multiplies the matrix X with a polynomial of X·Xᵀ. All these factors commute, so the steps only need the
    small matrix X·Xᵀ, and their product is applied once. For a filter of a ResNet this takes less than half the time.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if is_tall else matrix
    wide = wide / wide.norm().clamp(min=_EPSILON)
    gram = wide @ wide.T
    product = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(_STEPS):
        factor = torch.addmm(b * gram, gram, gram, alpha=c)
        factor.diagonal().add_(a)
        product = factor @ product
        gram = factor @ gram @ factor
    found: torch.Tensor = product @ wide
    return found.T if is_tall else found
