"""One RPC endpoint with typed answers and typed errors, on top of solana-py's `AsyncClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import base58
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from decloud_pl.chain.rpc_errors import from_error_object, from_transport, not_rpc, silent
from decloud_pl.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from solana.rpc.async_api import AsyncClient
    from solders.account import Account as SoldersAccount
    from solders.rpc.responses import GetMultipleAccountsResp
    from solders.transaction_status import TransactionErrorType

CLOCK_SYSVAR = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
_CLOCK_SYSVAR_SIZE = 40
_ACCOUNTS_PER_REQUEST = 100
_COMMITMENT = "confirmed"
_WHOLE_ANSWER = 3
"""How many times the timeout an answer may take that comes byte by byte."""

T = TypeVar("T")


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


class RpcClient:
    """One endpoint. Reads are made at ``commitment`` ``confirmed``: seen by two thirds of the stake.

    Args:
        url: http or https.
        timeout: seconds the endpoint may be silent.

    Every method raises `RpcUnavailable` (worth another try) or `RpcRejected` (the endpoint said no).

    Raises:
        ConfigError: ``url`` is not an http or https URL.
    """

    def __init__(self, url: str, *, timeout: float = 20.0) -> None:
        self.url = url
        self._host = _host(url)
        self._timeout = timeout
        self._client: AsyncClient | None = None

    async def aclose(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def balance(self, address: Pubkey) -> int:
        """Lamports."""
        return (await self._call(lambda client: client.get_balance(address))).value

    async def account(self, address: Pubkey) -> Account | None:
        """An account, None when there is none."""
        return _account((await self._call(lambda client: client.get_account_info(address))).value)

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[Account | None]:
        """Accounts in the order asked for, None for each that does not exist."""
        found: list[Account | None] = []
        for start in range(0, len(addresses), _ACCOUNTS_PER_REQUEST):
            part = list(addresses[start : start + _ACCOUNTS_PER_REQUEST])
            answer = await self._call(partial(_get_multiple_accounts, part))
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
            lambda client: client.get_program_accounts(program_id, encoding="base64", filters=conditions)
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
        account = await self.account(CLOCK_SYSVAR)
        if account is None or len(account.data) < _CLOCK_SYSVAR_SIZE:
            raise DecodeError(f"The RPC endpoint {self._host} shows no clock.", fix="Use another RPC endpoint.")
        # slot, epoch start, epoch, leader schedule epoch, then the time; 8 bytes each
        return int.from_bytes(account.data[32:40], "little", signed=True)

    async def latest_blockhash(self) -> tuple[Hash, int]:
        """A fresh blockhash and the last block height at which it is good."""
        value = (await self._call(lambda client: client.get_latest_blockhash())).value
        return value.blockhash, value.last_valid_block_height

    async def block_height(self) -> int:
        return (await self._call(lambda client: client.get_block_height())).value

    async def priority_fees(self, addresses: Sequence[Pubkey]) -> list[int]:
        """What recent transactions that wrote these accounts paid, in micro-lamports per compute unit."""
        answer = await self._call(lambda client: client.get_recent_prioritization_fees(list(addresses)))
        return [fee.prioritization_fee for fee in answer.value]

    async def signature_statuses(self, signatures: Sequence[Signature]) -> list[SignatureStatus | None]:
        """How far each transaction has come, None for those the endpoint does not know."""
        from solders.transaction_status import TransactionConfirmationStatus as Level

        answer = await self._call(
            lambda client: client.get_signature_statuses(list(signatures), search_transaction_history=True)
        )
        good = (Level.Confirmed, Level.Finalized)
        return [
            None if status is None else SignatureStatus(status.slot, status.confirmation_status in good, status.err)
            for status in answer.value
        ]

    async def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Runs a transaction without effect."""
        value = (await self._call(lambda client: client.simulate_transaction(transaction))).value
        return Simulation(value.err, tuple(value.logs or ()), value.units_consumed or 0)

    async def send_raw(self, wire: bytes, *, preflight: bool) -> Signature:
        """Hands a signed transaction in; that says nothing about whether it lands.

        Raises:
            PreflightFailure: the endpoint simulated it and it failed.
        """
        from solana.rpc.commitment import Commitment
        from solana.rpc.models import TxOpts

        options = TxOpts(skip_preflight=not preflight, preflight_commitment=Commitment(_COMMITMENT), max_retries=0)
        return (await self._call(lambda client: client.send_raw_transaction(wire, options))).value

    async def request_airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """Asks a test network's faucet for lamports."""
        return (await self._call(lambda client: client.request_airdrop(address, lamports))).value

    def _connected(self) -> AsyncClient:
        if self._client is None:
            from solana.rpc.async_api import AsyncClient
            from solana.rpc.commitment import Commitment

            self._client = AsyncClient(self.url, commitment=Commitment(_COMMITMENT), timeout=self._timeout)
        return self._client

    async def _call(self, request: Callable[[AsyncClient], Awaitable[T]]) -> T:
        from solana.exceptions import SolanaRpcException
        from solana.rpc.core import RPCException
        from solders.errors import SerdeJSONError

        try:
            answer = await asyncio.wait_for(request(self._connected()), self._timeout * _WHOLE_ANSWER)
        except RPCException as error:
            raise from_error_object(self._host, error.args[0] if error.args else None) from error
        except SolanaRpcException as error:
            raise from_transport(self._host, error.__cause__) from error
        except asyncio.TimeoutError as error:
            raise silent(self._host) from error
        except (SerdeJSONError, ValueError) as error:
            raise not_rpc(self._host) from error
        except BaseException as error:
            # A known error code without the fields that belong to it makes solders panic, which is no Exception.
            if type(error).__name__ == "PanicException":
                raise not_rpc(self._host) from error
            raise
        if isinstance(answer, int):
            raise from_error_object(self._host, answer)
        return answer


def _host(url: str) -> str:
    """Host and port of an http or https URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is none, brackets that do not close
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        # It is not repeated: the part that is right may hold an API key.
        raise ConfigError(
            "The RPC address is not an http or https URL.",
            fix="Write network.rpc_url like http://127.0.0.1:8899.",
        )
    return host if port is None else f"{host}:{port}"


async def _get_multiple_accounts(addresses: list[Pubkey], client: AsyncClient) -> GetMultipleAccountsResp:
    return await client.get_multiple_accounts(addresses)


def _account(value: SoldersAccount | None) -> Account | None:
    return None if value is None else Account(value.owner, value.lamports, bytes(value.data))
