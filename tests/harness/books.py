"""Account for every lamport of a local network that has stopped."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from pathlib import Path

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.localnet.network import STATE_FILE
from decloud_pl.localnet.program.names import TREASURY

_GENESIS = 900_000_000_000_000
"""The faucet's initial lamports."""
_RENT = 890_880
"""The rent-exempt minimum of an account without data; the treasury has it from the start."""
_SHARE = 900_000_000
"""The trainers' part of a reward of 1 SOL; the only trainer gets all of it."""


def reward_of(dialect: str) -> int:
    """Return what the only trainer of a round with a reward of 1 SOL claims."""
    return _SHARE - _SHARE * get_dialect(dialect).treasury_fee_bps // 10_000


def check_books(home: Path, dialect: str, *, trainer: Pubkey, rounds: int, costs: int) -> None:
    """Check that every lamport is somewhere after rounds with a reward of 1 SOL and one trainer.

    Args:
        home: the network's folder.
        dialect: the network's dialect.
        trainer: the trainer's address.
        rounds: the number of rounds, which are completed and claimed.
        costs: what the trainer's program says that these rounds have cost.
    """
    program, held, fees = get_dialect(dialect), dict[Pubkey, int](), Counter[Pubkey]()
    with contextlib.closing(sqlite3.connect(home / STATE_FILE)) as file:
        for wire, meta in file.execute("SELECT wire, meta FROM transactions"):
            fees[VersionedTransaction.from_bytes(wire).message.account_keys[0]] += json.loads(meta)["fee"]
        for address, lamports in file.execute("SELECT address, lamports FROM accounts"):
            held[Pubkey(address)] = lamports
    assert sum(held.values()) + sum(fees.values()) == _GENESIS + _RENT
    # The validator's part of the reward of 1 SOL pays the treasury's fee as well.
    assert held[TREASURY] - _RENT == rounds * 10**9 * program.treasury_fee_bps // 10_000
    assert costs == fees[trainer] + rounds * program.submission_deposit
    assert [held[program.vault_address(round_id)] for round_id in range(rounds)] == [_RENT] * rounds
