"""The exceptions that this package raises.

::

    DecloudError                    exit code
    ├── UsageError                      2     wrong arguments for a command
    ├── ConfigError                     3     wrong settings or Hydra configuration
    ├── WalletError                     4     missing or unreadable key, unsafe key file
    ├── ChainError                      5     a problem with an RPC endpoint or with an account on chain
    │   ├── RpcUnavailable                    can be retried
    │   ├── RpcRejected                       the endpoint refused the request
    │   ├── TransactionExpired                the blockhash expired before the transaction landed
    │   ├── DecodeError                       unexpected bytes in an account, event or argument
    │   ├── InsufficientFunds                 the wallet cannot pay
    │   └── ProgramError                6     the on-chain program refused an instruction
    ├── StoreError                      7     a problem with content-addressed storage
    │   ├── InvalidCid
    │   ├── ContentNotFound
    │   ├── IntegrityError                    bytes that do not match their CID
    │   ├── SizeLimitExceeded
    │   ├── StoreRejected                     the store refused the request
    │   └── StoreUnavailable                  can be retried
    ├── DatasetError                    8
    │   ├── DatasetNotSupported
    │   ├── DatasetNotFound
    │   └── DatasetNotReady                   still downloading
    ├── ModelError                      9
    │   └── UntrustedFileRejected             quarantine refused a file
    ├── TrainingError                  10
    │   ├── TrainingDiverged           10
    │   ├── TrainingStopped            75     stopped on request; resumes from its checkpoint
    │   └── ExecutorUnavailable        69     no machine to train on; can be retried
    ├── JournalError                   11
    │   └── JournalLocked
    ├── LocalnetError                  12
    ├── RoundError                     13     the round cannot be joined, trained or claimed
    ├── NotificationError              15     a message to the user was not delivered
    ├── MachineShortage                16     no disk space, memory or file descriptors left; can be retried
    └── AuditError                     17     an evidence file is invalid, or a new audit disagrees with it

Exit codes are part of the public interface. The other exit codes are 0 (success), 1 (internal error) and 130 (Ctrl-C).
A message states what failed and why. The fix after it states what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import ClassVar

from decloud_pl.legible import legible
from decloud_pl.redact import redact

__all__ = [
    "AuditError",
    "ChainError",
    "ConfigError",
    "ContentNotFound",
    "DatasetError",
    "DatasetNotFound",
    "DatasetNotReady",
    "DatasetNotSupported",
    "DecloudError",
    "DecodeError",
    "ExecutorUnavailable",
    "InsufficientFunds",
    "IntegrityError",
    "InvalidCid",
    "JournalError",
    "JournalLocked",
    "LocalnetError",
    "MachineShortage",
    "ModelError",
    "NotificationError",
    "ProgramError",
    "RoundError",
    "RpcRejected",
    "RpcUnavailable",
    "SizeLimitExceeded",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "TrainingDiverged",
    "TrainingError",
    "TrainingStopped",
    "TransactionExpired",
    "UntrustedFileRejected",
    "UsageError",
    "WalletError",
]


class DecloudError(Exception):
    """Base class of all errors of this package.

    Messages are printed, logged, written to the journal and shown in the dashboard. `redact` therefore shortens URLs
    to scheme, host and port, because the rest may contain an API key. `legible` escapes unprintable
    characters in quoted text.

    Args:
        message: what failed and why, in one sentence.
        fix: what the user can do about it; printed after the message.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        self.message = redact(legible(message))
        self.fix = redact(legible(fix))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".rstrip()


class UsageError(DecloudError):
    """The arguments of a command are wrong."""

    exit_code = 2


class ConfigError(DecloudError):
    """A setting, preset or Hydra override is unknown, has the wrong type or is out of range."""

    exit_code = 3


class WalletError(DecloudError):
    """The private key is missing or unusable. The message never contains key material."""

    exit_code = 4


class ChainError(DecloudError):
    """A request to the chain failed."""

    exit_code = 5


class RpcUnavailable(ChainError):
    """The endpoint did not answer, returned a server error or refused a request because of its rate limit.

    Args:
        retry_after: the wait in seconds that the endpoint requested, or None.
    """

    def __init__(self, message: str, *, fix: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class RpcRejected(ChainError):
    """The endpoint refused the request with a JSON-RPC error object.

    Args:
        code: JSON-RPC error code, for example -32602.
        logs: program log lines of a failed preflight, if the endpoint sent them.
        said: the code and text of the endpoint's refusal.
    """

    def __init__(
        self, message: str, *, fix: str = "", code: int | None = None, logs: tuple[str, ...] = (), said: str = ""
    ) -> None:
        super().__init__(message, fix=fix)
        self.code = code
        self.logs = logs
        self.said = said


class TransactionExpired(ChainError):
    """The transaction did not land before its last valid block height."""


class DecodeError(ChainError):
    """Bytes have an unexpected discriminator, owner, length or value."""


class InsufficientFunds(ChainError):
    """The wallet cannot pay a fee, a rent deposit or a reward."""


class ProgramError(ChainError):
    """The on-chain program refused an instruction.

    Args:
        code: the custom program error code, for example 6016.
        name: the error's name in the program, for example ``RewardAlreadyClaimed``.
    """

    exit_code = 6

    def __init__(self, message: str, *, code: int, name: str, fix: str = "", logs: tuple[str, ...] = ()) -> None:
        super().__init__(message, fix=fix)
        self.code = code
        self.name = name
        self.logs = logs


class StoreError(DecloudError):
    """Content-addressed storage failed."""

    exit_code = 7


class InvalidCid(StoreError):
    """Text or bytes are not a CID that this package can verify."""


class ContentNotFound(StoreError):
    """None of the queried gateways or stores has the content."""


class IntegrityError(StoreError):
    """Downloaded bytes do not match their CID. They were discarded."""


class SizeLimitExceeded(StoreError):
    """A file is larger than the configured limit."""


class StoreRejected(StoreError):
    """A store refused a request because of credentials, permissions, plan limits or missing space.

    Only the user can fix the cause. The message never contains a credential.

    Args:
        status: the HTTP status of the refusal, if any.
    """

    def __init__(self, message: str, *, fix: str = "", status: int | None = None) -> None:
        super().__init__(message, fix=fix)
        self.status = status


class StoreUnavailable(StoreError):
    """A store did not answer or is overloaded.

    Args:
        retry_after: the wait in seconds that the store requested, or None.
    """

    def __init__(self, message: str, *, fix: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class DatasetError(DecloudError):
    """A data set cannot be used."""

    exit_code = 8


class DatasetNotSupported(DatasetError):
    """The network lists the data set, but this package has neither a reader nor a mapping for it."""


class DatasetNotFound(DatasetError):
    """The files of a data set are missing."""


class DatasetNotReady(DatasetError):
    """The files of a data set are still downloading, or a failed download will be retried."""


class ModelError(DecloudError):
    """A model file or architecture cannot be used."""

    exit_code = 9


class UntrustedFileRejected(ModelError):
    """The quarantine refused a file from the network."""


class TrainingError(DecloudError):
    """A training failed, or its configuration cannot work."""

    exit_code = 10


class TrainingDiverged(TrainingError):
    """A training produced weights that are not finite."""


class TrainingStopped(TrainingError):
    """A training stopped on request and wrote a checkpoint, from which the next start resumes."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class ExecutorUnavailable(TrainingError):
    """The training machines cannot be reached or have no free resources. The training has not started."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


class JournalError(DecloudError):
    """The daemon's journal cannot be read or written."""

    exit_code = 11


class JournalLocked(JournalError):
    """Another daemon is using this journal."""


class LocalnetError(DecloudError):
    """The local network cannot start or continue."""

    exit_code = 12


class RoundError(DecloudError):
    """The round is not in a state that allows the requested step."""

    exit_code = 13


class NotificationError(DecloudError):
    """A message to the user was not delivered."""

    exit_code = 15


class MachineShortage(DecloudError):
    """This machine has run out of disk space, memory, file descriptors or processes, or a child process was killed.

    The cause is the machine, not a file or a round. See `decloud_pl.shortage`.
    """

    exit_code = 16


class AuditError(DecloudError):
    """The evidence file of an audit is invalid, or a new audit on this machine disagrees with it."""

    exit_code = 17


PASSING = (RpcUnavailable, TransactionExpired, StoreUnavailable, ExecutorUnavailable, MachineShortage)
"""Temporary failures. Their messages do not promise a retry. The code that catches the error adds what it will do."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message, without the period at the end."""
    return legible((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")


def no_round(round_id: int) -> RoundError:
    """Return the error for a round that is not on chain."""
    fix = "Run `decloud-trainer list` to see the rounds."
    return RoundError(f"Round {round_id} does not exist on this network.", fix=fix)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the known word most similar to ``word``, or all known words if none is similar."""
    as_known = {_letters(one): one for one in known}.get(_letters(word))  # CIFAR-10 is cifar10
    likely = [one for one in known if one != "none"]  # a misspelled word rarely means "none"
    close = [as_known] if as_known else difflib.get_close_matches(word, likely, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word)).lower()


def unquoted(text: str, where: str) -> str:
    """Return a user's value unchanged, after checking that it is not in quotes.

    Args:
        text: the value.
        where: the name of the setting, variable or file that contains the value, for the error message.

    Raises:
        ConfigError: the value is in quotes. A shell removes quotes, but ``docker --env-file`` keeps them.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ConfigError(f"{where} has quotes around its value.", fix="Remove the quotes.")
    return text
