"""The client returns typed values, checks owners, and lists all accounts despite a malformed one."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import suppress
from typing import Any

import pytest
from solders.account import Account
from solders.pubkey import Pubkey

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.chain.send import Sender
from decloud_pl.chain.transaction_log import MemoryTransactionLog
from decloud_pl.chain.wallet import Wallet
from decloud_pl.domain import RoundStatus
from decloud_pl.errors import DecodeError

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture
async def rounds(rpc: RpcClient, chain: ChainClient, wallet: Wallet, pace: Any) -> int:
    """Three rounds; the wallet has joined the first."""
    dialect, me = get_dialect(), wallet.address
    sender = Sender(rpc, wallet, dialect, MemoryTransactionLog(), pace=pace)

    async def unknown() -> bool:
        return False

    await sender.send([dialect.initialize(me)], key="initialize", landed=unknown)
    for number in range(3):
        create = dialect.create_round(number, creator=me, model_cid=CID, dataset="fashionmnist", reward_amount=7)
        await sender.send([create], key=f"create:{number}", landed=unknown)
    await sender.send([dialect.claim_round(0, validator=me)], key="claim", landed=unknown)
    await sender.send([dialect.join_round(0, trainer=me)], key="join", landed=unknown)
    return 3


async def test_everything_the_program_keeps(chain: ChainClient, wallet: Wallet, rounds: int) -> None:
    counter = await chain.counter()
    assert counter is not None
    assert counter.count == rounds
    listed = await chain.rounds()
    assert [entry.id for entry in listed] == [0, 1, 2]
    assert (listed[0].status, listed[0].dataset, listed[0].model_cid) == (
        RoundStatus.WAITING_TRAINERS,
        "fashionmnist",
        CID,
    )
    assert await chain.round(1) == listed[1]
    assert await chain.round(99) is None
    assert await chain.rounds_by_id([2, 99, 0]) == {0: listed[0], 2: listed[2]}
    mine = await chain.submissions_of(wallet.address)
    assert [entry.round_id for entry in mine] == [0]
    assert await chain.round_submissions(0) == mine
    assert await chain.submission(0, wallet.address) == mine[0]
    assert await chain.submission(1, wallet.address) is None
    assert await chain.submissions_of(Pubkey.new_unique()) == []


async def test_where_no_endpoint_lists_accounts_rounds_are_read_by_their_numbers(
    chain: ChainClient, endpoint: Any, wallet: Wallet, pace: Any, rounds: int
) -> None:
    listed, mine = await chain.rounds(), await chain.submissions_of(wallet.address)
    endpoint.faults["getProgramAccounts"] = ["410"] * 2
    endpoint.calls.clear()
    assert await chain.rounds() == listed
    assert await chain.submissions_of(wallet.address) == mine
    assert endpoint.calls.count("getProgramAccounts") == 1
    await pace.sleep(600)
    assert await chain.rounds() == listed
    assert await chain.rounds() == listed
    assert endpoint.calls.count("getProgramAccounts") == 2
    await pace.sleep(600)
    endpoint.calls.clear()
    assert await chain.rounds() == listed
    assert endpoint.calls == ["getProgramAccounts"]


async def test_another_account_than_was_asked_for_is_refused(
    chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int
) -> None:
    vm, dialect = endpoint.vm, chain.dialect
    vm.set_account(dialect.round_address(1), vm.account(dialect.round_address(2)))
    place = vm.account(dialect.submission_address(0, wallet.address))
    vm.set_account(dialect.submission_address(1, wallet.address), place)
    with pytest.raises(DecodeError, match="round 2 instead of round 1"):
        await chain.round(1)
    with pytest.raises(DecodeError, match="the wrong submission"):
        await chain.submission(1, wallet.address)
    with pytest.raises(DecodeError):
        await chain.view(1, wallet.address)
    assert set(await chain.rounds_by_id([0, 1, 2])) == {0, 2}


async def test_the_latest_rounds_are_read_as_far_as_is_asked_for(
    chain: ChainClient, endpoint: Any, rounds: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert [round_.id async for round_ in chain.latest_rounds()] == [2, 1, 0]
    assert [round_.id async for round_ in chain.latest_rounds(2)] == [2, 1]
    now = await chain.rpc.clock()
    is_open, count = await chain.open_rounds(now)
    assert ([round_.id for round_ in is_open], count) == ([0, 1, 2], 3)
    assert await chain.open_rounds(now + 2 * 86_400) == ([], 3)
    endpoint.calls.clear()
    counter = endpoint.vm.account(chain.dialect.round_counter_address())
    data = bytearray(counter.data)
    data[8:16] = (3_000_000).to_bytes(8, "little")
    endpoint.vm.set_account(
        chain.dialect.round_counter_address(), Account(counter.lamports, bytes(data), counter.owner)
    )
    found = await chain.counter()
    assert found is not None
    assert found.count == 3_000_000
    with caplog.at_level(logging.WARNING):
        assert await chain.open_rounds(now) == ([], 0)
    assert "Cannot read any of the 1000 rounds below number 3000000." in caplog.text
    assert endpoint.calls.count("getMultipleAccounts") == 10


async def test_many_rounds_take_few_requests(chain: ChainClient, endpoint: Any, rounds: int) -> None:
    endpoint.calls.clear()
    await chain.rounds_by_id(range(250))
    assert endpoint.calls == ["getMultipleAccounts"] * 3


async def test_an_account_of_another_program_is_refused(chain: ChainClient, endpoint: Any, rounds: int) -> None:
    address = chain.dialect.round_address(1)
    account = endpoint.vm.account(address)
    endpoint.vm.set_account(address, Account(account.lamports, account.data, Pubkey.new_unique()))
    with pytest.raises(DecodeError, match="belongs to"):
        await chain.round(1)
    assert set(await chain.rounds_by_id([0, 1, 2])) == {0, 2}


async def test_an_account_that_cannot_be_decoded_hides_no_other(
    chain: ChainClient, endpoint: Any, rounds: int, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Account(10**9, get_dialect().rounds_filter()[0][1] + b"\x01", get_dialect().program_id)
    address = Pubkey.new_unique()
    endpoint.vm.set_account(address, odd)
    with caplog.at_level(logging.WARNING):
        assert len(await chain.rounds()) == rounds
    assert "Skipped the account" in caplog.text


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
async def test_an_impossible_round_number_is_refused(
    number: int, chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int
) -> None:
    vm, dialect, me = endpoint.vm, chain.dialect, wallet.address
    copies = {
        dialect.round_address(number): dialect.round_address(0),
        dialect.submission_address(number, me): dialect.submission_address(0, me),
    }
    for place, original in copies.items():
        account = vm.account(original)
        data = account.data[:8] + number.to_bytes(8, "little") + account.data[16:]
        vm.set_account(place, Account(account.lamports, data, account.owner))
    for asked in (chain.round(number), chain.view(number, me), chain.submission(number, me)):
        with pytest.raises(DecodeError, match=f"the impossible round number {number}"):
            await asked
    assert await chain.rounds_by_id([number]) == {}
    assert [round_.id for round_ in await chain.rounds()] == [0, 1, 2]
    assert [submission.round_id for submission in await chain.submissions_of(me)] == [0]
    assert await chain.round_submissions(number) == []


async def test_an_impossible_share_is_refused(chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int) -> None:
    vm, place = endpoint.vm, chain.dialect.submission_address(0, wallet.address)
    account, real = vm.account(place), await chain.submission(0, wallet.address)
    assert real is not None
    wrong = dataclasses.replace(real, contribution_bps=10_001)
    share = (10_001).to_bytes(2, "little")

    def forged(at: int) -> bytes:
        return bytes(account.data[:at] + share + account.data[at + 2 :])

    def is_wrong(data: bytes) -> bool:
        with suppress(DecodeError):
            return chain.dialect.decode_submission(data) == wrong
        return False

    data = next(one for one in map(forged, range(8, len(account.data) - 1)) if is_wrong(one))
    vm.set_account(place, Account(account.lamports, data, account.owner))
    with pytest.raises(DecodeError, match="the impossible share of 10001 basis points"):
        await chain.submission(0, wallet.address)
    assert await chain.round_submissions(0) == []


async def test_an_impossible_reward_is_refused(chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int) -> None:
    vm, place = endpoint.vm, chain.dialect.round_address(1)
    account, real = vm.account(place), (await chain.round(1))
    assert real is not None
    was, forged = real.reward_amount.to_bytes(8, "little"), (10**18 + 1).to_bytes(8, "little")
    assert account.data.count(was) == 1
    vm.set_account(place, Account(account.lamports, account.data.replace(was, forged), account.owner))
    with pytest.raises(DecodeError, match=f"the impossible reward of {10**18 + 1} lamports"):
        await chain.view(1, wallet.address)
    assert [round_.id for round_ in await chain.rounds()] == [0, 2]


async def test_the_submissions_of_others_are_left_out_also_if_an_endpoint_ignores_the_filter(
    chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int
) -> None:
    endpoint.faults["getProgramAccounts"] = ["unfiltered"] * 3
    assert len(await chain.submissions_of(wallet.address)) == 1
    assert await chain.submissions_of(Pubkey.new_unique()) == []
    assert await chain.round_submissions(1) == []


async def test_lamports_sent_to_an_address_do_not_make_an_account(
    chain: ChainClient, endpoint: Any, wallet: Wallet, rounds: int
) -> None:
    endpoint.vm.airdrop(chain.dialect.submission_address(1, wallet.address), 10**9)
    assert await chain.submission(1, wallet.address) is None
