"""Check the daemon's settings, network, stores and machine. Each finding states the result and the fix, if any."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from decloud_pl.build import build
from decloud_pl.chain.client import ChainClient
from decloud_pl.chain.dialect import Dialect
from decloud_pl.chain.endpoint import host_of
from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.network import AUTO
from decloud_pl.chain.revision import detect
from decloud_pl.chain.wallet import Wallet
from decloud_pl.chain.watch import Subscribed, watch_events
from decloud_pl.children import output_of
from decloud_pl.config import NetworkConfig, Settings
from decloud_pl.config.file import ConfigFile
from decloud_pl.data.catalog import Catalog
from decloud_pl.diagnose.methods import Abilities, abilities, lacks
from decloud_pl.domain import format_sol
from decloud_pl.errors import ConfigError, ContentNotFound, DatasetError, DecloudError
from decloud_pl.executors.process import Cluster
from decloud_pl.models.torch_version import check_torch
from decloud_pl.proxies import in_force
from decloud_pl.redact import redact
from decloud_pl.rounds.connect import make_dialect, make_rpc
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.rounds.select import WALLET_MINIMUM, join_cost
from decloud_pl.rounds.stores import make_gateways, make_store
from decloud_pl.store.fetch.gateway import GatewayReader

Verdict: TypeAlias = Literal["ok", "note", "problem"]

_SECRET_MODE = 0o077
_FREE_BYTES = 2 << 30
_SKEW_SECONDS = 30
_WEBSOCKET_SECONDS = 10.0
_LARGEST_MODEL = 256 << 20
_DEVICE_SECONDS = 120.0
# Garbage collection is off: it would take a third of this process's time during the import.
_DEVICE_SCRIPT = """
import gc, json
gc.disable()
import torch
from decloud_pl.train.fit.precision import resolve_precision
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(json.dumps({"torch": torch.__version__, "gpu": gpu, "threads": torch.get_num_threads(),
                  "precision": resolve_precision("auto", "auto")}))
gc.freeze()
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: the check's name. It stays the same in later versions, so programs can rely on it.
        verdict: a ``problem`` keeps the daemon from earning; a ``note`` is only information.
        detail: the result.
        fix: what to do, or "" if there is nothing to do.
    """

    name: str
    verdict: Verdict
    detail: str
    fix: str = ""


async def examine(settings: Settings, config_home: Path, open_wallet: Callable[[], Wallet]) -> list[Finding]:
    """Run all checks, even if some of them fail. Return their findings.

    Args:
        settings: the daemon's settings.
        config_home: the folder of config.json.
        open_wallet: returns the wallet or raises `WalletError`.
    """
    wallet: list[Wallet] = []

    async def find_wallet() -> Finding:
        wallet.append(open_wallet())
        return _wallet(settings.wallet.keypair_path, wallet[0])

    network, storage, home = settings.network, settings.storage, settings.home_path
    gateways = partial(make_gateways, network, storage)
    catalog = make_catalog(settings)
    return [
        _settings_file(ConfigFile(config_home)),
        _proxies(),
        await _tried("wallet", find_wallet),
        *await _chain(
            network, settings.chain, gateways, wallet[0] if wallet else None, poll_interval=settings.poll_interval
        ),
        _convention(network, settings.written_convention()),
        await _tried("storage", lambda: _storage(settings)),
        _disk(home),
        _folders(dict.fromkeys((config_home, home))),
        *_data_sets(catalog, settings.datasets),
        await _device(),
        *([await _tried("ray", lambda: _cluster(settings))] if settings.daemon.executor == "ray" else []),
    ]


async def _tried(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except DecloudError as error:
        return Finding(name, "problem", error.message, error.fix)


def _settings_file(file: ConfigFile) -> Finding:
    mode = file.mode()
    if mode is None:
        return Finding("settings", "note", f"{file.path} does not exist", "Create it with `decloud-trainer setup`.")
    try:
        secret = file.holds_secret(file.read())
    except DecloudError as error:
        return Finding("settings", "problem", error.message, error.fix)
    if mode & _SECRET_MODE and secret:
        detail = f"{file.path} holds a secret, and other users can read it (mode {mode:03o})"
        return Finding("settings", "problem", detail, f"Run: chmod 600 {file.path}")
    return Finding("settings", "ok", str(file.path))


def _proxies() -> Finding:
    try:
        variables = in_force()
    except DecloudError as error:
        return Finding("proxy", "note", error.message, error.fix)
    return Finding("proxy", "ok", "; ".join(variables) or "no proxy, and the system's certificates")


def _convention(network: NetworkConfig, written: str) -> Finding:
    read, words = network.read_convention, f"updates are read as {network.describe_convention(written)}"
    if written != read:
        fix = f"Set update.convention={read}, or network.convention={written} if the network's validators use it."
        return Finding("convention", "problem", words, fix)
    return Finding("convention", "ok", words)


def _wallet(keypair_path: str, wallet: Wallet) -> Finding:
    path = Path(keypair_path).expanduser()
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode & 0o777
        if mode & _SECRET_MODE:
            detail = f"{wallet.address}, but other users can read {path} (mode {mode:03o})"
            return Finding("wallet", "problem", detail, f"Run: chmod 600 {path}")
    return Finding("wallet", "ok", str(wallet.address))


async def _chain(
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
        found.append(await _tried("program", lambda: _program(chain)))
        found.append(await _tried("revision", lambda: _revision(network, chain, wallet)))
        found.append(await _tried("clock", lambda: _clock(chain)))
        if wallet is not None:
            found.append(await _tried("balance", lambda: _balance(network, fees, chain, wallet)))
        found += await asyncio.gather(*(_websocket(url, dialect, poll_interval) for url in network.websocket_urls()))
        found.append(await _tried("gateways", lambda: _gateways(gateways(), chain)))
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
        except ContentNotFound as error:
            return Finding("gateways", "note", error.message, "The creator may have removed the file; try again later.")
        size = target.stat().st_size
    return Finding("gateways", "ok", f"downloaded and verified the model of round {latest.id} ({size:,} bytes)")


async def _storage(settings: Settings) -> Finding:
    store = make_store(settings.storage.kind, settings)
    return Finding("storage", "ok", (await asyncio.to_thread(store.check)).rstrip("."))


def _disk(home: Path) -> Finding:
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GB are free in {folder}"
    if free < _FREE_BYTES:
        return Finding("disk", "problem", detail, "Free disk space, or set DECLOUD_HOME to another disk.")
    return Finding("disk", "ok", detail)


def _folders(folders: Iterable[Path]) -> Finding:
    """Check whether other users can open the folders. Change no modes: the user may share the folders on purpose."""
    wide = [path for path in folders if path.is_dir() and path.stat().st_mode & _SECRET_MODE]
    if not wide:
        return Finding("folders", "ok", "other users cannot open the folders")
    detail = f"other users can open {' and '.join(map(str, wide))}"
    fix = f"Run: chmod 700 {' '.join(map(str, wide))}, unless you share them on purpose."
    return Finding("folders", "note", detail, fix)


def _data_sets(catalog: Catalog, wanted: Sequence[str]) -> list[Finding]:
    ready: list[str] = []
    later: list[str] = []
    missing: list[DecloudError] = []
    for name in wanted or catalog.names():
        try:
            choice = catalog.resolve(name)
        except DatasetError as error:
            missing.append(error)
        else:
            (ready if choice.ready else later).append(name)
    detail = f"on this machine: {', '.join(ready) or 'none'}"
    if later:
        detail += f"; downloaded when needed: {', '.join(later)}"
    verdict: Verdict = "ok" if ready or later else "problem"
    found = [Finding("data sets", verdict, detail, "" if verdict == "ok" else "See `decloud-trainer datasets`.")]
    if wanted:
        found += [Finding("data sets", "problem", error.message, error.fix) for error in missing]
    return found


async def _cluster(settings: Settings) -> Finding:
    cluster: Cluster = build(settings.daemon.executor_node(), packages=settings.allow_packages)
    return Finding("ray", "ok", await cluster.check())


async def _device() -> Finding:
    """Report the GPU or CPU that torch would use. A child process imports torch, so that this process stays small."""
    try:
        check_torch()
    except ConfigError as error:
        return Finding("device", "problem", error.message, error.fix)
    command = (sys.executable, "-c", _DEVICE_SCRIPT)
    try:
        output = await output_of(command, seconds=_DEVICE_SECONDS)
    except TimeoutError:
        return Finding(
            "device", "problem", f"torch did not start within {_DEVICE_SECONDS:.0f} s", "Reinstall decloud_pl."
        )
    try:
        facts = json.loads(output.out)
    except ValueError:
        broken = f"torch cannot be used: {output.last_line}"
        return Finding("device", "problem", broken, "Reinstall decloud_pl.")
    where = facts["gpu"] or f"CPU, {facts['threads']} threads"
    detail = f"{where}, precision {facts['precision']}, torch {facts['torch']}"
    if facts["gpu"] is None:
        return Finding("device", "ok", detail, "Use a GPU for large data sets.")
    return Finding("device", "ok", detail)
