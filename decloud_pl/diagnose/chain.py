"""Check what a daemon needs of the chain: RPC endpoints, program, clock, balance, WebSocket and gateways."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.endpoint import host_of
from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.network import AUTO
from decloud_pl.chain.revision import detect
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import Subscribed, watch_events
from decloud_pl.config import NetworkConfig
from decloud_pl.diagnose.findings import Finding, Verdict, tried
from decloud_pl.diagnose.methods import Abilities, abilities, lacks
from decloud_pl.domain import format_sol
from decloud_pl.errors import ConfigError, ContentNotFound, DecloudError, IntegrityError, InvalidCid, SizeLimitExceeded
from decloud_pl.redact import redact
from decloud_pl.rounds.connect import make_dialect, make_rpc
from decloud_pl.rounds.select import WALLET_MINIMUM, join_cost
from decloud_pl.store.fetch.gateway import GatewayReader

_SKEW_SECONDS = 30
_WEBSOCKET_SECONDS = 10.0
_LARGEST_MODEL = 256 << 20
_OF_CREATOR = (ContentNotFound, IntegrityError, InvalidCid, SizeLimitExceeded)
"""Errors that any creator can cause, so they need not be a problem of this machine."""


async def check_chain(
    network: NetworkConfig,
    fees: FeeLimits,
    gateways: Callable[[], GatewayReader],
    wallet: Wallet | None,
    *,
    poll_interval: float,
) -> list[Finding]:
    """Check the RPC endpoints. If they answer, check the program, clock, balance, WebSocket and gateways as well."""
    found: list[Finding] = []
    try:
        dialect, rpc = make_dialect(network), make_rpc(network)
    except DecloudError as error:
        return [Finding("rpc", "problem", error.message, error.fix)]
    try:
        chain = ChainClient(rpc, dialect)
        begun = time.monotonic()
        genesis = await rpc.check_same_network()
        took = (time.monotonic() - begun) * 1000
        found.append(Finding("rpc", "ok", f"{network.name} answers in {took:.0f} ms, genesis {genesis[:8]}…"))
        found += await _methods(network, dialect, wallet)
        found.append(await tried("program", lambda: _program(chain)))
        found.append(await tried("revision", lambda: _revision(network, chain, wallet)))
        found.append(await tried("clock", lambda: _clock(chain)))
        if wallet is not None:
            found.append(await tried("balance", lambda: _balance(network, fees, chain, wallet)))
        found += await asyncio.gather(*(_websocket(url, dialect, poll_interval) for url in network.websocket_urls()))
        found.append(await tried("gateways", lambda: _gateways(gateways(), chain)))
    except DecloudError as error:
        fix = "Start it with `decloud-trainer localnet`." if network.name == "local" else error.fix
        found.append(Finding("rpc", "problem", error.message, fix))
    finally:
        await rpc.aclose()
    return found


async def _methods(network: NetworkConfig, dialect: Dialect, wallet: Wallet | None) -> list[Finding]:
    """Return one finding per endpoint. It lists the RPC methods that the endpoint refuses.

    An endpoint that cannot be queried gets a note. All other findings with refused methods have the same fix. If every
    endpoint refuses a method that the daemon requires, the fix asks for an endpoint that supports it. If every endpoint
    refuses only optional methods, the fix says what the daemon cannot do without them. If each method is supported by
    some endpoint, the fix says that the daemon sends the refused requests to the other endpoints.
    """

    async def probe(url: str) -> Abilities:
        rpc = make_rpc(replace(network, rpc_url=url, fallback_rpc_urls=[]))
        try:
            return await abilities(rpc, host_of(url), dialect, None if wallet is None else wallet.address)
        finally:
            await rpc.aclose()

    found = await asyncio.gather(*(probe(url) for url in (network.rpc_url, *network.fallback_rpc_urls)))
    needed, without = lacks(found)
    verdict: Verdict = "problem" if needed else "note"
    fix = "; ".join(without) or "The daemon sends these requests to the other endpoints."
    if needed:
        fix = f"Use an endpoint that supports {', '.join(needed)} (network.rpc_url or network.fallback_rpc_urls)."

    def finding(one: Abilities) -> Finding:
        if one.failure:
            return Finding("methods", "note", one.words, "Run the command again, or use another endpoint.")
        if one.refused:
            return Finding("methods", verdict, one.words, fix[0].upper() + fix[1:])
        return Finding("methods", "ok", one.words)

    return [finding(one) for one in found]


async def _program(chain: ChainClient) -> Finding:
    counter = await chain.counter()
    if counter is None:
        detail = f"the network has no DECLOUD program {chain.dialect.program_id}"
        return Finding("program", "problem", detail, "Correct the setting network or network.program_id.")
    return Finding("program", "ok", f"{chain.dialect.program_id}, rounds created: {counter.count}")


async def _revision(network: NetworkConfig, chain: ChainClient, wallet: Wallet | None) -> Finding:
    payer = None if wallet is None else wallet.address
    found = await detect(chain.rpc, chain.dialect.program_id, payer=payer, now=time.time())
    if not found.is_supported:
        return Finding("revision", "problem", str(found), "Wait for a version of decloud_pl that supports the program.")
    if found.is_decided and network.dialect not in (AUTO, found.name):
        detail = f"the program is {found}, but network.dialect is {network.dialect}"
        return Finding("revision", "problem", detail, "Set network.dialect=auto.")
    return Finding("revision", "ok", str(found))


async def _clock(chain: ChainClient) -> Finding:
    skew = time.time() - await chain.rpc.clock()
    if abs(skew) > _SKEW_SECONDS:
        detail = f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the chain's"
        return Finding("clock", "note", detail, "Deadlines follow the chain's clock; set this machine's clock (NTP).")
    return Finding("clock", "ok", f"{abs(skew):.0f} s from the chain's clock")


async def _balance(network: NetworkConfig, fees: FeeLimits, chain: ChainClient, wallet: Wallet) -> Finding:
    balance = await chain.rpc.balance(wallet.address)
    deposit = await chain.rpc.rent_exempt_minimum(chain.dialect.submission_size)
    needed = join_cost(deposit, fees.max_priority_lamports) + WALLET_MINIMUM
    detail = f"{format_sol(balance)}; a round needs {format_sol(needed)}"
    if balance >= needed:
        return Finding("balance", "ok", detail)
    if network.faucet:
        return Finding(
            "balance", "note", detail, "No action needed: the daemon requests SOL from the network's faucet."
        )
    return Finding("balance", "problem", detail, f"Send SOL to {wallet.address}.")


async def _websocket(url: str, dialect: Dialect, poll_interval: float) -> Finding:
    events = watch_events(url, dialect)
    try:
        async with asyncio.timeout(_WEBSOCKET_SECONDS):
            if isinstance(await anext(events), Subscribed):
                return Finding("websocket", "ok", redact(url))
    except TimeoutError:
        pass
    except ConfigError as error:
        return Finding("websocket", "problem", error.message, error.fix)
    detail = f"no subscription at {redact(url)}; the daemon polls every {poll_interval:g} s instead"
    return Finding("websocket", "note", detail, "Correct network.ws_url, or allow WebSockets in your proxy.")


async def _gateways(gateways: GatewayReader, chain: ChainClient) -> Finding:
    """Check the gateways: download the latest round's base model from them, as the daemon would."""
    latest = await anext(chain.latest_rounds(), None)
    if latest is None:
        return Finding("gateways", "note", "not checked: the network has no round with a model to download")
    cid = latest.model_cid
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        try:
            await asyncio.to_thread(gateways.fetch, cid, target, max_bytes=_LARGEST_MODEL)
        except _OF_CREATOR as error:
            fix = f"The creator of round {latest.id} may have removed the model or given a wrong CID; try again later."
            return Finding("gateways", "note", error.message, fix)
        size = target.stat().st_size
    return Finding("gateways", "ok", f"downloaded and verified the model of round {latest.id} ({size:,} bytes)")
