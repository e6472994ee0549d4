"""The fee of a transaction (https://solana.com/docs/core/fees)."""

from __future__ import annotations

from solders.message import Message, MessageV0

LAMPORTS_PER_SIGNATURE = 5000
_COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111"
_BUILTINS = ("11111111111111111111111111111111", _COMPUTE_BUDGET)
_BUILTIN_UNITS = 3_000
_PROGRAM_UNITS = 200_000
_MOST_UNITS = 1_400_000


def fee_of(message: Message | MessageV0) -> int:
    """Return the fee in lamports: the base fee for every signature, plus the priority fee."""
    return LAMPORTS_PER_SIGNATURE * message.header.num_required_signatures + _priority(message)


def _priority(message: Message | MessageV0) -> int:
    """Return the priority fee in lamports that the message's compute-budget instructions request."""
    asked, usual, price = None, 0, 0
    for instruction in message.instructions:
        program = str(message.account_keys[instruction.program_id_index])
        data = bytes(instruction.data)
        usual += _BUILTIN_UNITS if program in _BUILTINS else _PROGRAM_UNITS
        if program != _COMPUTE_BUDGET or not data:
            continue
        if data[0] == 2:
            asked = int.from_bytes(data[1:5], "little")
        elif data[0] == 3:
            price = int.from_bytes(data[1:9], "little")
    limit = min(_MOST_UNITS, usual if asked is None else asked)
    return -(-price * limit // 1_000_000)
