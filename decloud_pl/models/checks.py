"""Check that a model's weights are finite and that its network runs, and count its classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from decloud_pl.errors import ModelError
from decloud_pl.models.inputs import InputSpec, TextInput
from decloud_pl.models.spec import ModelSpec
from decloud_pl.shortage import is_memory

TORCH_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, AssertionError)
"""The exceptions that torch raises for damaged files, and for inputs that do not fit a network."""
_FIX = "Correct the hyper-parameters or the input specification."


def check_finite(weights: Mapping[str, torch.Tensor]) -> None:
    """Raise `ModelError` if a tensor holds a value that is not finite."""
    for name, tensor in weights.items():
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"The tensor {name} holds values that are not finite.")


def count_classes(spec: ModelSpec, weights: Mapping[str, torch.Tensor]) -> int:
    """Run the network on two samples and return its number of classes.

    Raises:
        ModelError: the network fails, or does not return one score per class and sample.
        MemoryError: there is too little memory.
    """
    network = spec.network()
    try:
        network.load_state_dict(dict(weights))
        network.eval()
        with torch.inference_mode():
            logits = network(_probe(spec.input))
    except (*TORCH_ERRORS, ArithmeticError, ImportError) as error:  # a plug-in can raise almost any exception
        if is_memory(error):
            raise MemoryError from error
        raise ModelError("The model fails on the input that its description declares.", fix=_FIX) from error
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        raise ModelError("The model does not return one score per class and sample.", fix=_FIX)
    return int(logits.shape[1])


def _probe(given: InputSpec) -> torch.Tensor:
    """Return a batch of two samples: two images of zeros, or two texts.

    One text repeats token 0, the padding. The other text repeats the last token of the vocabulary.
    """
    if isinstance(given, TextInput):
        numbers = torch.zeros(2, given.length, dtype=torch.int64)
        numbers[1] = given.vocabulary - 1
        return numbers
    return torch.zeros(2, given.channels, given.size, given.size)
