"""Muon on the filters of convolutions, and AdamW on all other parameters, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

_FILTER_DIMENSIONS = 4


class MuonOnFilters(Optimizer):
    """`torch.optim.Muon` for convolution filters, and `torch.optim.AdamW` for all other parameters.

    See https://arxiv.org/abs/2404.00498. Muon takes matrices, so it gets each filter (out, in, height, width) as the
    matrix (out, in · height · width). The matrix shares the filter's memory.

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
        self._filters = [one for one in given if one.ndim == _FILTER_DIMENSIONS]
        self._orders = [_order(one) for one in self._filters]
        self._matrices = [
            nn.Parameter(_view(one, order)) for one, order in zip(self._filters, self._orders, strict=True)
        ]
        rest = [one for one in given if one.ndim != _FILTER_DIMENSIONS]
        self._parts: list[Optimizer] = []
        if rest:
            self._parts.append(AdamW(rest, lr=lr, weight_decay=weight_decay, fused=fused))
        if self._matrices:
            self._parts.append(Muon(self._matrices, lr=filter_lr * lr, weight_decay=weight_decay))
        super().__init__(given, {"lr": lr})
        self._share_groups()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # as torch's
        """Update all parameters."""
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one, order, matrix in zip(self._filters, self._orders, self._matrices, strict=True):
            matrix.grad = None if one.grad is None else one.grad.permute(order).flatten(1)
        for part in self._parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none)
        for one in self._filters:
            one.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        # A schedule changes the rates in these groups, which are the parts' own.
        self.param_groups = [group for part in self._parts for group in part.param_groups]


def _order(filter_: torch.Tensor) -> tuple[int, ...]:
    """Return the order of a filter's dimensions in memory."""
    return (0, 2, 3, 1) if filter_.is_contiguous(memory_format=torch.channels_last) else (0, 1, 2, 3)


def _view(filter_: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Return a filter as a matrix that shares the filter's memory."""
    return filter_.detach().permute(order).view(len(filter_), -1)
