"""The parts that all Anchor programs have in common: discriminators, account metas, error codes and event logs."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from solders.instruction import AccountMeta
from solders.pubkey import Pubkey

from decloud_pl.chain.borsh import BorshReader, undecodable
from decloud_pl.errors import DecodeError, InsufficientFunds, ProgramError

if TYPE_CHECKING:
    from decloud_pl.chain.events import Event

logger = logging.getLogger(__name__)

Decoders: TypeAlias = "Mapping[bytes, Callable[[BorshReader], Event]]"
"""Maps the discriminator of an event to the function that reads its fields."""

SYSTEM_PROGRAM_ID = Pubkey.default()
ALREADY_IN_USE = 0
"""Custom error 0 of the system program: the account to create exists. A second join of a round fails with it."""
_INSUFFICIENT_LAMPORTS = 1
_CODES: dict[int, str] = {
    101: "InstructionFallbackNotFound",
    102: "InstructionDidNotDeserialize",
    2000: "ConstraintMut",
    2001: "ConstraintHasOne",
    2006: "ConstraintSeeds",
    2012: "ConstraintAddress",
    3001: "AccountDiscriminatorNotFound",
    3002: "AccountDiscriminatorMismatch",
    3005: "AccountNotEnoughKeys",
    3007: "AccountOwnedByWrongProgram",
    3008: "InvalidProgramId",
    3009: "InvalidProgramExecutable",
    3010: "AccountNotSigner",
    3011: "AccountNotSystemOwned",
    3012: "AccountNotInitialized",
}
LAYOUT_ERRORS = (101, 3005, 3008, 3009, 3010, 3011)
"""Codes for an instruction that the program lacks, or that expects other accounts. In the second case, another account
is in the place of the system program, the signer or a wallet.
"""
_DATA_PREFIX = "Program data: "


def discriminator(namespace: str, name: str) -> bytes:
    """Return the 8 bytes by which Anchor marks the type of an account, an instruction or an event.

    They are ``sha256("<namespace>:<name>")[:8]``.
    """
    return sha256(f"{namespace}:{name}".encode()).digest()[:8]


def open_account(data: bytes, name: str) -> BorshReader:
    """Check the discriminator of an account and return a reader of its fields.

    Raises:
        DecodeError: the account has another discriminator, or has fewer than 8 bytes.
    """
    reader = BorshReader(data, name)
    if reader.take(8) != discriminator("account", name):
        raise undecodable(f"The bytes are not a {name} account: the discriminator differs.")
    return reader


def readonly(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=False)


def writable(address: Pubkey) -> AccountMeta:
    return AccountMeta(address, is_signer=False, is_writable=True)


def payer(address: Pubkey) -> AccountMeta:
    """Return the account meta for an account that signs the transaction and can be written."""
    return AccountMeta(address, is_signer=True, is_writable=True)


def too_few_lamports() -> InsufficientFunds:
    """Return the error for a wallet that cannot pay for a transaction."""
    return InsufficientFunds(
        "The wallet has too few lamports for this transaction.", fix="Send some SOL to the wallet."
    )


def error_from_code(
    code: int, logs: tuple[str, ...], meanings: Mapping[IntEnum, str]
) -> ProgramError | InsufficientFunds:
    """Return the typed error for a custom error code.

    Args:
        code: an error code that the program, Anchor or the system program defines.
        logs: the log lines of the transaction.
        meanings: maps each of the program's own codes to a text that completes "The program refused: …".
    """
    if code == _INSUFFICIENT_LAMPORTS:
        return too_few_lamports()
    if code == ALREADY_IN_USE:
        return ProgramError(
            "The account to create already exists. This wallet has probably joined the round before.",
            code=code,
            name="AccountAlreadyInUse",
            logs=logs,
        )
    for own, meaning in meanings.items():
        if own == code:
            message = f"The program refused: {meaning} ({own.name}, {code})."
            return ProgramError(message, code=code, name=own.name, logs=logs)
    name = _CODES.get(code, f"Custom{code}")
    fix = "Check that network.program_id is the DECLOUD program of this network."
    if code in LAYOUT_ERRORS:
        fix = "Set network.dialect=auto, because the program may have another revision, or correct network.program_id."
    return ProgramError(
        f"The program refused the instruction ({name}, {code}).",
        code=code,
        name=name,
        fix=fix,
        logs=logs,
    )


def event_decoders(readers: Mapping[type[Event], Callable[[BorshReader], Event]]) -> Decoders:
    """Map each event's discriminator, which Anchor derives from the name of the event, to the event's reader."""
    return {discriminator("event", kind.__name__): read for kind, read in readers.items()}


def events_in_logs(logs: Iterable[str], program_id: Pubkey, decoders: Decoders) -> Iterator[Event]:
    """Yield the events that a program wrote as ``Program data: <base64>`` lines, in order.

    Another program in the same transaction can write any ``Program data`` line. So this function follows the call
    stack in the ``invoke``/``success``/``failed`` lines and skips the lines of other programs. It also skips events
    without a decoder, and logs a warning for events that it cannot decode. It ignores bytes after the last field of an
    event, because a later revision may add fields.

    Args:
        logs: the log lines of one transaction.
        program_id: the program that wrote the events.
        decoders: decode the events; see `Decoders`.
    """
    own = str(program_id)
    stack: list[str] = []
    for line in logs:
        if line.startswith(_DATA_PREFIX):
            if stack and stack[-1] == own:
                try:
                    yield from _event_of_line(line, decoders)
                except DecodeError as error:
                    logger.warning("Skipped an event of the program: %s", error)
            continue
        # Only the runtime writes "Program <id> ...". The output of a program begins with "Program log: ".
        words = line.split(" ")
        if len(words) < 3 or words[0] != "Program":
            continue
        if words[2] == "invoke":
            stack.append(words[1])
        elif stack and words[1] == stack[-1] and (words[2] == "success" or words[2].startswith("failed")):
            stack.pop()


def _event_of_line(line: str, decoders: Decoders) -> Iterator[Event]:
    try:
        data = base64.b64decode(line[len(_DATA_PREFIX) :], validate=True)
    except binascii.Error as error:
        raise DecodeError("A log line of the program has data that is not base64.") from error
    decode = decoders.get(data[:8])
    if decode is not None:
        yield decode(BorshReader(data[8:], "Event"))
