"""The IDL that Anchor keeps on chain, where a program's authors have published it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from solders.pubkey import Pubkey

from decloud_pl.errors import DecodeError

_IDL_HEADER = 44
_LARGEST_IDL = 1 << 20


def idl_address(program_id: Pubkey) -> Pubkey:
    """Where Anchor keeps a program's IDL."""
    base, _ = Pubkey.find_program_address([], program_id)
    return Pubkey.create_with_seed(base, "anchor:idl", program_id)


def idl_account_counts(data: bytes) -> dict[str, int]:
    """How many accounts each instruction of an IDL account takes: discriminator, authority, length, then zlib.

    Raises:
        DecodeError: it is not an IDL, or larger than a megabyte.
    """
    size = int.from_bytes(data[_IDL_HEADER - 4 : _IDL_HEADER], "little")
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(data[_IDL_HEADER : _IDL_HEADER + size], _LARGEST_IDL)
        if not unpacking.eof:
            raise DecodeError("The IDL on chain is cut off or larger than a megabyte.")
        instructions = json.loads(text)["instructions"]
        return {_snake_case(entry["name"]): _leaves(entry["accounts"]) for entry in instructions}
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError("The IDL on chain cannot be read.") from error


def _leaves(accounts: Sequence[Mapping[str, Any]]) -> int:
    """Accounts of a list, those in groups included."""
    return sum(_leaves(entry["accounts"]) if "accounts" in entry else 1 for entry in accounts)


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
