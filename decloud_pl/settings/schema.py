"""What a configuration holds: its groups and settings, their types and their ranges.

`Tree` is what Hydra composes; `Settings` is the same with the secrets, which never enter the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from decloud_pl.domain import Convention, parse_sol
from decloud_pl.errors import ConfigError
from decloud_pl.settings.secrets import Secrets

CONFIG_FILE = "config.json"
JOURNAL_FILE = "journal.sqlite"


@dataclass
class NetworkConfig:
    """Where the chain and its content are reached."""

    name: str = "local"
    rpc_url: str = "http://127.0.0.1:8899"
    ws_url: str = ""
    program_id: str = "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC"
    gateways: list[str] = field(default_factory=list)
    convention: str = "delta"
    gradient_rate: float = 0.1
    faucet: bool = False
    mappings: dict[str, str] = field(default_factory=dict)

    def update_convention(self) -> Convention:
        """The convention as its literal type.

        Raises:
            ConfigError: neither ``delta`` nor ``gradient``.
        """
        if self.convention not in ("delta", "gradient"):
            raise ConfigError(f"network.convention is {self.convention!r}.", fix="Set it to 'delta' or 'gradient'.")
        return cast(Convention, self.convention)

    def websocket_url(self) -> str:
        """``ws_url``, or the RPC URL with the next port when that is empty.

        Raises:
            ConfigError: ``rpc_url`` is not an http or https URL.
        """
        if self.ws_url:
            return self.ws_url
        from urllib.parse import urlsplit

        parts = urlsplit(self.rpc_url)
        try:
            port = parts.port
        except ValueError:
            port = None
            parts = parts._replace(scheme="")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"network.rpc_url {self.rpc_url!r} is not an http or https URL.",
                fix="Write it like http://127.0.0.1:8899.",
            )
        scheme = "wss" if parts.scheme == "https" else "ws"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{scheme}://{host}:{port + 1}" if port else f"{scheme}://{host}"


@dataclass
class WalletConfig:
    """Where the key is. The key itself never enters the configuration."""

    keypair_path: str = "~/.config/solana/id.json"
    strict: bool = False


@dataclass
class StorageConfig:
    """Where finished updates are pinned."""

    kind: str = "embedded"
    path: str = ""


@dataclass
class RewardsConfig:
    """Which rewards are worth a round, in SOL; text, because money is never a float."""

    min: str = "0"
    max: str = "0"


@dataclass
class Tree:
    """What Hydra composes from ``conf/``. It is printed and saved as it is, so no secret belongs here."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    wallet: WalletConfig = field(default_factory=WalletConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    # What users vary and Hydra builds; `decloud_pl.build` is the only place that instantiates them.
    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    preset: dict[str, Any] | None = None
    task: str = "daemon"
    round: int | None = None
    home: str = "~/.decloud-trainer"
    datasets: list[str] = field(default_factory=list)
    mappings: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.001
    max_batches: int = 0
    seed: int = 0
    max_concurrent_rounds: int = 1
    auto_train: bool = True
    auto_claim: bool = True
    poll_interval: float = 5.0


@dataclass
class Settings(Tree):
    """One validated configuration."""

    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser()

    @property
    def journal_path(self) -> Path:
        return self.home_path / JOURNAL_FILE

    @property
    def store_path(self) -> Path:
        return Path(self.storage.path).expanduser()

    @property
    def keypair_path(self) -> Path:
        return Path(self.wallet.keypair_path).expanduser()

    @property
    def min_reward(self) -> int:
        """Lamports."""
        return parse_sol(self.rewards.min)

    @property
    def max_reward(self) -> int:
        """Lamports; 0 means no limit."""
        return parse_sol(self.rewards.max)

    def all_mappings(self) -> dict[str, str]:
        """The network's mappings with the user's own on top."""
        return {**self.network.mappings, **self.mappings}


def default_home(environ: Mapping[str, str]) -> Path:
    """The folder of config.json, journal and data: ``DECLOUD_HOME``, else ``~/.decloud-trainer``."""
    return Path(environ.get("DECLOUD_HOME") or "~/.decloud-trainer").expanduser()


def check(settings: Settings) -> None:
    """Checks the ranges that types cannot express.

    Raises:
        ConfigError: the first value out of range.
    """
    for name, least in (("epochs", 1), ("batch_size", 1), ("max_batches", 0), ("max_concurrent_rounds", 1)):
        if getattr(settings, name) < least:
            raise ConfigError(f"{name} is {getattr(settings, name)}.", fix=f"Set it to {least} or more.")
    for name in ("learning_rate", "poll_interval"):
        if not 0 < getattr(settings, name) < float("inf"):
            raise ConfigError(f"{name} is {getattr(settings, name)}.", fix="Set it to more than 0.")
    for name in ("min", "max"):
        try:
            parse_sol(getattr(settings.rewards, name))
        except ValueError as error:
            raise ConfigError(f"rewards.{name}: {error}.", fix="Write it like 0.05.") from error
    if 0 < settings.max_reward < settings.min_reward:
        raise ConfigError("rewards.max is less than rewards.min.", fix="Raise rewards.max or set it to 0.")
    if settings.task not in ("daemon", "round"):
        raise ConfigError(f"task is {settings.task!r}.", fix="Set it to 'daemon' or 'round'.")
    if (settings.task == "round") != (settings.round is not None):
        raise ConfigError("task=round and round=ID belong together.", fix="Give both or neither.")
    settings.network.update_convention()
    settings.network.websocket_url()
