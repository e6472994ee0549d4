"""Read the IDL of a program from the chain. It exists only if the authors of the program have published it."""

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
    """Return the address of a program's IDL account."""
    base, _ = Pubkey.find_program_address([], program_id)
    return Pubkey.create_with_seed(base, "anchor:idl", program_id)


def idl_account_counts(data: bytes) -> dict[str, int]:
    """Return how many accounts each instruction of an IDL takes, keyed by the instruction's name in snake case.

    Args:
        data: the bytes of the IDL account: discriminator, authority, length, then JSON compressed with zlib.

    Raises:
        DecodeError: the data is not an IDL, or exceeds 1 MiB.
    """
    size = int.from_bytes(data[_IDL_HEADER - 4 : _IDL_HEADER], "little")
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(data[_IDL_HEADER : _IDL_HEADER + size], _LARGEST_IDL)
        if not unpacking.eof:
            raise DecodeError("The IDL on chain is cut off, or exceeds the limit of 1 MiB.")
        instructions = json.loads(text)["instructions"]
        return {_snake_case(entry["name"]): _leaves(entry["accounts"]) for entry in instructions}
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError("The IDL account on chain does not hold a valid IDL.") from error


def _leaves(accounts: Sequence[Mapping[str, Any]]) -> int:
    """Count the accounts in an IDL's account list, including the accounts in nested groups."""
    return sum(_leaves(entry["accounts"]) if "accounts" in entry else 1 for entry in accounts)


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
