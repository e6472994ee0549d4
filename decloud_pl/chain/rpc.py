"""The chain's RPC with typed answers and typed errors, on top of solana-py's `AsyncClient`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import base58
from solders.hash import Hash, ParseHashError
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.endpoint import COMMITMENT, Endpoint, Request
from decloud_pl.chain.endpoints import EndpointPool, RpcHealth
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.chain.refusals import Refusal
from decloud_pl.chain.rpc_errors import not_rpc
from decloud_pl.errors import DecodeError, RpcRejected

if TYPE_CHECKING:
    from solana.rpc.async_api import AsyncClient
    from solders.account import Account as SoldersAccount
    from solders.rpc.responses import GetMultipleAccountsResp, GetSignatureStatusesResp, GetTransactionResp
    from solders.transaction_status import TransactionErrorType

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_CLOCK_SYSVAR_SIZE = 40
ACCOUNTS_PER_REQUEST = 100
HISTORY = "getSignatureStatuses with searchTransactionHistory"
"""What some nodes refuse, which keep no history; the method without it shows what was sent lately."""

T = TypeVar("T")
K = TypeVar("K", Hash, Signature)


@dataclass(frozen=True, slots=True)
class Account:
    """An account's owner, lamports and data."""

    owner: Pubkey
    lamports: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do; ``error`` is None when it would succeed."""

    error: TransactionErrorType | None
    logs: tuple[str, ...]
    units: int


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """How far a transaction has come; ``error`` is None when it succeeded."""

    slot: int
    confirmed: bool
    error: TransactionErrorType | None


@dataclass(frozen=True, slots=True)
class SignatureStatuses:
    """Statuses in the order asked for (None for those that are unknown), as of ``slot``."""

    slot: int
    values: tuple[SignatureStatus | None, ...]


@dataclass(frozen=True, slots=True)
class BlockHeight:
    """The block height that the chain had reached at ``slot``."""

    height: int
    slot: int


class RpcClient:
    """One network. Reads are made at ``commitment`` ``confirmed``: seen by two thirds of the stake.

    Args:
        url: http or https.
        fallbacks: stand in, in this order, while ``url`` does not answer.
        timeout: seconds an endpoint may be silent.
        requests_per_second: for each endpoint, 0 for no limit.
        genesis: the genesis hash that the network must have; empty for any.
        pace: time.

    Every method raises `RpcUnavailable` (worth another try) or `RpcRejected` (the endpoint said no).

    Raises:
        ConfigError: a URL is not an http or https URL.
    """

    def __init__(
        self,
        url: str,
        *,
        fallbacks: Sequence[str] = (),
        timeout: float = 20.0,
        requests_per_second: float = 0.0,
        genesis: str = "",
        pace: Pace | None = None,
    ) -> None:
        self.url = url
        pace = pace or RealPace()
        self._endpoints = EndpointPool(
            [Endpoint(one, timeout=timeout, rate=requests_per_second, pace=pace) for one in (url, *fallbacks)],
            genesis=genesis,
            pace=pace,
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._endpoints.aclose()

    def need(self, slot: int) -> None:
        """From now on takes no answer about an older state of the chain than that at ``slot``."""
        self._endpoints.need(slot)

    async def check_same_network(self) -> str:
        """The network's genesis hash.

        Raises:
            ConfigError: the endpoints belong to different networks, or to another one than was configured.
        """
        return await self._endpoints.check_same_network()

    async def balance(self, address: Pubkey) -> int:
        """Lamports."""
        return (await self._call("getBalance", lambda client: client.get_balance(address))).value

    async def account(self, address: Pubkey) -> Account | None:
        """An account, None when there is none."""
        return _account((await self._call("getAccountInfo", lambda client: client.get_account_info(address))).value)

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[Account | None]:
        """Accounts in the order asked for, None for each that does not exist."""
        found: list[Account | None] = []
        for start in range(0, len(addresses), ACCOUNTS_PER_REQUEST):
            part = list(addresses[start : start + ACCOUNTS_PER_REQUEST])
            answer = await self._call("getMultipleAccounts", partial(_get_multiple_accounts, part))
            if len(answer.value) != len(part):
                raise DecodeError(
                    f"The RPC endpoint {self._host} answered for {len(answer.value)} accounts, not {len(part)}."
                )
            found.extend(_account(value) for value in answer.value)
        return found

    async def program_accounts(
        self, program_id: Pubkey, filters: Iterable[tuple[int, bytes]]
    ) -> list[tuple[Pubkey, Account]]:
        """A program's accounts whose data holds the given bytes at the given offsets."""
        from solana.rpc.models import MemcmpOpts

        conditions = [MemcmpOpts(offset=offset, bytes=base58.b58encode(data).decode()) for offset, data in filters]
        answer = await self._call(
            "getProgramAccounts",
            lambda client: client.get_program_accounts(program_id, encoding="base64", filters=conditions),
            replaceable=True,
        )
        return [
            (entry.pubkey, Account(entry.account.owner, entry.account.lamports, bytes(entry.account.data)))
            for entry in answer.value
        ]

    async def clock(self) -> int:
        """Unix seconds of the chain's clock, which is what the program compares deadlines with.

        Raises:
            DecodeError: the endpoint has no clock to show.
        """
        return clock_of(await self.account(CLOCK_SYSVAR))

    async def latest_blockhash(self) -> tuple[Hash, int]:
        """A fresh blockhash and the last block height at which it is good."""
        value = (await self._call("getLatestBlockhash", lambda client: client.get_latest_blockhash())).value
        return self._parsed(Hash, value, "blockhash"), value.last_valid_block_height

    async def block_height(self) -> BlockHeight:
        value = (await self._call("getEpochInfo", lambda client: client.get_epoch_info())).value
        return BlockHeight(value.block_height, value.absolute_slot)

    async def rent_exempt_minimum(self, size: int) -> int:
        """Lamports that an account of ``size`` bytes must hold."""
        return (
            await self._call(
                "getMinimumBalanceForRentExemption", lambda client: client.get_minimum_balance_for_rent_exemption(size)
            )
        ).value

    async def priority_fees(self, addresses: Sequence[Pubkey]) -> list[int]:
        """What recent transactions that wrote these accounts paid, in micro-lamports per compute unit."""
        answer = await self._call(
            "getRecentPrioritizationFees",
            lambda client: client.get_recent_prioritization_fees(list(addresses)),
            replaceable=True,
        )
        return [fee.prioritization_fee for fee in answer.value]

    async def signature_statuses(self, signatures: Sequence[Signature]) -> SignatureStatuses:
        """How far each transaction has come, None for those the endpoint does not know."""
        from solders.transaction_status import TransactionConfirmationStatus as Level

        async def ask(client: AsyncClient, *, history: bool) -> GetSignatureStatusesResp:
            return await client.get_signature_statuses(list(signatures), search_transaction_history=history)

        try:
            answer = await self._call(HISTORY, partial(ask, history=True), replaceable=True)
        except RpcRejected:
            # What was sent lately can still be seen.
            answer = await self._call("getSignatureStatuses", partial(ask, history=False))
        good = (Level.Confirmed, Level.Finalized)
        found = tuple(
            None if status is None else SignatureStatus(status.slot, status.confirmation_status in good, status.err)
            for status in answer.value
        )
        if len(found) != len(signatures):
            raise DecodeError(
                f"The RPC endpoint {self._host} answered for {len(found)} signatures, not {len(signatures)}."
            )
        return SignatureStatuses(answer.context.slot, found)

    async def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Runs a transaction without effect."""
        value = (await self._call("simulateTransaction", lambda client: client.simulate_transaction(transaction))).value
        return Simulation(value.err, tuple(value.logs or ()), value.units_consumed or 0)

    async def recent_instructions(self, program_id: Pubkey, signatures: int, transactions: int) -> list[Instruction]:
        """What was sent to a program with success, the latest first.

        Args:
            program_id: of the program.
            signatures: how many transactions to look through.
            transactions: how many of those that succeeded to read.
        """
        from solders.transaction_status import EncodedTransactionWithStatusMeta

        answer = await self._call(
            "getSignaturesForAddress",
            lambda client: client.get_signatures_for_address(program_id, limit=signatures),
            replaceable=True,
        )
        found: list[Instruction] = []
        for entry in [entry for entry in answer.value if entry.err is None][:transactions]:
            signature = self._parsed(Signature, entry, "signature")
            read = (await self._call("getTransaction", partial(_get_transaction, signature), replaceable=True)).value
            if read is None or not isinstance(read.transaction, EncodedTransactionWithStatusMeta):
                continue
            sent = read.transaction.transaction
            if isinstance(sent, VersionedTransaction):
                found += _instructions(sent, program_id)
        return found

    async def send_raw(self, wire: bytes, *, preflight: bool) -> Signature:
        """Hands a signed transaction in; that says nothing about whether it lands.

        Raises:
            PreflightFailure: the endpoint simulated it and it failed.
        """
        from solana.rpc.commitment import Commitment
        from solana.rpc.models import TxOpts

        options = TxOpts(skip_preflight=not preflight, preflight_commitment=Commitment(COMMITMENT), max_retries=0)
        return (await self._call("sendTransaction", lambda client: client.send_raw_transaction(wire, options))).value

    async def request_airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """Asks a test network's faucet for lamports."""
        return (await self._call("requestAirdrop", lambda client: client.request_airdrop(address, lamports))).value

    @property
    def health(self) -> RpcHealth:
        """How the endpoints have answered so far."""
        return self._endpoints.health

    @property
    def refused(self) -> list[Refusal]:
        """What the endpoints refused when they were asked last."""
        return self._endpoints.refused

    @property
    def _host(self) -> str:
        return self._endpoints.host

    def _parsed(self, kind: type[K], part: Any, key: str) -> K:
        """A key of an answer's part. Solders reads it only when it is asked for, and panics where it is none."""
        try:
            return kind.from_string(json.loads(part.to_json())[key])
        except (ParseHashError, ValueError) as error:
            raise not_rpc(self._host) from error

    async def _call(self, method: str, request: Request[T], *, replaceable: bool = False) -> T:
        return await self._endpoints.call(method, request, replaceable=replaceable)


def clock_of(account: Account | None) -> int:
    """Unix seconds in the clock sysvar.

    Raises:
        DecodeError: the endpoint has no clock to show.
    """
    if account is None or len(account.data) < _CLOCK_SYSVAR_SIZE:
        raise DecodeError("The RPC endpoint shows no clock.", fix="Use another RPC endpoint.")
    # slot, epoch start, epoch, leader schedule epoch, then the time; 8 bytes each
    return int.from_bytes(account.data[32:40], "little", signed=True)


async def _get_multiple_accounts(addresses: list[Pubkey], client: AsyncClient) -> GetMultipleAccountsResp:
    return await client.get_multiple_accounts(addresses)


async def _get_transaction(signature: Signature, client: AsyncClient) -> GetTransactionResp:
    return await client.get_transaction(signature, encoding="base64", max_supported_transaction_version=0)


def _instructions(transaction: VersionedTransaction, program_id: Pubkey) -> list[Instruction]:
    """A transaction's instructions to a program; its accounts are in the transaction itself, not in a table."""
    keys = transaction.message.account_keys
    found = []
    for entry in transaction.message.instructions:
        if entry.program_id_index < len(keys) and keys[entry.program_id_index] == program_id:
            # Whose accounts these are does not matter here, how many does.
            metas = [AccountMeta(program_id, is_signer=False, is_writable=False)] * len(entry.accounts)
            found.append(Instruction(program_id, bytes(entry.data), metas))
    return found


def _account(value: SoldersAccount | None) -> Account | None:
    return None if value is None else Account(value.owner, value.lamports, bytes(value.data))
