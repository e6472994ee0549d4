"""Networks are found by name, and ``simple_cnn`` matches the protocol's description."""

from __future__ import annotations

import pytest
import torch

from decloud_pl.errors import ModelError
from decloud_pl.models.registry import build

SHAPES = {
    "conv1.weight": (32, 3, 3, 3),
    "conv1.bias": (32,),
    "conv2.weight": (64, 32, 3, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3, 3),
    "conv3.bias": (64,),
    "fc1.weight": (512, 1024),
    "fc1.bias": (512,),
    "fc2.weight": (10, 512),
    "fc2.bias": (10,),
}


def test_parameters_have_the_names_and_shapes_of_the_protocol() -> None:
    network = build("simple_cnn", {})
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == SHAPES
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_layers_stand_in_the_order_of_the_protocol() -> None:
    torch.manual_seed(0)
    network = build("simple_cnn", {"num_classes": 3}).eval()
    weights, images = network.state_dict(), torch.randn(2, 3, 32, 32)
    hidden = images
    for layer in ("conv1", "conv2", "conv3"):
        hidden = torch.conv2d(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=1)
        hidden = torch.max_pool2d(hidden.clamp(min=0), 2)
    hidden = (hidden.flatten(1) @ weights["fc1.weight"].T + weights["fc1.bias"]).clamp(min=0)
    expected = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    torch.testing.assert_close(network(images), expected)


def test_dropout_is_one_half_and_only_in_training() -> None:
    network = build("simple_cnn", {})
    assert [layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)] == [0.5]
    images = torch.randn(1, 3, 32, 32)
    network.train()
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(ModelError, match=r"Unknown architecture 'resnext'\. Known: simple_cnn"):
        build("resnext", {})


@pytest.mark.parametrize("hyper_parameters", [{"layers": 3}, {"num_classes": "ten"}, {"num_classes": -1}])
def test_hyper_parameters_that_do_not_fit(hyper_parameters: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="cannot be built with"):
        build("simple_cnn", hyper_parameters)
