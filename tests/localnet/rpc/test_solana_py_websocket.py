"""solana-py's WebSocket client against the server: subscriptions, their notifications, and the end of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import base58
import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment
from solana.rpc.models import DataSliceOpts, MemcmpOpts, TxOpts
from solana.rpc.websocket_api import SolanaWsClient, Subscription
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilter, RpcTransactionLogsFilterMentions
from solders.transaction import VersionedTransaction
from solders.transaction_status import InstructionErrorFieldless, TransactionErrorInstructionError

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.events import RoundCreated
from decloud_pl.domain import RoundStatus
from tests.localnet.rpc.conftest import Rpc

CONFIRMED, FINALIZED = Commitment("confirmed"), Commitment("finalized")
MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
PATIENCE = 10


@pytest.fixture
async def websocket(rpc: Rpc) -> AsyncIterator[SolanaWsClient]:
    async with SolanaWsClient(rpc.ws_url) as opened:
        yield opened


async def heard(websocket: SolanaWsClient) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await websocket.recv()


async def notification(websocket: SolanaWsClient, subscription: Subscription) -> Any:
    """Return the result of the subscription's next notification, skipping those of other subscriptions."""
    while (message := await heard(websocket)).subscription != subscription.subscription_id:
        pass
    return message.result


@pytest.fixture
async def client(rpc: Rpc) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(rpc.url, commitment=CONFIRMED) as opened:
        yield opened


async def send(client: AsyncClient, transaction: VersionedTransaction) -> str:
    return str((await client.send_transaction(transaction, TxOpts(preflight_commitment=CONFIRMED))).value)


def creation(rpc: Rpc, round_id: int) -> VersionedTransaction:
    create = get_dialect().create_round(
        round_id, creator=rpc.payer.pubkey(), model_cid=MODEL_CID, dataset="mnist", reward_amount=5_000_000
    )
    return rpc.signed([create])


def memcmp(offset: int, data: bytes) -> int | MemcmpOpts:
    return MemcmpOpts(offset=offset, bytes=base58.b58encode(data).decode())


def rounds() -> list[int | MemcmpOpts]:
    """Return filters that match only rounds."""
    return [memcmp(offset, data) for offset, data in get_dialect().rounds_filter()]


async def test_a_round_is_created_read_back_and_its_event_heard(
    rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient
) -> None:
    dialect, creator = get_dialect(), rpc.payer.pubkey()
    await send(client, rpc.signed([dialect.initialize(creator)]))
    mentions = RpcTransactionLogsFilterMentions(dialect.program_id)
    subscription = await websocket.logs_subscribe(filter_=mentions, commitment=CONFIRMED)
    await send(client, rpc.pay(Pubkey.new_unique()))  # mentions another program
    signature = await send(client, creation(rpc, 0))

    filters = [*rounds(), memcmp(8, (0).to_bytes(8, "little"))]
    found = await client.get_program_accounts(dialect.program_id, encoding="base64", filters=filters)
    (entry,) = found.value
    assert entry.pubkey == dialect.round_address(0)
    created = get_dialect().decode_round(bytes(entry.account.data))
    assert (created.id, created.creator, created.model_cid) == (0, creator, MODEL_CID)
    assert (created.dataset, created.reward_amount) == ("mnist", 5_000_000)
    assert created.status is RoundStatus.WAITING_VALIDATOR

    heard = await notification(websocket, subscription)
    assert heard.context.slot == rpc.vm.slot
    assert (str(heard.value.signature), heard.value.err) == (signature, None)
    (event,) = dialect.events(heard.value.logs)
    assert isinstance(event, RoundCreated)
    assert event.round_id == 0


async def test_all_logs_until_unsubscribed(rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient) -> None:
    everything = await websocket.logs_subscribe(filter_=RpcTransactionLogsFilter.All, commitment=CONFIRMED)
    slots = await websocket.slot_subscribe()
    first = await send(client, rpc.pay(Pubkey.new_unique()))
    heard = (await notification(websocket, everything)).value
    assert str(heard.signature) == first
    assert heard.logs[-1] == "Program 11111111111111111111111111111111 success"
    await websocket.unsubscribe(everything)
    await send(client, rpc.pay(Pubkey.new_unique()))
    rpc.pass_slots(1)
    # A notification of that transaction would have arrived before the notification of the slot.
    assert (await only_of(websocket, slots)).slot == rpc.vm.slot


async def only_of(websocket: SolanaWsClient, subscription: Subscription) -> Any:
    """Return the next notification, which must belong to this subscription."""
    message = await heard(websocket)
    assert message.subscription == subscription.subscription_id
    return message.result


async def test_an_account(rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient) -> None:
    to = Pubkey.new_unique()
    subscription = await websocket.account_subscribe(pubkey=to, commitment=CONFIRMED, encoding="base64")
    slots = await websocket.slot_subscribe()
    await send(client, rpc.pay(to, 1_000_000))
    await send(client, rpc.pay(Pubkey.new_unique()))
    await send(client, rpc.pay(to, 2_000_000))
    for lamports in (1_000_000, 3_000_000):
        heard = await only_of(websocket, subscription)
        assert heard.context.slot == rpc.vm.slot
        assert (heard.value.lamports, heard.value.owner, heard.value.data) == (lamports, Pubkey.default(), b"")
    await websocket.unsubscribe(subscription)
    await send(client, rpc.pay(to, 3_000_000))
    rpc.pass_slots(1)
    assert (await only_of(websocket, slots)).slot == rpc.vm.slot


async def test_a_programs_accounts(rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient) -> None:
    dialect, payer = get_dialect(), rpc.payer.pubkey()
    await send(client, rpc.signed([dialect.initialize(payer)]))
    subscription = await websocket.program_subscribe(
        program_id=dialect.program_id,
        commitment=CONFIRMED,
        encoding="base64",
        filters=[*rounds(), memcmp(8, (1).to_bytes(8, "little"))],
    )
    creators = await websocket.program_subscribe(
        program_id=dialect.program_id,
        commitment=CONFIRMED,
        encoding="base64",
        data_slice=DataSliceOpts(offset=16, length=32),
        filters=[memcmp(16, bytes(payer))],
    )
    await send(client, creation(rpc, 0))
    await send(client, creation(rpc, 1))
    # The counter, which every creation also writes, has the payer at the same offset.
    sliced = [(await only_of(websocket, creators)).value for _ in range(2)]
    assert {entry.pubkey for entry in sliced} == {dialect.round_counter_address(), dialect.round_address(0)}
    assert {bytes(entry.account.data) for entry in sliced} == {bytes(payer)}
    whole = (await notification(websocket, subscription)).value
    assert whole.pubkey == dialect.round_address(1)
    assert get_dialect().decode_round(bytes(whole.account.data)).id == 1
    await websocket.unsubscribe(creators)
    await websocket.unsubscribe(subscription)


async def test_a_signature_before_and_after_it_landed(rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient) -> None:
    # Not a custom error: solders cannot parse custom errors in this kind of notification.
    transaction = rpc.signed([Instruction(Pubkey.default(), b"no instruction of this program", [])])
    signature = transaction.signatures[0]
    early = await websocket.signature_subscribe(signature=signature, commitment=CONFIRMED)
    await client.send_transaction(transaction, TxOpts(skip_preflight=True))
    heard = await notification(websocket, early)
    assert heard.context.slot == rpc.vm.slot
    assert heard.value.err == TransactionErrorInstructionError(0, InstructionErrorFieldless.InvalidInstructionData)
    late = await websocket.signature_subscribe(signature=signature, commitment=CONFIRMED)
    assert (await notification(websocket, late)).value.err == heard.value.err
    never = await websocket.signature_subscribe(signature=rpc.pay(Pubkey.new_unique()).signatures[0])
    await websocket.unsubscribe(never)


async def test_a_signature_that_becomes_final(rpc: Rpc, client: AsyncClient, websocket: SolanaWsClient) -> None:
    transaction = rpc.pay(Pubkey.new_unique())
    slots = await websocket.slot_subscribe()
    final = await websocket.signature_subscribe(signature=transaction.signatures[0], commitment=FINALIZED)
    await send(client, transaction)
    landed = rpc.vm.slot
    rpc.pass_slots(31)
    assert (await only_of(websocket, slots)).slot == landed + 31
    rpc.pass_slots(1)
    assert (await only_of(websocket, final)).context.slot == landed
    found = (await client.get_transaction(transaction.signatures[0], "base64", FINALIZED, 0)).value
    assert found is not None


async def test_slots_and_roots(rpc: Rpc, websocket: SolanaWsClient) -> None:
    slots, roots = await websocket.slot_subscribe(), await websocket.root_subscribe()
    rpc.pass_slots(1)
    heard = await only_of(websocket, slots)
    assert (heard.parent, heard.slot, heard.root) == (rpc.vm.slot - 1, rpc.vm.slot, rpc.vm.slot - 32)
    assert await only_of(websocket, roots) == rpc.vm.slot - 32
    await websocket.unsubscribe(roots)
    for _ in range(2):
        rpc.pass_slots(1)
        assert (await only_of(websocket, slots)).slot == rpc.vm.slot
    await websocket.unsubscribe(slots)
