"""What was signed and sent, written down before it leaves: the memory of `Sender`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

Outcome = Literal["pending", "landed", "failed", "expired"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction.

    Attributes:
        signature: base58.
        blockhash: base58.
        last_valid_block_height: after this height it can never land.
        wire: the signed bytes.
        outcome: what became of it.
        fee: lamports it pays, whether or not it succeeds.
        deposit: lamports it moves out of the wallet besides when it succeeds.
    """

    signature: str
    blockhash: str
    last_valid_block_height: int
    wire: bytes
    outcome: Outcome = "pending"
    fee: int = 0
    deposit: int = 0


class TransactionLog(Protocol):
    """Durable memory: what `record` returned from must survive a crash. ``key`` names the intent."""

    def record(self, key: str, attempt: Attempt) -> None: ...

    def attempts(self, key: str) -> list[Attempt]: ...

    def settle(self, key: str, signature: str, outcome: Outcome) -> None: ...


class MemoryTransactionLog:
    """Forgets with its process; for tests and for agents whose every step can be read off the chain."""

    def __init__(self) -> None:
        self._attempts: dict[str, dict[str, Attempt]] = {}

    def record(self, key: str, attempt: Attempt) -> None:
        self._attempts.setdefault(key, {})[attempt.signature] = attempt

    def attempts(self, key: str) -> list[Attempt]:
        return list(self._attempts.get(key, {}).values())

    def settle(self, key: str, signature: str, outcome: Outcome) -> None:
        self._attempts[key][signature] = replace(self._attempts[key][signature], outcome=outcome)
