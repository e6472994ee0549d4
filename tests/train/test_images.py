"""Images reach the network as the protocol says: 32×32, three channels, mean and deviation one half."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from decloud_pl.models.spec import ImageInput
from decloud_pl.train.images import normalise, to_uint8


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 28, 28), (5, 32, 32), (5, 32, 32, 3), (5, 40, 24, 3)])
def test_the_same_as_the_usual_transforms_to_one_step_of_a_byte(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    usual = transforms.Compose(
        [
            transforms.Resize((32, 32)),
            transforms.Grayscale(3) if len(shape) == 3 else transforms.Lambda(lambda image: image),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    expected = torch.stack([usual(Image.fromarray(image)) for image in images])
    for channels_last in (True, False):
        ours = normalise(to_uint8(images, ImageInput()), ImageInput(), channels_last=channels_last)
        assert ours.shape == (5, 3, 32, 32)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous(memory_format=torch.channels_last) or not channels_last
        # Pillow and torch round a resized byte differently now and then.
        torch.testing.assert_close(ours, expected, atol=2.1 / 255, rtol=0)
