"""What v1.2 added to the program's custom error codes."""

from __future__ import annotations

from enum import IntEnum

from decloud_pl.chain.dialects.v1_1 import errors


class ErrorCode(IntEnum):
    """Those that v1.1 does not have."""

    CannotAbort = 6022
    InvalidCreator = 6023


MEANINGS: dict[IntEnum, str] = {
    **errors.MEANINGS,
    ErrorCode.CannotAbort: "a round can be aborted only after a validator claimed it and before it is completed",
    ErrorCode.InvalidCreator: "this is not the round's creator",
}
