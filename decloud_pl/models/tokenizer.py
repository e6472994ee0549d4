"""The tokenizers that a model package can name. They convert text to numbers by rules, without downloaded files.

``hashed_words`` lower-cases the text and splits it into words (letters and digits, with inner apostrophes) and single
punctuation marks. A token's number is its BLAKE2b hash (8 bytes, little-endian) modulo ``vocabulary − 1``, plus 1.
Number 0 is padding. These rules never change; better rules would get another name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HASHED_WORDS = "hashed_words"
TOKENIZERS = (HASHED_WORDS,)
PADDING = 0

# Only this many characters per token are processed, because hostile input must not cost time.
_CHARACTERS_PER_TOKEN = 100
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_")


def tokens(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case."""
    return _TOKEN.findall(text.lower())


def token_number(token: str, vocabulary: int) -> int:
    """Return the number of a token, 1 to ``vocabulary − 1``."""
    digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "little") % (vocabulary - 1)


def encode(texts: Sequence[str], *, vocabulary: int, length: int) -> NDArray[np.int32]:
    """Return token numbers, (N, length): the first ``length`` tokens of each text, then padding."""
    numbers = np.full((len(texts), length), PADDING, np.int32)
    known: dict[str, int] = {}
    for row, text in enumerate(texts):
        found = tokens(text[: length * _CHARACTERS_PER_TOKEN])[:length]
        for token in found:
            if token not in known:
                known[token] = token_number(token, vocabulary)
        numbers[row, : len(found)] = [known[token] for token in found]
    return numbers
