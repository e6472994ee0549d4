"""Run the demo with every revision of the program, with an account of every lamport."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.wallet import load_wallet
from decloud_pl.localnet.network import STATE_FILE, LocalNetwork
from decloud_pl.localnet.program import REVISIONS
from decloud_pl.localnet.program.names import TREASURY

GENESIS = 900_000_000_000_000
"""The faucet's initial lamports."""
RENT = 890_880
"""The rent-exempt minimum of an account without data; the treasury has it from the start."""
ROUNDS = dict.fromkeys(REVISIONS, 1) | {REVISIONS[-1]: 2}
"""The number of rounds by revision. One revision shows that a second round follows the first."""
SHARE = 900_000_000
"""The trainers' part of a reward of 1 SOL; the only trainer gets all of it."""


def demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "decloud_pl.cli", "demo", "--home", str(home), "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def books(state: Path) -> tuple[dict[Pubkey, int], Counter[Pubkey]]:
    """Return the lamports of every account in a state file, and the transaction fees by payer."""
    fees: Counter[Pubkey] = Counter()
    with contextlib.closing(sqlite3.connect(state)) as file:
        for wire, meta in file.execute("SELECT wire, meta FROM transactions"):
            fees[VersionedTransaction.from_bytes(wire).message.account_keys[0]] += json.loads(meta)["fee"]
        held = {
            Pubkey(address): lamports for address, lamports in file.execute("SELECT address, lamports FROM accounts")
        }
    return held, fees


@pytest.mark.parametrize(("dialect", "rounds"), ROUNDS.items())
def test_each_round_is_paid_and_every_lamport_is_somewhere(tmp_path: Path, dialect: str, rounds: int) -> None:
    done = demo(tmp_path, "--dialect", dialect, "--rounds", str(rounds))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    program = get_dialect(dialect)
    reward = SHARE - SHARE * program.treasury_fee_bps // 10_000
    assert [(entry["status"], entry["reward_lamports"]) for entry in summary["rounds"]] == [
        ("completed", reward)
    ] * rounds

    held, fees = books(tmp_path / "localnet" / STATE_FILE)
    assert sum(held.values()) + sum(fees.values()) == GENESIS + RENT
    # The validator's part of the reward of 1 SOL pays the treasury's fee as well.
    assert held[TREASURY] - RENT == rounds * 10**9 * program.treasury_fee_bps // 10_000
    trainer = load_wallet(keypair_path=tmp_path / "trainer.json", environ={}).address
    costs = summary["balance_before"] + rounds * reward - summary["balance_after"]
    assert costs == fees[trainer] + rounds * program.submission_deposit
    assert [held[program.vault_address(entry["round_id"])] for entry in summary["rounds"]] == [RENT] * rounds


def test_a_home_of_another_dialect_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with LocalNetwork(tmp_path / "localnet", agents=None, dialect="v1.1"):
        pass
    assert (tmp_path / "localnet" / STATE_FILE).exists()
    done = demo(tmp_path, "--dialect", "v1.2")
    assert done.returncode == 12
    assert "runs v1.1, not v1.2. Start it with --dialect v1.1, or choose another folder with --home." in done.stderr
    assert "Traceback" not in done.stderr
