"""Muon on the filters of convolutions, and AdamW on all other parameters, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

_FILTER_DIMENSIONS = 4
# The values of torch.optim.Muon.
_MOMENTUM = 0.95
_STEPS = 5
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_EPSILON = 1e-7


class MuonOnFilters(Optimizer):
    """Muon for convolution filters, and `torch.optim.AdamW` for all other parameters.

    A filter (out, in, height, width) is treated as the matrix (out, in · height · width); see
    https://arxiv.org/abs/2404.00498. AdamW also updates the filters of depthwise convolutions, because each of their
    rows belongs to another channel.

    Args:
        params: the parameters.
        lr: AdamW's learning rate.
        filter_lr: Muon's learning rate, as a multiple of ``lr``.
        weight_decay: weight decay of both optimizers.
        fused: whether AdamW uses its fused kernel.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.003,
        *,
        filter_lr: float = 10.0,
        weight_decay: float = 0.05,
        fused: bool | None = None,
    ) -> None:
        given = list(params)
        filters = [one for one in given if _is_filter(one)]
        rest = [one for one in given if not _is_filter(one)]
        self._parts: list[Optimizer] = []
        if rest:
            self._parts.append(AdamW(rest, lr=lr, weight_decay=weight_decay, fused=fused))
        if filters:
            self._parts.append(_Muon(filters, lr=filter_lr * lr, weight_decay=weight_decay))
        super().__init__(given, {"lr": lr})
        self._share_groups()

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
    """The update of `torch.optim.Muon`, in the filters' own precision.

    torch's version computes in bfloat16. On a CPU without bfloat16 instructions, it takes 26 times as long.
    """

    def __init__(self, filters: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        super().__init__(filters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # MuonOnFilters calls the closure
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
        rate = lr * max(1.0, rows / columns) ** 0.5
        one.mul_(1 - lr * weight_decay).sub_(_orthogonal(matrix).reshape(one.shape), alpha=rate)


def _is_filter(parameter: nn.Parameter) -> bool:
    return parameter.ndim == _FILTER_DIMENSIONS and parameter.shape[1] > 1


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
