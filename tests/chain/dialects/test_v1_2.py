"""Revision v1.2 adds to v1.1 that a validator can abort its round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from decloud_pl.chain import borsh
from decloud_pl.chain.dialect import Reading
from decloud_pl.chain.dialects.v1_2 import events
from decloud_pl.chain.events import Event
from tests.chain.dialects import test_v1_1
from tests.chain.dialects.conformance import CREATOR, VALIDATOR, Sent
from tests.chain.dialects.test_v1_0 import SEVEN

V1_1 = test_v1_1.TestV1_1


class TestV1_2(V1_1):
    NAME = "v1.2"
    READING = Reading("delta", 0.1)
    CAN_ABORT = True
    INSTRUCTIONS: ClassVar[Mapping[str, Sent]] = {
        **V1_1.INSTRUCTIONS,
        "abort_round": Sent(
            lambda dialect: dialect.abort_round(7, creator=CREATOR, validator=VALIDATOR),
            "0fa52fc66ccf96d0" + SEVEN.hex(),
            "round w, vault w, creator w, validator w s, system",
        ),
    }
    EVENTS: ClassVar[Mapping[str, tuple[bytes, Event]]] = {
        **V1_1.EVENTS,
        "RoundAborted": (
            SEVEN + bytes(VALIDATOR) + borsh.u64(13),
            events.RoundAborted(7, VALIDATOR, 13),
        ),
    }
    ERRORS: ClassVar[Mapping[int, str]] = {**V1_1.ERRORS, 6022: "CannotAbort", 6023: "InvalidCreator"}
