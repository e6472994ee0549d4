"""The format of a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from decloud_pl.models.tokenizer import HASHED_WORDS

MAX_VOCABULARY = 1_000_000
MAX_TEXT_LENGTH = 4_096


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The format of image input: ``size`` by ``size`` pixels, normalized per channel with ``mean`` and ``std``."""

    kind: ClassVar[Literal["image"]] = "image"
    size: int = 32
    channels: int = 3
    mean: float = 0.5
    std: float = 0.5

    @property
    def packed_bytes(self) -> int:
        """The most bytes that a sample takes in memory; a third for a gray image."""
        return self.size**2 * self.channels


@dataclass(frozen=True, slots=True)
class TextInput:
    """The format of text input: the first ``length`` tokens as numbers below ``vocabulary``. 0 is padding.

    ``tokenizer`` names the rules that convert text to tokens; see `decloud_pl.models.tokenizer`.
    """

    kind: ClassVar[Literal["text"]] = "text"
    tokenizer: str = HASHED_WORDS
    vocabulary: int = 16_384
    length: int = 128

    @property
    def packed_bytes(self) -> int:
        """The bytes that a sample takes in memory."""
        return 4 * self.length


InputSpec = ImageInput | TextInput
