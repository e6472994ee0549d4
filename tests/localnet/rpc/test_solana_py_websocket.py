"""solana-py's WebSocket client against the server: it hears of what it asked for, and of no more when it has enough."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

import base58
import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment
from solana.rpc.models import DataSliceOpts, MemcmpOpts, TxOpts
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.rpc.config import RpcTransactionLogsFilter, RpcTransactionLogsFilterMentions
from solders.transaction import VersionedTransaction
from solders.transaction_status import InstructionErrorFieldless, TransactionErrorInstructionError

from decloud_pl.chain.dialects.v1 import V1, decode_round
from decloud_pl.chain.dialects.v1.events import RoundCreated
from decloud_pl.domain import RoundStatus
from tests.localnet.rpc.conftest import Rpc

CONFIRMED, FINALIZED = Commitment("confirmed"), Commitment("finalized")
MODEL_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
PATIENCE = 10


class Listener:
    """The subscriptions of one connection, the same for both forms of solana-py's client that the project installs.

    Until 0.38 (the last one for Python 3.10) it answered a subscription with the request's number and let the caller
    find the server's; later ones give a handle.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._old = not hasattr(client, "unsubscribe")
        self._kinds: dict[int, str] = {}
        self._received: list[Any] = []

    async def subscribe(self, kind: str, **arguments: Any) -> int:
        """The subscription's number at the server."""
        handle = await getattr(self._client, f"{kind}_subscribe")(**arguments)
        number = int((await self._answer(handle)) if self._old else handle.subscription_id)
        self._kinds[number] = kind
        return number

    async def unsubscribe(self, number: int) -> None:
        if self._old:
            await getattr(self._client, f"{self._kinds[number]}_unsubscribe")(number)
            assert await self._answer() is True
        else:
            await self._client.unsubscribe(self._client._subscriptions[number])

    async def notification(self, number: int) -> Any:
        """The result of the subscription's next notification; those of others are passed over."""
        while True:
            message = await self._next()
            if message.subscription == number:
                return message.result

    async def _answer(self, request: int | None = None) -> Any:
        while True:
            message = await self._next()
            if not hasattr(message, "subscription") and request in (None, message.id):
                return message.result

    async def _next(self) -> Any:
        while not self._received:
            received = await asyncio.wait_for(self._client.recv(), PATIENCE)
            self._received = received if isinstance(received, list) else [received]
        return self._received.pop(0)


@pytest.fixture
async def listener(rpc: Rpc) -> AsyncIterator[Listener]:
    websocket_api: Any = importlib.import_module("solana.rpc.websocket_api")
    connect = getattr(websocket_api, "SolanaWsClient", None) or websocket_api.connect
    async with connect(rpc.ws_url) as client:
        yield Listener(client)


@pytest.fixture
async def client(rpc: Rpc) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(rpc.url, commitment=CONFIRMED) as opened:
        yield opened


async def send(client: AsyncClient, transaction: VersionedTransaction) -> str:
    return str((await client.send_transaction(transaction, TxOpts(preflight_commitment=CONFIRMED))).value)


def creation(rpc: Rpc, round_id: int) -> VersionedTransaction:
    create = V1().create_round(
        round_id, creator=rpc.payer.pubkey(), model_cid=MODEL_CID, dataset="mnist", reward_amount=5_000_000
    )
    return rpc.signed([create])


def memcmp(offset: int, data: bytes) -> int | MemcmpOpts:
    return MemcmpOpts(offset=offset, bytes=base58.b58encode(data).decode())


def rounds() -> list[int | MemcmpOpts]:
    """Filters that only rounds pass."""
    return [memcmp(offset, data) for offset, data in V1().rounds_filter()]


async def test_a_round_is_created_read_back_and_its_event_heard(
    rpc: Rpc, client: AsyncClient, listener: Listener
) -> None:
    dialect, creator = V1(), rpc.payer.pubkey()
    await send(client, rpc.signed([dialect.initialize(creator)]))
    mentions = RpcTransactionLogsFilterMentions(dialect.program_id)
    subscription = await listener.subscribe("logs", filter_=mentions, commitment=CONFIRMED)
    await send(client, rpc.pay(Pubkey.new_unique()))  # mentions another program
    signature = await send(client, creation(rpc, 0))

    filters = [*rounds(), memcmp(8, (0).to_bytes(8, "little"))]
    found = await client.get_program_accounts(dialect.program_id, encoding="base64", filters=filters)
    (entry,) = found.value
    assert entry.pubkey == dialect.round_address(0)
    created = decode_round(bytes(entry.account.data))
    assert (created.id, created.creator, created.model_cid) == (0, creator, MODEL_CID)
    assert (created.dataset, created.reward_amount) == ("mnist", 5_000_000)
    assert created.status is RoundStatus.WAITING_VALIDATOR

    heard = await listener.notification(subscription)
    assert heard.context.slot == rpc.vm.slot
    assert (str(heard.value.signature), heard.value.err) == (signature, None)
    assert list(dialect.events(heard.value.logs)) == [
        RoundCreated(0, creator, MODEL_CID, "mnist", 5_000_000, created.validator_deadline)
    ]


async def test_all_logs_until_unsubscribed(rpc: Rpc, client: AsyncClient, listener: Listener) -> None:
    everything = await listener.subscribe("logs", filter_=RpcTransactionLogsFilter.All, commitment=CONFIRMED)
    slots = await listener.subscribe("slot")
    first = await send(client, rpc.pay(Pubkey.new_unique()))
    heard = (await listener.notification(everything)).value
    assert str(heard.signature) == first
    assert heard.logs[-1] == "Program 11111111111111111111111111111111 success"
    await listener.unsubscribe(everything)
    await send(client, rpc.pay(Pubkey.new_unique()))
    rpc.pass_slots(1)
    # Whatever the server had to say about that transaction would have come before the slot.
    assert (await only_of(listener, slots)).slot == rpc.vm.slot


async def only_of(listener: Listener, number: int) -> Any:
    """The next notification, which has to be of this subscription."""
    message = await listener._next()
    assert message.subscription == number
    return message.result


async def test_an_account(rpc: Rpc, client: AsyncClient, listener: Listener) -> None:
    to = Pubkey.new_unique()
    subscription = await listener.subscribe("account", pubkey=to, commitment=CONFIRMED, encoding="base64")
    slots = await listener.subscribe("slot")
    await send(client, rpc.pay(to, 1_000_000))
    await send(client, rpc.pay(Pubkey.new_unique()))
    await send(client, rpc.pay(to, 2_000_000))
    for lamports in (1_000_000, 3_000_000):
        heard = await only_of(listener, subscription)
        assert heard.context.slot == rpc.vm.slot
        assert (heard.value.lamports, heard.value.owner, heard.value.data) == (lamports, Pubkey.default(), b"")
    await listener.unsubscribe(subscription)
    await send(client, rpc.pay(to, 3_000_000))
    rpc.pass_slots(1)
    assert (await only_of(listener, slots)).slot == rpc.vm.slot


async def test_a_programs_accounts(rpc: Rpc, client: AsyncClient, listener: Listener) -> None:
    dialect, payer = V1(), rpc.payer.pubkey()
    await send(client, rpc.signed([dialect.initialize(payer)]))
    subscription = await listener.subscribe(
        "program",
        program_id=dialect.program_id,
        commitment=CONFIRMED,
        encoding="base64",
        filters=[*rounds(), memcmp(8, (1).to_bytes(8, "little"))],
    )
    creators = await listener.subscribe(
        "program",
        program_id=dialect.program_id,
        commitment=CONFIRMED,
        encoding="base64",
        data_slice=DataSliceOpts(offset=16, length=32),
        filters=[memcmp(16, bytes(payer))],
    )
    await send(client, creation(rpc, 0))
    await send(client, creation(rpc, 1))
    # The counter, which each creation writes too, holds the payer at the same offset.
    sliced = [(await only_of(listener, creators)).value for _ in range(2)]
    assert {entry.pubkey for entry in sliced} == {dialect.round_counter_address(), dialect.round_address(0)}
    assert {bytes(entry.account.data) for entry in sliced} == {bytes(payer)}
    whole = (await listener.notification(subscription)).value
    assert whole.pubkey == dialect.round_address(1)
    assert decode_round(bytes(whole.account.data)).id == 1
    await listener.unsubscribe(creators)
    await listener.unsubscribe(subscription)


async def test_a_signature_before_and_after_it_landed(rpc: Rpc, client: AsyncClient, listener: Listener) -> None:
    # No custom error: solders cannot read one in this kind of notification.
    transaction = rpc.signed([Instruction(Pubkey.default(), b"no instruction of this program", [])])
    signature = transaction.signatures[0]
    early = await listener.subscribe("signature", signature=signature, commitment=CONFIRMED)
    await client.send_transaction(transaction, TxOpts(skip_preflight=True))
    heard = await listener.notification(early)
    assert heard.context.slot == rpc.vm.slot
    assert heard.value.err == TransactionErrorInstructionError(0, InstructionErrorFieldless.InvalidInstructionData)
    late = await listener.subscribe("signature", signature=signature, commitment=CONFIRMED)
    assert (await listener.notification(late)).value.err == heard.value.err
    never = await listener.subscribe("signature", signature=rpc.pay(Pubkey.new_unique()).signatures[0])
    await listener.unsubscribe(never)


async def test_a_signature_that_becomes_final(rpc: Rpc, client: AsyncClient, listener: Listener) -> None:
    transaction = rpc.pay(Pubkey.new_unique())
    slots = await listener.subscribe("slot")
    final = await listener.subscribe("signature", signature=transaction.signatures[0], commitment=FINALIZED)
    await send(client, transaction)
    landed = rpc.vm.slot
    rpc.pass_slots(31)
    assert (await only_of(listener, slots)).slot == landed + 31
    rpc.pass_slots(1)
    assert (await only_of(listener, final)).context.slot == landed
    found = (await client.get_transaction(transaction.signatures[0], "base64", FINALIZED, 0)).value
    assert found is not None


async def test_slots_and_roots(rpc: Rpc, listener: Listener) -> None:
    slots, roots = await listener.subscribe("slot"), await listener.subscribe("root")
    rpc.pass_slots(1)
    heard = await only_of(listener, slots)
    assert (heard.parent, heard.slot, heard.root) == (rpc.vm.slot - 1, rpc.vm.slot, rpc.vm.slot - 32)
    assert await only_of(listener, roots) == rpc.vm.slot - 32
    await listener.unsubscribe(roots)
    for _ in range(2):
        rpc.pass_slots(1)
        assert (await only_of(listener, slots)).slot == rpc.vm.slot
    await listener.unsubscribe(slots)
