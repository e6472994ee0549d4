"""A small transformer encoder on token numbers."""

from __future__ import annotations

import torch
from torch import nn

from decloud_pl.models.tokenizer import PADDING


class TextTransformer(nn.Module):
    """Input (N, up to ``length``) token numbers, output (N, ``num_classes``) logits.

    The network adds learned position embeddings, normalizes before each block, and averages over the tokens that are
    not padding. Source: Vaswani et al., https://arxiv.org/abs/1706.03762, only the encoder.
    """

    def __init__(
        self,
        num_classes: int = 2,
        vocabulary: int = 16_384,
        length: int = 128,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError("width must be a multiple of heads")
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        padding = numbers == PADDING
        padding[:, 0] = False  # attention over no tokens is undefined, so an empty text is one padding token
        places = torch.arange(numbers.shape[1], device=numbers.device)
        hidden = self.encoder(self.words(numbers) + self.positions(places), src_key_padding_mask=padding)
        weight = (~padding).unsqueeze(2).to(hidden.dtype)
        logits: torch.Tensor = self.head((hidden * weight).sum(1) / weight.sum(1))
        return logits
