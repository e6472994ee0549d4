"""What v1.1 added to the program's custom error codes."""

from __future__ import annotations

from enum import IntEnum

from decloud_pl.chain.dialects.v1_0 import errors


class ErrorCode(IntEnum):
    """Those that v1.0 does not have."""

    InvalidTreasury = 6021


MEANINGS: dict[IntEnum, str] = {
    **errors.MEANINGS,
    ErrorCode.InvalidTreasury: "this is not the program's treasury; correct network.treasury",
}
