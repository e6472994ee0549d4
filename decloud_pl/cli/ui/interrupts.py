"""Ctrl-C and SIGTERM while this process itself trains."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Remembers that the user wants an end.

    A training that asks `requested` gets the time to write a checkpoint; anything else, and a second signal, ends by
    `KeyboardInterrupt`.
    """

    def __init__(self) -> None:
        self.seen = False
        self._asked_for = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Whether to stop; who asks is expected to."""
        self._asked_for = True
        return self.seen

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        again, self.seen = self.seen, True
        if again or not self._asked_for:
            raise KeyboardInterrupt
