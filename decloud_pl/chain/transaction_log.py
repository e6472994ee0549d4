"""The log of signed transactions. `Sender` writes each transaction to the log before sending it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

Outcome = Literal["pending", "landed", "failed", "expired"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction.

    Attributes:
        signature: the signature in base58.
        blockhash: the blockhash in base58.
        last_valid_block_height: the last height at which the transaction can land.
        wire: the signed bytes.
        outcome: the result so far.
        fee: the lamports that the wallet pays if the transaction lands, even if an instruction fails.
        deposit: the lamports that the wallet pays in addition if the transaction succeeds.
    """

    signature: str
    blockhash: str
    last_valid_block_height: int
    wire: bytes
    outcome: Outcome = "pending"
    fee: int = 0
    deposit: int = 0


class TransactionLog(Protocol):
    """A durable log of attempts. After `record` returns, the attempt must survive a crash.

    ``key`` identifies what the transaction does, such as ``join:7``. Repeated attempts have the same key.
    """

    def record(self, key: str, attempt: Attempt) -> None: ...

    def attempts(self, key: str) -> list[Attempt]: ...

    def settle(self, key: str, signature: str, outcome: Outcome) -> None: ...


class MemoryTransactionLog:
    """A log that only exists in memory, for tests and for the creator and the validator of a local network.

    The creator and the validator need no durable log, because they read each result from the chain.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, dict[str, Attempt]] = {}

    def record(self, key: str, attempt: Attempt) -> None:
        self._attempts.setdefault(key, {})[attempt.signature] = attempt

    def attempts(self, key: str) -> list[Attempt]:
        return list(self._attempts.get(key, {}).values())

    def settle(self, key: str, signature: str, outcome: Outcome) -> None:
        self._attempts[key][signature] = replace(self._attempts[key][signature], outcome=outcome)
