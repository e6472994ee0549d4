"""Which precision is fastest on this machine without costing accuracy."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def resolve_precision(wanted: str, accelerator: str) -> str:
    """Lightning's name of a precision for an accelerator; ``auto`` is bf16 where the hardware has it, else full."""
    if wanted != "auto":
        return wanted
    chosen = "bf16-mixed" if _has_bf16(accelerator) else "32-true"
    logger.info("Precision %s, chosen for this machine; trainer.precision overrides it", chosen)
    return chosen


def _has_bf16(accelerator: str) -> bool:
    if accelerator != "cpu" and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Emulated bf16 is slower than float32, so only real instructions count.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001  # no public name


def speed_up_gpu(precision: str, accelerator: str) -> dict[str, bool]:
    """TF32 for the sums that stay in float32, and the fastest convolutions, where a GPU trains.

    Whoever asks for a precision of 32 gets all of its bits. Returns further arguments of Lightning's ``Trainer``.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return {}
    if precision not in ("32", "32-true"):
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    return {"benchmark": True}
