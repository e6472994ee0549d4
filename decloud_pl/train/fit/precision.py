"""Choose the fastest precision on this machine that does not reduce accuracy."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def resolve_precision(wanted: str, accelerator: str) -> str:
    """Return Lightning's name of a precision. ``auto`` means bf16 if the accelerator supports it, else float32."""
    if wanted != "auto":
        return wanted
    chosen = "bf16-mixed" if _has_bf16(accelerator) else "32-true"
    logger.info("Precision %s, chosen for this machine; set trainer.precision to override it", chosen)
    return chosen


def _has_bf16(accelerator: str) -> bool:
    if accelerator != "cpu" and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Emulated bf16 is slower than float32, so we look for real instructions.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001  # no public name


def speed_up_gpu(precision: str, accelerator: str) -> dict[str, bool]:
    """Speed up training on a GPU with TF32 and with a search for the fastest convolution algorithms.

    TF32 is turned on for float32 matrix products and convolutions, unless the user sets a precision of 32.

    Returns:
        The argument of Lightning's ``Trainer`` that turns on the search; empty without a GPU.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return {}
    if precision not in ("32", "32-true"):
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    return {"benchmark": True}
