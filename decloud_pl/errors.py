"""Every exception this package raises on purpose.

::

    DecloudError                    exit code
    ├── UsageError                      2     a command was given wrong arguments
    ├── ConfigError                     3     settings or Hydra configuration
    ├── WalletError                     4     no key, an unreadable key, an unsafe key file
    ├── ChainError                      5     the RPC endpoint or an account behind it
    │   ├── RpcUnavailable                    worth another try
    │   ├── RpcRejected                       the endpoint understood and said no
    │   ├── TransactionExpired                the blockhash ran out before the transaction landed
    │   ├── DecodeError                       bytes that are not the account, event or argument expected
    │   ├── InsufficientFunds                 the wallet cannot pay
    │   └── ProgramError                6     the on-chain program said no
    ├── StoreError                      7     content-addressed storage
    │   ├── InvalidCid
    │   ├── ContentNotFound
    │   ├── IntegrityError                    bytes that do not match their CID
    │   ├── SizeLimitExceeded
    │   ├── StoreRejected                     the store understood and said no
    │   └── StoreUnavailable                  worth another try
    ├── DatasetError                    8
    │   ├── DatasetNotSupported
    │   ├── DatasetNotFound
    │   └── DatasetNotReady                   it is being downloaded
    ├── ModelError                      9
    │   └── UntrustedFileRejected             quarantine refused a file
    ├── TrainingError                  10
    │   ├── TrainingDiverged           10
    │   ├── TrainingStopped            75     asked to stop; goes on from its checkpoint
    │   └── ExecutorUnavailable        69     no machine to train on; worth another try
    ├── JournalError                   11
    │   └── JournalLocked
    ├── LocalnetError                  12
    ├── RoundError                     13     a round that cannot be joined, trained or claimed as asked
    ├── NotificationError              15     a message to the user could not be delivered
    └── MachineShortage                16     this machine has no room, memory or file descriptors; worth another try

Exit codes are part of the public interface: 0 is success, 1 an unexpected failure (a defect), 130 Ctrl-C.
A message is one sentence that says what happened and, after it, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import ClassVar

from decloud_pl.redact import legible, redact

__all__ = [
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
    """Root of the tree.

    Of addresses in it only scheme, host and port are kept: a message is printed, logged, journalled and shown in the
    dashboard, and the rest of an address may be an API key. It may quote a stranger: see `legible`.

    Args:
        message: one sentence that says what happened.
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
    """A command was called with arguments it cannot use."""

    exit_code = 2


class ConfigError(DecloudError):
    """A setting, a preset or a Hydra override is unknown, of the wrong type or out of range."""

    exit_code = 3


class WalletError(DecloudError):
    """No usable private key. The message never contains key material."""

    exit_code = 4


class ChainError(DecloudError):
    """Talking to the chain failed."""

    exit_code = 5


class RpcUnavailable(ChainError):
    """The endpoint did not answer, answered with a server error, or asked to slow down.

    Args:
        retry_after: seconds the endpoint asked to wait, when it did.
    """

    def __init__(self, message: str, *, fix: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class RpcRejected(ChainError):
    """The endpoint understood the request and refused it (a JSON-RPC error object).

    Args:
        code: JSON-RPC error code, for example -32602.
        logs: program log lines of a failed preflight, if the endpoint gave any.
        said: the code and the text that the endpoint refused with.
    """

    def __init__(
        self, message: str, *, fix: str = "", code: int | None = None, logs: tuple[str, ...] = (), said: str = ""
    ) -> None:
        super().__init__(message, fix=fix)
        self.code = code
        self.logs = logs
        self.said = said


class TransactionExpired(ChainError):
    """The block height passed the transaction's last valid one and it did not land."""


class DecodeError(ChainError):
    """Bytes that are not what their place promises: wrong discriminator, owner, length or value."""


class InsufficientFunds(ChainError):
    """The wallet cannot pay a fee, a rent deposit or a reward."""


class ProgramError(ChainError):
    """The on-chain program refused an instruction.

    Args:
        code: the custom program error code, for example 6016.
        name: its name in the program, for example ``RewardAlreadyClaimed``.
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
    """Text or bytes that are not a CID this package can verify."""


class ContentNotFound(StoreError):
    """Nobody who was asked has the content."""


class IntegrityError(StoreError):
    """Bytes do not match the CID they were asked for. They were not handed on."""


class SizeLimitExceeded(StoreError):
    """A file is larger than the configured limit."""


class StoreRejected(StoreError):
    """A store understood the request and refused it: credentials, permissions, a plan's limits, no room.

    Only the user can mend it. The message never contains a credential.

    Args:
        status: the HTTP status of the refusal, where there was one.
    """

    def __init__(self, message: str, *, fix: str = "", status: int | None = None) -> None:
        super().__init__(message, fix=fix)
        self.status = status


class StoreUnavailable(StoreError):
    """A store did not answer or is overloaded.

    Args:
        retry_after: seconds the store asked to wait, when it did.
    """

    def __init__(self, message: str, *, fix: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, fix=fix)
        self.retry_after = retry_after


class DatasetError(DecloudError):
    """A data set cannot be used."""

    exit_code = 8


class DatasetNotSupported(DatasetError):
    """The network knows the data set, this package has no reader for it and no mapping leads to one."""


class DatasetNotFound(DatasetError):
    """The files of a data set are not where they should be."""


class DatasetNotReady(DatasetError):
    """The files of a data set are being downloaded, or a download is to be tried again later."""


class ModelError(DecloudError):
    """A model file or architecture cannot be used."""

    exit_code = 9


class UntrustedFileRejected(ModelError):
    """Quarantine refused a file from the network."""


class TrainingError(DecloudError):
    """Training failed or was configured in a way that cannot work."""

    exit_code = 10


class TrainingDiverged(TrainingError):
    """A training came to weights that are not finite."""


class TrainingStopped(TrainingError):
    """A training was asked to stop and wrote a checkpoint first: started again, it goes on from there."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class ExecutorUnavailable(TrainingError):
    """The machines that train cannot be reached, or have no room: nothing has been tried yet."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


class JournalError(DecloudError):
    """The daemon's journal cannot be read or written."""

    exit_code = 11


class JournalLocked(JournalError):
    """Another daemon is using this journal."""


class LocalnetError(DecloudError):
    """The local network cannot start or go on."""

    exit_code = 12


class RoundError(DecloudError):
    """What a user asked of a round cannot be done as it stands."""

    exit_code = 13


class NotificationError(DecloudError):
    """A message to the user could not be delivered."""

    exit_code = 15


class MachineShortage(DecloudError):
    """This machine has no room on a disk, no memory, no file descriptor or no process left, or killed a child.

    It is the fault of no file and of no round. See `decloud_pl.shortage`.
    """

    exit_code = 16


PASSING = (RpcUnavailable, TransactionExpired, StoreUnavailable, ExecutorUnavailable, MachineShortage)
"""Failures that pass by themselves. Their words promise no retry: who catches one adds what it does."""


def first_line(error: BaseException) -> str:
    """The first line of what another library's exception says, without its full stop."""
    return legible((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")


def nearest(word: str, known: Sequence[str]) -> str:
    """A phrase that names the known word nearest to ``word``, or lists them all; nobody means ``none`` by mistake."""
    as_known = {_letters(one): one for one in known}.get(_letters(word))  # CIFAR-10 is cifar10
    likely = [one for one in known if one != "none"]
    close = [as_known] if as_known else difflib.get_close_matches(word, likely, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word)).lower()


def unquoted(text: str, where: str) -> str:
    """A value that a user wrote, which ``where`` names.

    Raises:
        ConfigError: quotes stand around it. A shell takes them away; ``docker --env-file`` does not.
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ConfigError(f"{where} has quotes around its value.", fix="Write it without them, for they count.")
    return text
