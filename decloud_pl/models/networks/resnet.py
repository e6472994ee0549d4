"""torchvision's residual networks for small images."""

from __future__ import annotations

from torch import nn


def resnet(num_classes: int = 10, depth: int = 18) -> nn.Module:
    """Return a ResNet whose stem keeps the resolution: a 3×3 convolution with stride 1 and no pooling.

    Input (N, 3, 32, 32), output (N, ``num_classes``) logits. ``depth`` is 18, 34, 50, 101 or 152. Source: He et al.,
    https://arxiv.org/abs/1512.03385, section 4.2, with the channels of the ImageNet networks.
    """
    import torchvision

    network: nn.Module = torchvision.models.get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
    stem = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.conv1 = stem
    network.maxpool = nn.Identity()
    return network
