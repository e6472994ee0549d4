"""An RPC client with typed answers and errors, on top of solana-py's `AsyncClient`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import base58
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.endpoint import COMMITMENT, Endpoint, Request
from decloud_pl.chain.endpoints import EndpointPool, RpcHealth
from decloud_pl.chain.pace import Pace, RealPace
from decloud_pl.chain.refusals import Refusal
from decloud_pl.chain.rpc_errors import not_rpc, wrong_answer
from decloud_pl.chain.sent import SentTransaction, sent_transaction
from decloud_pl.errors import RpcRejected

if TYPE_CHECKING:
    from solana.rpc.async_api import AsyncClient
    from solders.account import Account as SoldersAccount
    from solders.rpc.responses import (
        GetMultipleAccountsResp,
        GetSignatureStatusesResp,
        GetTransactionResp,
        SendTransactionResp,
    )
    from solders.transaction_status import TransactionErrorType

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_CLOCK_SYSVAR_SIZE = 40
ACCOUNTS_PER_REQUEST = 100
HISTORY = "getSignatureStatuses with searchTransactionHistory"
"""A node without history refuses this method. Without the option, it still shows recent transactions."""

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
    """The result of a simulated transaction; ``error`` is None if the transaction would succeed."""

    error: TransactionErrorType | None
    logs: tuple[str, ...]
    units: int


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """The status of a transaction; ``error`` is None if the transaction succeeded."""

    slot: int
    confirmed: bool
    error: TransactionErrorType | None


@dataclass(frozen=True, slots=True)
class SignatureStatuses:
    """The statuses of transactions at ``slot``, in the order of the request; None for an unknown transaction."""

    slot: int
    values: tuple[SignatureStatus | None, ...]


@dataclass(frozen=True, slots=True)
class BlockHeight:
    """The block height of the chain at ``slot``."""

    height: int
    slot: int


class RpcClient:
    """The RPC client of one network. It reads ``confirmed`` blocks, for which two thirds of the stake have voted.

    If a request fails, a method raises `RpcUnavailable` if a retry may help, and `RpcRejected` if the endpoints refuse
    the request.

    Args:
        url: an http or https URL.
        fallbacks: the URLs to use while ``url`` does not answer, in the order of preference.
        timeout: seconds to wait for the next byte of an answer.
        requests_per_second: the limit for each endpoint; 0 for no limit.
        genesis: the genesis hash that the network must have; empty to accept any network.
        pace: the clock and the sleep function; None uses the system clock.

    Raises:
        ConfigError: a URL is not an http or https URL, or a proxy or certificates are wrong; see `route_to`.
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
        """Close the connections."""
        await self._endpoints.aclose()

    def need(self, slot: int) -> None:
        """For two minutes, refuse answers that show the chain as it was before ``slot``."""
        self._endpoints.need(slot)

    async def check_same_network(self) -> str:
        """Return the genesis hash of the network, and check that all reachable endpoints belong to this network.

        Raises:
            ConfigError: the endpoints belong to different networks, or not to the configured network.
        """
        return await self._endpoints.check_same_network()

    async def balance(self, address: Pubkey) -> int:
        """Return the balance of an address in lamports."""
        return (await self._call("getBalance", lambda client: client.get_balance(address))).value

    async def account(self, address: Pubkey) -> Account | None:
        """Return an account, or None if it does not exist."""
        value = (await self._call("getAccountInfo", lambda client: client.get_account_info(address))).value
        return None if value is None else _account(value)

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[Account | None]:
        """Return accounts in the order of ``addresses``; None for an account that does not exist."""
        found: list[Account | None] = []
        for start in range(0, len(addresses), ACCOUNTS_PER_REQUEST):
            part = list(addresses[start : start + ACCOUNTS_PER_REQUEST])
            answer = await self._call("getMultipleAccounts", partial(_get_multiple_accounts, part))
            if len(answer.value) != len(part):
                raise wrong_answer(
                    f"The RPC endpoint {self._host} returned {len(answer.value)} accounts instead of {len(part)}."
                )
            found.extend(None if value is None else _account(value) for value in answer.value)
        return found

    async def program_accounts(
        self, program_id: Pubkey, filters: Iterable[tuple[int, bytes]], *, replaceable: bool = True
    ) -> list[tuple[Pubkey, Account]]:
        """Return the accounts of a program that have the given bytes at the given offsets.

        ``replaceable`` is whether the caller can do without this request; see `EndpointPool.call`.
        """
        from solana.rpc.models import MemcmpOpts

        conditions = [MemcmpOpts(offset=offset, bytes=base58.b58encode(data).decode()) for offset, data in filters]
        answer = await self._call(
            "getProgramAccounts",
            lambda client: client.get_program_accounts(program_id, encoding="base64", filters=conditions),
            replaceable=replaceable,
        )
        return [(entry.pubkey, _account(entry.account)) for entry in answer.value]

    async def clock(self) -> int:
        """Return the chain's clock in Unix seconds. The program compares it with deadlines.

        Raises:
            DecodeError: the endpoint returns no valid clock account.
        """
        return clock_of(await self.account(CLOCK_SYSVAR))

    async def latest_blockhash(self) -> tuple[Hash, int]:
        """Return a recent blockhash and the last block height at which it is valid."""
        value = (await self._call("getLatestBlockhash", lambda client: client.get_latest_blockhash())).value
        return self._parsed(Hash, value, "blockhash"), value.last_valid_block_height

    async def block_height(self) -> BlockHeight:
        value = (await self._call("getEpochInfo", lambda client: client.get_epoch_info())).value
        return BlockHeight(value.block_height, value.absolute_slot)

    async def rent_exempt_minimum(self, size: int) -> int:
        """Return the lamports that an account of ``size`` bytes must hold."""
        return (
            await self._call(
                "getMinimumBalanceForRentExemption", lambda client: client.get_minimum_balance_for_rent_exemption(size)
            )
        ).value

    async def priority_fees(self, addresses: Sequence[Pubkey]) -> list[int]:
        """Return the priority fee in each recent block for a transaction that writes to these accounts.

        The unit is micro-lamports per compute unit.
        """
        answer = await self._call(
            "getRecentPrioritizationFees",
            lambda client: client.get_recent_prioritization_fees(list(addresses)),
            replaceable=True,
        )
        return [fee.prioritization_fee for fee in answer.value]

    async def signature_statuses(self, signatures: Sequence[Signature]) -> SignatureStatuses:
        """Return the status of each transaction; None for a transaction that the endpoint does not find."""
        from solders.transaction_status import TransactionConfirmationStatus as Level

        async def ask(client: AsyncClient, *, history: bool) -> GetSignatureStatusesResp:
            return await client.get_signature_statuses(list(signatures), search_transaction_history=history)

        try:
            answer = await self._call(HISTORY, partial(ask, history=True), replaceable=True)
        except RpcRejected:
            # Without its history, the endpoint still shows recent transactions.
            answer = await self._call("getSignatureStatuses", partial(ask, history=False))
        good = (Level.Confirmed, Level.Finalized)
        found = tuple(
            None if status is None else SignatureStatus(status.slot, status.confirmation_status in good, status.err)
            for status in answer.value
        )
        if len(found) != len(signatures):
            raise wrong_answer(
                f"The RPC endpoint {self._host} returned {len(found)} statuses instead of {len(signatures)}."
            )
        return SignatureStatuses(answer.context.slot, found)

    async def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Simulate a transaction. It has no effect on chain."""
        value = (await self._call("simulateTransaction", lambda client: client.simulate_transaction(transaction))).value
        return Simulation(value.err, tuple(value.logs or ()), value.units_consumed or 0)

    async def transactions(self, address: Pubkey, *, signatures: int, most: int) -> list[SentTransaction]:
        """Return recent successful transactions that name an address, the latest first.

        Args:
            address: the address of a program or of another account.
            signatures: how many of the address's latest transactions to search. Failed transactions count.
            most: the largest number of successful transactions to return.
        """
        answer = await self._call(
            "getSignaturesForAddress",
            lambda client: client.get_signatures_for_address(address, limit=signatures),
            replaceable=True,
        )
        found: list[SentTransaction] = []
        for entry in [entry for entry in answer.value if entry.err is None][:most]:
            signature = self._parsed(Signature, entry, "signature")
            read = await self._call("getTransaction", partial(_get_transaction, signature), replaceable=True)
            sent = sent_transaction(str(signature), read)
            found += [] if sent is None else [sent]
        return found

    async def send_raw(self, wire: bytes) -> Signature:
        """Send a signed transaction, which the endpoint first simulates. It may not land, even if this returns.

        Raises:
            PreflightFailure: the endpoint simulated the transaction and it failed.
        """
        return (await self._call("sendTransaction", partial(_send, wire, preflight=True))).value

    async def send_again(self, wire: bytes) -> None:
        """Send a transaction to every endpoint, without a simulation: the one that accepted it may have dropped it."""
        await self._endpoints.call_all("sendTransaction", partial(_send, wire, preflight=False))

    async def request_airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """Request lamports from the faucet of a test network."""
        return (await self._call("requestAirdrop", lambda client: client.request_airdrop(address, lamports))).value

    @property
    def health(self) -> RpcHealth:
        """The numbers of requests and failures so far."""
        return self._endpoints.health

    @property
    def refused(self) -> list[Refusal]:
        """The methods that endpoints refuse. A refusal stays listed until the same endpoint answers the method."""
        return self._endpoints.refused

    @property
    def _host(self) -> str:
        return self._endpoints.host

    def _parsed(self, kind: type[K], part: Any, key: str) -> K:
        """Parse the value of ``key`` in the JSON of the solders object ``part``.

        The JSON is used because the object's own property for this value panics if the value is malformed.
        """
        try:
            return kind.from_string(json.loads(part.to_json())[key])
        except (ParseHashError, ValueError) as error:
            raise not_rpc(self._host) from error

    async def _call(self, method: str, request: Request[T], *, replaceable: bool = False) -> T:
        return await self._endpoints.call(method, request, replaceable=replaceable)


def clock_of(account: Account | None) -> int:
    """Return the time in the clock sysvar account, in Unix seconds.

    Raises:
        DecodeError: the account is missing or too short.
    """
    if account is None or len(account.data) < _CLOCK_SYSVAR_SIZE:
        raise wrong_answer("The RPC endpoint returned no valid clock account.")
    # Five values of 8 bytes: slot, epoch start, epoch, leader schedule epoch, Unix time.
    return int.from_bytes(account.data[32:40], "little", signed=True)


async def _get_multiple_accounts(addresses: list[Pubkey], client: AsyncClient) -> GetMultipleAccountsResp:
    return await client.get_multiple_accounts(addresses)


async def _send(wire: bytes, client: AsyncClient, *, preflight: bool) -> SendTransactionResp:
    from solana.rpc.commitment import Commitment
    from solana.rpc.models import TxOpts

    options = TxOpts(skip_preflight=not preflight, preflight_commitment=Commitment(COMMITMENT), max_retries=0)
    return await client.send_raw_transaction(wire, options)


async def _get_transaction(signature: Signature, client: AsyncClient) -> GetTransactionResp:
    return await client.get_transaction(signature, encoding="base64", max_supported_transaction_version=0)


def _account(value: SoldersAccount) -> Account:
    return Account(value.owner, value.lamports, bytes(value.data))
