"""The program's clients, each called as the program calls it, with short waits for a server that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from solders.pubkey import Pubkey
from solders.signature import Signature

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.rpc import RpcClient
from decloud_pl.retry import Retry
from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.kubo import KuboStore
from decloud_pl.store.pinata import PinataCredentials, PinataStore

_TIMEOUT = 1.0
_ONE = Pubkey.default()


def gateway(url: str, cid: str, *more: str) -> None:
    """Fetches a file of at most 1 MiB."""
    reader = GatewayReader([url, *more], timeout=_TIMEOUT, total_seconds=3.0)
    reader.fetch(cid, Path("fetched"), max_bytes=1 << 20)


def pinata(url: str, path: str = "") -> None:
    """Checks the login, or pins a file."""
    credentials = PinataCredentials(api_key="0123456789abcdefkey0", secret_key="5ec2e7" * 10 + "beef")
    store = PinataStore(credentials, api_url=url, upload_url=url, timeout=_TIMEOUT, retry=Retry(attempts=1))
    if path:
        store.put(Path(path))
    else:
        store.check()


def kubo(url: str, path: str = "") -> None:
    """Asks a node for its version, or pins a file."""
    host, port = url.removeprefix("http://").split(":")
    store = KuboStore(f"/ip4/{host}/tcp/{port}/http", timeout=_TIMEOUT, retry=Retry(attempts=1))
    if path:
        store.put(Path(path))
    else:
        store.check()


def download(url: str) -> None:
    """Downloads a data set of one file."""
    from decloud_pl.data.entry import DataFolder, Entry
    from decloud_pl.data.fetch.download import download_entry

    node = {
        "name": "mine",
        "kind": "image",
        "num_classes": 2,
        "licence": "-",
        "size": "-",
        "folder": "Mine",
        "files": ["file"],
        "downloads": [{"file": "file", "size": 1000, "urls": [f"{url}/file"]}],
    }
    download_entry(Entry.from_node("mine", {"entry": node}), DataFolder(Path("data")), sleep=lambda _: None)


def _of_chain(name: str, client: ChainClient) -> Awaitable[object]:
    rpc = client.rpc
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "balance": lambda: rpc.balance(_ONE),
        "clock": rpc.clock,
        "blockhash": rpc.latest_blockhash,
        "height": rpc.block_height,
        "rent": lambda: rpc.rent_exempt_minimum(200),
        "statuses": lambda: rpc.signature_statuses([Signature.default()]),
        "accounts": lambda: rpc.accounts([_ONE, _ONE]),
        "listed": lambda: rpc.program_accounts(_ONE, [(0, b"x")]),
        "sent": lambda: rpc.transactions(_ONE, signatures=10, most=10),
        "network": rpc.check_same_network,
        "counter": client.counter,
        "round": lambda: client.round(0),
        "submission": lambda: client.submission(0, _ONE),
    }
    return asks[name]()


def rpc(url: str, name: str) -> None:
    """Asks an RPC endpoint for one thing."""

    async def ask() -> None:
        client = RpcClient(url, timeout=_TIMEOUT)
        try:
            await _of_chain(name, ChainClient(client, get_dialect()))
        finally:
            await client.aclose()

    asyncio.run(ask())
