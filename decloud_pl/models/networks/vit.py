"""A small vision transformer: torchvision's class with the sizes of ViT-Ti."""

from __future__ import annotations

from torch import nn


def vit_tiny(
    num_classes: int = 10,
    image_size: int = 32,
    patch_size: int = 4,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a vision transformer: input (N, 3, ``image_size``, ``image_size``), output (N, ``num_classes``) logits.

    Source: Touvron et al., https://arxiv.org/abs/2012.12877, table 1, without the distillation token.

    Raises:
        ValueError: ``image_size`` is not a multiple of ``patch_size``, or ``width`` is not a multiple of ``heads``.
    """
    from torchvision.models.vision_transformer import VisionTransformer

    if image_size % patch_size or width % heads:
        raise ValueError("image_size must be a multiple of patch_size, and width a multiple of heads")
    network = VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        dropout=dropout,
        num_classes=num_classes,
    )
    # torchvision initializes the head with zeros, which suits fine-tuning only.
    head: nn.Linear = network.heads.head
    nn.init.trunc_normal_(head.weight, std=0.02)
    module: nn.Module = network
    return module
