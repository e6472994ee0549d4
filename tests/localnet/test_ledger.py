"""The local network's state on a full disk, in a damaged file, and after a kill."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.clock import ManualClock
from decloud_pl.localnet.rpc.jsonrpc import INTERNAL_ERROR, answer
from decloud_pl.localnet.rpc.transactions import transaction_methods
from decloud_pl.localnet.vm import Vm

SOL = 1_000_000_000
SOMEBODY = Keypair().pubkey()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Disk:
    """Controls the SQLite connections to the chain's state. SQLite's limits apply per connection."""

    def __init__(self) -> None:
        self._connections: list[sqlite3.Connection] = []

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        self._connections.append(_CONNECT(*arguments, **options))
        return self._connections[-1]

    def fill(self, *, free: bool = False) -> None:
        """Lower SQLite's page limit. It fails like a full disk: SQLITE_FULL, with SQLite's own rollback."""
        self._set(f"max_page_count = {1 << 30 if free else 1}")

    def forbid_writing(self) -> None:
        self._set("query_only = 1")

    def _set(self, setting: str) -> None:
        for connection in self._connections:
            connection.execute(f"PRAGMA {setting}")


_CONNECT = sqlite3.connect


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(sqlite3, "connect", made.connect)
    return made


@pytest.fixture
def vm(clock: ManualClock, state: Path, disk: Disk) -> Iterator[Vm]:
    chain = Vm(clock, {}, state=state)
    yield chain
    chain.close()


def airdrop_until_full(vm: Vm, to: Pubkey, disk: Disk) -> int:
    """Send airdrops until the disk is full; return the lamports that arrived."""
    disk.fill()
    for count in range(1000):
        try:
            vm.airdrop(to, SOL)
        except LocalnetError:
            return count * SOL
    pytest.fail("the disk never became full")


def balances(vm: Vm) -> dict[Pubkey, int]:
    """Return the balance of every account in the ledger, including the faucet."""
    return {address: vm.balance(address) for address, _ in vm.ledger.accounts()}


def test_a_transaction_that_cannot_be_kept_has_no_effect(vm: Vm, clock: ManualClock, state: Path, disk: Disk) -> None:
    vm.airdrop(SOMEBODY, SOL)
    arrived = SOL + airdrop_until_full(vm, SOMEBODY, disk)
    assert vm.balance(SOMEBODY) == arrived
    before = balances(vm)
    assert len(before) > 1
    stranger = Keypair().pubkey()
    with pytest.raises(LocalnetError, match="Free disk space"):
        vm.airdrop(stranger, SOL)
    assert vm.account(stranger) is None
    assert balances(vm) == before

    disk.fill(free=True)
    vm.airdrop(stranger, SOL)
    again = Vm(clock, {}, state=state)
    assert (again.balance(SOMEBODY), again.balance(stranger)) == (arrived, SOL)
    assert balances(again) == balances(vm)
    again.close()


def test_time_goes_on_when_the_disk_is_full(
    vm: Vm, clock: ManualClock, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    airdrop_until_full(vm, SOMEBODY, disk)
    disk.forbid_writing()  # a full disk is not enough: the row with the time is only replaced
    slot = vm.slot
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.advance(1)
            vm.advance()
    assert vm.slot > slot
    assert len(caplog.messages) == 1
    assert "cannot be written" in caplog.text


def test_a_full_disk_is_an_answer_and_no_defect(vm: Vm, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    airdrop_until_full(vm, SOMEBODY, disk)
    request = f'{{"jsonrpc": "2.0", "id": 1, "method": "requestAirdrop", "params": ["{SOMEBODY}", {SOL}]}}'
    reply = answer(request, transaction_methods(vm))
    assert reply is not None
    assert "Free disk space" in reply
    assert str(INTERNAL_ERROR) in reply
    assert "Traceback" not in caplog.text


def test_damage_is_one_sentence_and_the_file_is_left(clock: ManualClock, state: Path, tmp_path: Path) -> None:
    chain = Vm(clock, {}, state=state)
    for _ in range(20):
        chain.airdrop(Keypair().pubkey(), SOL)
    chain.close()
    with contextlib.closing(sqlite3.connect(state)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
    pages = state.stat().st_size // size
    refused: list[str] = []
    for page in range(1, pages):
        damaged = tmp_path / f"page {page}.sqlite"
        shutil.copy(state, damaged)
        with damaged.open("r+b") as file:
            file.seek(page * size)
            file.write(b"\xff" * size)
        before = damaged.read_bytes()
        try:
            Vm(clock, {}, state=damaged).close()
        except LocalnetError as error:
            refused.append(str(error))
        assert damaged.read_bytes() == before
    assert len(refused) > pages // 3  # a start does not read the other pages
    assert all(f"{tmp_path}/page " in message and "Choose another folder" in message for message in refused)


def test_what_a_kill_leaves_is_what_the_next_start_has(vm: Vm, clock: ManualClock, state: Path, tmp_path: Path) -> None:
    signatures = [vm.airdrop(SOMEBODY, SOL) for _ in range(20)]
    clock.advance(10)
    vm.advance()
    # A kill flushes and closes no files, so a copy of the files shows what a kill leaves.
    left = tmp_path / "left"
    left.mkdir()
    for file in state.parent.glob("chain.sqlite*"):
        shutil.copy(file, left)
    after = Vm(clock, {}, state=left / state.name)
    assert after.balance(SOMEBODY) == 20 * SOL
    assert all(after.ledger.transaction(str(signature)) is not None for signature in signatures)
    assert (after.slot, after.genesis_hash, after.unix_time) == (vm.slot, vm.genesis_hash, vm.unix_time)
    assert after.blockhash(after.slot) == vm.blockhash(vm.slot)
    after.close()
