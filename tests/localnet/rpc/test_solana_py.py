"""solana-py against the server: its parser accepts every response."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Commitment
from solana.rpc.models import DataSliceOpts, MemcmpOpts, TxOpts
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction_status import TransactionConfirmationStatus

from decloud_pl.chain.dialects import get_dialect
from tests.localnet.rpc.conftest import LAMPORTS, Rpc

CONFIRMED, FINALIZED = Commitment("confirmed"), Commitment("finalized")


@pytest.fixture
async def client(rpc: Rpc) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(rpc.url, commitment=CONFIRMED) as opened:
        yield opened


async def test_the_cluster(rpc: Rpc, client: AsyncClient) -> None:
    slot = rpc.vm.slot
    assert await client.is_connected()
    assert (await client.get_version()).value.solana_core
    assert str((await client.get_genesis_hash()).value) == rpc.vm.genesis_hash
    assert (await client.get_identity()).value.identity == (await client.get_slot_leader()).value
    assert (await client.get_slot()).value == (await client.get_block_height()).value == slot
    assert (await client.get_slot(FINALIZED)).value == slot - 32
    info = (await client.get_epoch_info()).value
    assert (info.absolute_slot, info.block_height) == (slot, slot)
    assert (await client.get_block_time(slot)).value == int(rpc.clock.now())
    assert (await client.get_first_available_block()).value == 0
    assert (await client.get_minimum_ledger_slot()).value == 0
    assert (await client.get_transaction_count()).value == 1
    assert len((await client.get_recent_performance_samples()).value) == 1
    assert {fee.prioritization_fee for fee in (await client.get_recent_prioritization_fees()).value} == {0}
    latest = (await client.get_latest_blockhash()).value
    assert latest.last_valid_block_height == slot + 150


async def test_accounts(rpc: Rpc, client: AsyncClient) -> None:
    payer, dialect = rpc.payer.pubkey(), get_dialect()
    await rpc.send(rpc.signed([dialect.initialize(payer)]))
    address = dialect.round_counter_address()
    found = (await client.get_account_info(address)).value
    assert found is not None
    assert found.owner == dialect.program_id
    assert len(found.data) > 40
    parsed = (await client.get_account_info_json_parsed(address)).value
    assert parsed is not None
    assert parsed.data == found.data
    part = (await client.get_account_info(address, data_slice=DataSliceOpts(offset=0, length=8))).value
    assert part is not None
    assert part.data == found.data[:8]
    assert (await client.get_account_info(Pubkey.new_unique())).value is None
    several = (await client.get_multiple_accounts([address, Pubkey.new_unique()])).value
    assert [entry and entry.data for entry in several] == [found.data, None]
    filters: list[int | MemcmpOpts] = [len(found.data), MemcmpOpts(offset=0, bytes=str(Pubkey(bytes(32))))]
    assert (await client.get_program_accounts(dialect.program_id, filters=filters)).value == []
    (only,) = (await client.get_program_accounts(dialect.program_id, filters=filters[:1])).value
    assert (only.pubkey, only.account.data) == (address, found.data)
    assert (await client.get_balance(payer)).value == LAMPORTS - 5000 - found.lamports
    assert (await client.get_minimum_balance_for_rent_exemption(len(found.data))).value == found.lamports


async def test_transactions(rpc: Rpc, client: AsyncClient) -> None:
    to = Pubkey.new_unique()
    airdrop = (await client.request_airdrop(to, 1_000_000_000)).value
    transaction = rpc.pay(to)
    message = transaction.message
    assert isinstance(message, MessageV0)
    assert (await client.get_fee_for_message(message)).value == 5000
    simulated = (await client.simulate_transaction(transaction, sig_verify=True)).value
    assert simulated.err is None
    assert simulated.units_consumed
    signature = (await client.send_transaction(transaction, TxOpts(preflight_commitment=CONFIRMED))).value
    assert signature == transaction.signatures[0]
    confirmed = await client.confirm_transaction(signature, CONFIRMED, sleep_seconds=0.01)
    status = confirmed.value[0]
    assert status is not None
    assert status.confirmation_status == TransactionConfirmationStatus.Confirmed
    history = (await client.get_signatures_for_address(to, limit=5)).value
    assert [entry.signature for entry in history] == [signature, airdrop]
    assert history[0].block_time == int(rpc.clock.now())
    again = (await client.get_signatures_for_address(to, before=signature)).value
    assert [entry.signature for entry in again] == [airdrop]
    for encoding in ("json", "jsonParsed", "base64", "base58"):
        landed = (await client.get_transaction(signature, encoding, CONFIRMED, 0)).value
        assert landed is not None
        meta = landed.transaction.meta
        assert meta is not None
        assert (meta.err, meta.fee) == (None, 5000)
        assert meta.log_messages
    assert (await client.get_transaction(Keypair().sign_message(b""))).value is None
    unknown = await client.get_signature_statuses([Keypair().sign_message(b""), signature])
    assert [entry is None for entry in unknown.value] == [True, False]
