"""Check the daemon's settings, network, stores and machine. Each finding states the result and the fix, if any."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from decloud_pl.build import build
from decloud_pl.chain.wallet import Wallet
from decloud_pl.children import output_of
from decloud_pl.config import NetworkConfig, Settings
from decloud_pl.config.file import ConfigFile
from decloud_pl.data.catalog import Catalog
from decloud_pl.diagnose.chain import check_chain
from decloud_pl.diagnose.findings import Finding, Verdict, tried
from decloud_pl.errors import ConfigError, DatasetError, DecloudError
from decloud_pl.executors.process import Cluster
from decloud_pl.models.torch_version import check_torch
from decloud_pl.proxies import in_force
from decloud_pl.rounds.planner import make_catalog
from decloud_pl.rounds.stores import make_gateways, make_store

_SECRET_MODE = 0o077
_FREE_BYTES = 2 << 30
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
        return _wallet(wallet[0])

    network, storage, home = settings.network, settings.storage, settings.home_path
    gateways = partial(make_gateways, network, storage)
    catalog = make_catalog(settings)
    return [
        _settings_file(ConfigFile(config_home)),
        _proxies(),
        await tried("wallet", find_wallet),
        *await check_chain(
            network, settings.chain, gateways, wallet[0] if wallet else None, poll_interval=settings.poll_interval
        ),
        _convention(network, settings.written_convention()),
        await tried("storage", lambda: _storage(settings)),
        _disk(home),
        _folders(dict.fromkeys((config_home, home))),
        *_data_sets(catalog, settings.datasets),
        await tried("device", _device),
        *([await tried("ray", lambda: _cluster(settings))] if settings.daemon.executor == "ray" else []),
    ]


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


def _wallet(wallet: Wallet) -> Finding:
    path = wallet.file
    mode = 0 if path is None else path.stat().st_mode & 0o777
    if mode & _SECRET_MODE:
        detail = f"{wallet.address}, but other users can read {path} (mode {mode:03o})"
        return Finding("wallet", "problem", detail, f"Run: chmod 600 {path}")
    return Finding("wallet", "ok", str(wallet.address))


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
