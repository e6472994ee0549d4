"""Convert samples to a neural network's input, in the same way for training and for scoring.

An encoder works in two steps. `pack` turns samples into a tensor that is as small as possible, so that a whole data set
fits into memory. Each sample is packed independently of the others, so a split can also be packed in parts. `batch`
turns packed samples into the network's input, on the device that holds them.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch.nn import functional

from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.data.source import ImageSplit, Kind, Source, Split, TextSplit
from decloud_pl.errors import TrainingError
from decloud_pl.models import tokenizer
from decloud_pl.models.base_model import BaseModel, why_unfit
from decloud_pl.models.inputs import ImageInput, InputSpec, TextInput

logger = logging.getLogger(__name__)

_RESIZE_BATCH = 4096


class ImageEncoder:
    """Converts images: resizes them to ``spec.size``, gives them three channels, and normalizes them.

    Packed: uint8 (N, C, size, size). C is 1 for gray images; `batch` copies that channel.
    Batch: float32 (N, 3, size, size), channels last.
    """

    def __init__(self, spec: ImageInput) -> None:
        self._spec = spec

    def pack(self, split: Split) -> torch.Tensor:
        """Return the samples in compact form, one row each.

        Raises:
            TrainingError: the samples are of another kind (image or text) than the model's input.
            DatasetError: an image file cannot be read.
        """
        if not isinstance(split, ImageSplit):
            raise _wrong_kind("image", "text")
        size = self._spec.size
        images = split.images.read(size) if isinstance(split.images, ImageFiles) else split.images
        whole = torch.from_numpy(np.ascontiguousarray(images))
        whole = whole.unsqueeze(1) if images.ndim == 3 else whole.permute(0, 3, 1, 2)
        if whole.shape[-2:] == (size, size):
            return whole
        # Bilinear with antialiasing, like PIL. It computes in floats, which need four times the bytes, so we resize in
        # pieces.
        pieces = [
            functional.interpolate(piece, (size, size), mode="bilinear", antialias=True)
            for piece in torch.split(whole, _RESIZE_BATCH)
        ]
        return torch.cat(pieces)

    def batch(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the network's input, ``(value / 255 − mean) / std``, on the device of ``packed``."""
        spec = self._spec
        scaled = packed.expand(-1, spec.channels, -1, -1).to(torch.float32, memory_format=torch.channels_last)
        return scaled.mul_(1 / (255 * spec.std)).sub_(spec.mean / spec.std)


class TextEncoder:
    """Converts texts to token numbers of shape (N, length): int32 in the packed split, int64 in a batch."""

    def __init__(self, spec: TextInput) -> None:
        self._spec = spec

    def pack(self, split: Split) -> torch.Tensor:
        """See `ImageEncoder.pack`."""
        if not isinstance(split, TextSplit):
            raise _wrong_kind("text", "image")
        numbers = tokenizer.encode(split.texts, vocabulary=self._spec.vocabulary, length=self._spec.length)
        return torch.from_numpy(numbers)

    def batch(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the network's input, on the device of ``packed``."""
        return packed.to(torch.int64)


Encoder = ImageEncoder | TextEncoder
"""Converts a data set's samples to a network's input."""


def encoder_for(spec: InputSpec) -> Encoder:
    """Return the encoder for a model's input specification."""
    return ImageEncoder(spec) if isinstance(spec, ImageInput) else TextEncoder(spec)


def check_fit(model: BaseModel, source: Source) -> None:
    """Check that a base model can train on a data set.

    Raises:
        TrainingError: the model takes another kind of samples (image or text), or distinguishes too few classes.
    """
    unfit = why_unfit(model, kind=source.kind, classes=source.num_classes, name=source.name)
    if unfit:
        raise TrainingError(f"{unfit[0].upper()}{unfit[1:]}.", fix="Map the round's data set to a suitable one.")
    if model.classes > source.num_classes:
        # Allowed, because a model may have more classes. It can also mean that the folder is wrong, hence the warning.
        logger.warning(
            "The base model distinguishes %d classes, but the data set %s has %d.",
            model.classes,
            source.name,
            source.num_classes,
        )


def _wrong_kind(model: Kind, data: Kind) -> TrainingError:
    return TrainingError(
        f"The base model takes {model} input, but the data set has {data} samples.",
        fix=f"Map the round's data set to one with {model} samples.",
    )
