"""The custom error codes that v1.2 added."""

from __future__ import annotations

from enum import IntEnum

from decloud_pl.chain.dialects.v1_1 import errors


class ErrorCode(IntEnum):
    """The custom error codes that v1.2 adds to those of v1.1."""

    CannotAbort = 6022
    InvalidCreator = 6023


MEANINGS: dict[IntEnum, str] = {
    **errors.MEANINGS,
    ErrorCode.CannotAbort: "a round can be aborted only after a validator claimed it and before it is completed",
    ErrorCode.InvalidCreator: "the account is not the round's creator",
}
