"""Random changes of training images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from decloud_pl.data.formats.digits import Digits
from decloud_pl.errors import ConfigError
from decloud_pl.models.inputs import ImageInput
from decloud_pl.train.fit.augment import Augmentation
from decloud_pl.train.fit.datamodule import RoundDataModule

IMAGES = torch.arange(40 * 2 * 6 * 6).remainder(251).to(torch.uint8).reshape(40, 2, 6, 6)
NUMBERS = torch.arange(100, 140)


def test_each_image_is_mirrored_in_every_other_epoch() -> None:
    augment = Augmentation(flip=True)
    even, odd, next_even = (augment(IMAGES, NUMBERS, epoch) for epoch in range(3))
    assert torch.equal(even, next_even)
    mirrored = torch.tensor([not torch.equal(one, two) for one, two in zip(even, IMAGES, strict=True)])
    assert 8 <= int(mirrored.sum()) <= 32
    assert torch.equal(even[mirrored], IMAGES[mirrored].flip(-1))
    assert torch.equal(odd, even.flip(-1))
    # An image's turn does not depend on its batch.
    assert torch.equal(augment(IMAGES[7:9], NUMBERS[7:9], 0), even[7:9])


def test_a_shift_moves_all_channels_and_reflects_the_edge() -> None:
    torch.manual_seed(0)
    padded = torch.nn.functional.pad(IMAGES.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    seen = set()
    for before, after in zip(padded, Augmentation(shift=2)(IMAGES, NUMBERS, 0), strict=True):
        windows = {(y, x): before[:, y : y + 6, x : x + 6] for y in range(5) for x in range(5)}
        found = [place for place, window in windows.items() if torch.equal(window, after)]
        assert found
        seen.add(found[0])
    assert len(seen) > 8


def test_cutout_covers_one_square() -> None:
    torch.manual_seed(0)
    images = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    covered = (Augmentation(cutout=4)(images, torch.arange(50), 0) == 128).flatten(1).sum(1)
    assert covered.max() == 16
    assert covered.min() >= 4  # a square's centre is inside the image


@pytest.mark.parametrize("node", [{"turn": True}, {"flip": "no"}, {"shift": -1}, {"shift": True}, {"cutout": 0.5}])
def test_a_wrong_value_is_refused(node: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"datamodule\.augment"):
        Augmentation.of(node)


class Batches(LightningModule):
    """Keeps the batches that arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[tuple[torch.Tensor, ...]]] = {"train": [], "val": []}

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        self.seen["train"].append(tuple(batch))
        return self.weight * 1.0

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> None:
        self.seen["val"].append(tuple(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(tmp_path: Path, **augment: object) -> dict[str, list[tuple[torch.Tensor, ...]]]:
    module = Batches()
    data = RoundDataModule(Digits("digits"), ImageInput(size=8), batch_size=500, seed=1, augment=augment)
    Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    ).fit(module, data)
    return module.seen


def test_only_training_batches_are_changed(tmp_path: Path) -> None:
    plain, flipped = batches(tmp_path), batches(tmp_path, flip=True)
    for name, are_equal in (("train", False), ("val", True)):
        for one, two in zip(plain[name], flipped[name], strict=True):
            assert len(one) == len(two) == 2
            assert torch.equal(one[1], two[1])
            assert torch.equal(one[0], two[0]) is are_equal
