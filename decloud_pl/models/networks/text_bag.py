"""A linear classifier on the mean of a text's word vectors."""

from __future__ import annotations

import torch
from torch import nn

from decloud_pl.models.tokenizer import PADDING


class TextBag(nn.Module):
    """Input (N, length) token numbers, output (N, ``num_classes``) logits.

    Source: Joulin et al., https://arxiv.org/abs/1607.01759, but without the n-grams of words.
    """

    def __init__(self, num_classes: int = 2, vocabulary: int = 16_384, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, width, mode="mean", padding_idx=PADDING)
        self.head = nn.Linear(width, num_classes)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.embedding(numbers))
        return logits
