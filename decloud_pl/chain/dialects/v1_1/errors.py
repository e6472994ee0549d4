"""The custom error codes that v1.1 added."""

from __future__ import annotations

from enum import IntEnum

from decloud_pl.chain.dialects.v1_0 import errors


class ErrorCode(IntEnum):
    """The custom error codes that v1.1 adds to those of v1.0."""

    InvalidTreasury = 6021


MEANINGS: dict[IntEnum, str] = {
    **errors.MEANINGS,
    ErrorCode.InvalidTreasury: "the account is not the program's treasury; correct network.treasury",
}
