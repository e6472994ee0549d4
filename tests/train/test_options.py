"""This package's own settings among the trainer's."""

from __future__ import annotations

import pytest

from decloud_pl.errors import ConfigError
from decloud_pl.settings import compose
from decloud_pl.train.options import TrainerOptions, split


def test_own_options_are_taken_out_and_the_rest_is_lightnings() -> None:
    options, node = split(compose(["trainer.compile=true", "trainer.data_memory_mb=5"]).trainer)
    assert options == TrainerOptions(compile=True, data_memory_mb=5)
    assert node == {
        "_target_": "lightning.pytorch.Trainer", "accelerator": "auto", "devices": 1, "precision": "auto",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("compile", "yes", "true or false"),
        ("data_memory_mb", 1.5, "a number of 0 or more"),
        ("data_workers", -1, "a number of 0 or more"),
        ("data_workers", True, "a number of 0 or more"),
        ("checkpoint_seconds", float("inf"), "a number of 0 or more"),
        ("publish_reserve_seconds", "long", "a number of 0 or more"),
    ],
)
def test_a_wrong_option(name: str, value: object, wanted: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{name} is .*Set it to {wanted}"):
        split({name: value})
