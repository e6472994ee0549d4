"""Samples reach the network as the protocol requires, regardless of their original form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decloud_pl.data.formats.digits import Digits
from decloud_pl.data.formats.image_files import ImageFiles
from decloud_pl.data.source import ImageSplit, TextSplit
from decloud_pl.errors import TrainingError
from decloud_pl.models import tokenizer
from decloud_pl.models.base_model import BaseModel
from decloud_pl.models.inputs import ImageInput, InputSpec, TextInput
from decloud_pl.models.spec import ModelSpec
from decloud_pl.train.fit.encoding import check_fit, encoder_for


def usual(images: list[Image.Image]) -> torch.Tensor:
    """Convert to 32×32, three channels, mean and deviation one half, like torchvision's transforms."""
    from torchvision import transforms  # its import takes seconds; the processes that only collect this module skip it

    transform = transforms.Compose(
        [
            transforms.Lambda(lambda image: image.convert("RGB")),
            transforms.Resize((32, 32)),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    return torch.stack([transform(image) for image in images])


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 28, 28), (5, 32, 32), (5, 32, 32, 3), (5, 40, 24, 3)])
def test_images_are_those_of_the_usual_transforms_to_one_step_of_a_byte(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = usual([Image.fromarray(image) for image in images])
    encoder = encoder_for(ImageInput())
    packed = encoder.pack(ImageSplit(images, np.zeros(5, np.int64)))
    assert packed.dtype == torch.uint8
    assert packed.shape == (5, 1 if len(shape) == 3 else 3, 32, 32)
    ours = encoder.batch(packed)
    assert ours.dtype == torch.float32
    assert ours.is_contiguous(memory_format=torch.channels_last)
    # Pillow and torch sometimes round a resized byte differently.
    torch.testing.assert_close(ours, expected, atol=2.1 / 255, rtol=0)


def test_image_files_of_any_size_and_mode(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (60, 20, 3), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (9, 9), dtype=np.uint8)),
        Image.fromarray(random.integers(0, 256, (32, 32), dtype=np.uint8)).convert("P"),
    ]
    paths = tuple(tmp_path / f"{index}.png" for index in range(3))
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    split = ImageSplit(ImageFiles(paths), np.zeros(3, np.int64))
    encoder = encoder_for(ImageInput())
    torch.testing.assert_close(encoder.batch(encoder.pack(split)), usual(images))


def test_texts_become_the_tokenizers_numbers() -> None:
    texts = ("A good film.", "", "bad " * 50)
    encoder = encoder_for(TextInput(vocabulary=100, length=8))
    packed = encoder.pack(TextSplit(texts, np.zeros(3, np.int64)))
    assert packed.dtype == torch.int32
    batch = encoder.batch(packed)
    assert batch.dtype == torch.int64
    assert batch.numpy().tolist() == tokenizer.encode(texts, vocabulary=100, length=8).tolist()


@pytest.mark.parametrize(
    ("spec", "split"),
    [
        (ImageInput(), ImageSplit(np.arange(6 * 49, dtype=np.uint8).reshape(6, 7, 7), np.zeros(6, np.int64))),
        (TextInput(length=4), TextSplit(("a b", "c", "d e f g h", "", "x", "y z"), np.zeros(6, np.int64))),
    ],
)
def test_packing_a_part_gives_that_part(spec: InputSpec, split: ImageSplit | TextSplit) -> None:
    encoder, some = encoder_for(spec), np.array([4, 0, 2])
    assert torch.equal(encoder.pack(split.take(some)), encoder.pack(split)[torch.from_numpy(some)])


def test_a_model_of_the_wrong_kind_is_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = ImageSplit(np.zeros((1, 8, 8), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(TrainingError, match="takes text input, but the data set has image samples"):
        encoder_for(TextInput()).pack(images)
    with pytest.raises(TrainingError, match="takes image input, but the data set has text samples"):
        encoder_for(ImageInput()).pack(TextSplit(("a",), np.zeros(1, np.int64)))
    text_model = BaseModel(ModelSpec("text_bag", {}, TextInput()), tmp_path, 10)
    with pytest.raises(TrainingError, match="text input, but the data set digits has image samples"):
        check_fit(text_model, Digits())
    check_fit(BaseModel(ModelSpec("simple_cnn", {}), tmp_path, 10), Digits())
    assert not caplog.records
    check_fit(BaseModel(ModelSpec("simple_cnn", {}), tmp_path, 12), Digits())
    assert "The base model distinguishes 12 classes, but the data set digits has 10." in caplog.text
