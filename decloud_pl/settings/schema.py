"""What a configuration holds: its groups and settings, their types and their ranges.

`Tree` is what Hydra composes; `Settings` is the same with the secrets, which never enter the tree.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from decloud_pl.chain.fees import FeeLimits
from decloud_pl.domain import DATASETS, REMEDIES, Convention, parse_sol
from decloud_pl.errors import ConfigError
from decloud_pl.settings.network import NetworkConfig
from decloud_pl.settings.secrets import Secrets
from decloud_pl.settings.training import TrainingConfig, TuneConfig

CONFIG_FILE = "config.json"
JOURNAL_FILE = "journal.sqlite"
USER_CONF = "conf"
"""The folder in the user's home whose groups come beside the built-in ones."""
TASKS = ("daemon", "round", "experiment")
EXECUTORS = ("process", "ray")
_LAST_PORT = 65_535
_LARGEST_SHARE = 0.5


@dataclass
class ChainConfig(FeeLimits):
    """What transactions may cost, each of them and all of a day together."""

    daily_cap: str = "0.5"

    @property
    def daily_cap_lamports(self) -> int:
        """0 means no cap."""
        return parse_sol(self.daily_cap)


@dataclass
class RayConfig:
    """The Ray cluster, and what each training gets of the machine it runs on.

    Attributes:
        address: as ``ray.init`` takes it; ``local`` starts a cluster for the training alone.
        cpus: for a training, and its number of threads.
        gpus: for a training; below 1, a part of one.
    """

    address: str = "auto"
    cpus: int = 1
    gpus: float = 0.0


@dataclass
class DaemonConfig:
    """How rounds are worked on."""

    hang_minutes: float = 15.0
    stop_seconds: float = 90.0
    executor: str = "process"
    ray: RayConfig = field(default_factory=RayConfig)


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
    allow_embedded: bool = False
    fallback: list[str] = field(default_factory=list)
    kubo_address: str = "/ip4/127.0.0.1/tcp/5001/http"
    pinata_api_url: str = "https://api.pinata.cloud"
    pinata_upload_url: str = "https://uploads.pinata.cloud"
    timeout: float = 60.0
    read_back_seconds: float = 120.0


@dataclass
class DataConfig:
    """Where data sets are kept, and whether what is missing is downloaded."""

    folder: str = "~/.decloud-trainer/data"
    # Base URL to download from instead of the publishers': {mirror}/{data set}/{file}.
    mirror: str = ""
    download: bool = True


@dataclass
class RewardsConfig:
    """Which rewards are worth a round, in SOL; text, because money is never a float.

    ``watts`` is what this machine draws while it trains.
    """

    min: str = "0"
    max: str = "0"
    min_profit: str = ""
    watts: int = 0
    sol_per_kwh: str = "0"

    @property
    def min_lamports(self) -> int:
        return parse_sol(self.min)

    @property
    def max_lamports(self) -> int:
        """0 means no limit."""
        return parse_sol(self.max)

    @property
    def min_profit_lamports(self) -> int | None:
        """None where the expected profit does not matter."""
        return parse_sol(self.min_profit) if self.min_profit else None

    @property
    def lamports_per_kwh(self) -> int:
        """What energy costs."""
        return parse_sol(self.sol_per_kwh)


@dataclass
class MetricsConfig:
    """Where Prometheus finds the daemon's metrics; port 0 for nowhere."""

    port: int = 0


@dataclass
class NotifyConfig:
    """What is worth a message; where to is the secret ``notify_urls``."""

    earned: bool = True
    failed: bool = True
    low_balance: str = "0.01"
    silent_minutes: float = 15.0

    @property
    def low_balance_lamports(self) -> int:
        """0 for never."""
        return parse_sol(self.low_balance)


@dataclass
class Tree(TrainingConfig):
    """What Hydra composes from ``conf/``. It is printed and saved as it is, so no secret belongs here."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    wallet: WalletConfig = field(default_factory=WalletConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    preset: dict[str, Any] | None = None
    task: str = "daemon"
    round: int | None = None
    base_model: str = ""
    home: str = "~/.decloud-trainer"
    datasets: list[str] = field(default_factory=list)
    mappings: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.001
    max_batches: int = 0
    max_concurrent_rounds: int = 1
    auto_train: bool = True
    auto_claim: bool = True
    poll_interval: float = 5.0


@dataclass
class Settings(Tree):
    """One validated configuration."""

    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)
    given: tuple[str, ...] = ()
    allow_packages: list[str] = field(default_factory=list)

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser()

    @property
    def own_conf(self) -> Path:
        """Where the user's own choices of groups are: presets, data sets, networks."""
        return self.home_path / USER_CONF

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
        return self.rewards.min_lamports

    @property
    def max_reward(self) -> int:
        """Lamports; 0 means no limit."""
        return self.rewards.max_lamports

    def written_convention(self) -> Convention:
        """How this trainer writes updates; `NetworkConfig.update_convention` is how validators read them."""
        return cast(Convention, self.update.convention or self.network.convention)

    def describe_convention(self) -> str:
        """How updates are read on this network, and how this trainer writes them where that is another way."""
        read, written = self.network.convention, self.written_convention()
        words = f"{read}, rate {self.network.gradient_rate:g}" if read == "gradient" else read
        return words if written == read else f"{words}; written as {written}"

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
    for name in ("timeout", "read_back_seconds"):
        if not 0 < getattr(settings.storage, name) < float("inf"):
            raise ConfigError(f"storage.{name} is {getattr(settings.storage, name)}.", fix="Set it to more than 0.")
    amounts = {
        "rewards.min": settings.rewards.min,
        "rewards.max": settings.rewards.max,
        "rewards.min_profit": settings.rewards.min_profit or "0",
        "rewards.sol_per_kwh": settings.rewards.sol_per_kwh,
        "chain.daily_cap": settings.chain.daily_cap,
        "notify.low_balance": settings.notify.low_balance,
    }
    for name, amount in amounts.items():
        try:
            parse_sol(amount)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}.", fix="Write it like 0.05.") from error
    _check_work(settings)
    if 0 < settings.max_reward < settings.min_reward:
        raise ConfigError("rewards.max is less than rewards.min.", fix="Raise rewards.max or set it to 0.")
    if settings.task not in TASKS:
        raise ConfigError(f"task is {settings.task!r}.", fix="Set it to 'daemon', 'round' or 'experiment'.")
    if settings.base_model and settings.task != "experiment":
        raise ConfigError("base_model is for experiments only: a round names its own.", fix="Add task=experiment.")
    if (settings.task == "round") != (settings.round is not None):
        raise ConfigError("task=round and round=ID belong together.", fix="Give both or neither.")
    known = [name.lower() for name in DATASETS]
    for name in settings.all_mappings():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"mappings.{name} names no data set of the network.",
                fix=f"Did you mean {close[0]!r}?" if close else "`decloud-trainer datasets` lists them.",
            )
    _check_tune(settings.tune)
    settings.network.update_convention()
    settings.network.websocket_urls()


def _check_work(settings: Settings) -> None:
    least = {
        "chain.max_priority_lamports": (settings.chain.max_priority_lamports, 0),
        "chain.max_compute_units": (settings.chain.max_compute_units, 1),
        "rewards.watts": (settings.rewards.watts, 0),
        "network.requests_per_second": (settings.network.requests_per_second, 0),
        "daemon.stop_seconds": (settings.daemon.stop_seconds, 0),
        "daemon.ray.cpus": (settings.daemon.ray.cpus, 1),
        "daemon.ray.gpus": (settings.daemon.ray.gpus, 0),
        "notify.silent_minutes": (settings.notify.silent_minutes, 0),
        "metrics.port": (settings.metrics.port, 0),
    }
    for name, (value, bound) in least.items():
        if not bound <= value < float("inf"):
            raise ConfigError(f"{name} is {value}.", fix=f"Set it to {bound} or more.")
    if settings.metrics.port > _LAST_PORT:
        raise ConfigError(f"metrics.port is {settings.metrics.port}.", fix=f"Set it to {_LAST_PORT} or less.")
    if not 0 < settings.daemon.hang_minutes < float("inf"):
        raise ConfigError(f"daemon.hang_minutes is {settings.daemon.hang_minutes}.", fix="Set it to more than 0.")
    _check_executor(settings.daemon)
    update = settings.update
    if update.dtype not in ("float32", "float16", "bfloat16"):
        raise ConfigError(f"update.dtype is {update.dtype!r}.", fix="Set it to float16, bfloat16 or float32.")
    if update.convention not in ("", "delta", "gradient"):
        raise ConfigError(f"update.convention is {update.convention!r}.", fix="Set it to 'delta' or 'gradient'.")
    for remedy in update.remedies:
        if remedy not in REMEDIES or update.remedies.count(remedy) > 1:
            raise ConfigError(
                f"update.remedies names {remedy!r} {'twice' if remedy in REMEDIES else ''}".rstrip() + ".",
                fix=f"Choose from {', '.join(REMEDIES)}, each once, or set [] for none.",
            )
    for name, share in (("top_k", update.top_k), ("min_kept", update.min_kept), ("min_gain", update.min_gain)):
        if not 0 <= share <= 1:
            raise ConfigError(f"update.{name} is {share}.", fix="Set it to a share from 0 to 1.")


def _check_executor(daemon: DaemonConfig) -> None:
    if daemon.executor not in EXECUTORS:
        raise ConfigError(f"daemon.executor is {daemon.executor!r}.", fix="Set it to 'process' or 'ray'.")
    if daemon.ray.gpus > 1 and not daemon.ray.gpus.is_integer():
        raise ConfigError(f"daemon.ray.gpus is {daemon.ray.gpus}.", fix="Above 1, set it to a whole number.")
    address = daemon.ray.address
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address not in ("auto", "local") and not (host and colon and port.isdecimal() and "/" not in host):
        raise ConfigError(
            f"daemon.ray.address is {address!r}.", fix="Set it to auto, local, HOST:PORT or ray://HOST:PORT."
        )


def _check_tune(tune: TuneConfig) -> None:
    if tune.method not in ("none", "probe"):
        raise ConfigError(f"tune.method is {tune.method!r}.", fix="Set it to none or probe.")
    if not all(0 < rate < float("inf") for rate in tune.rates) or not any(rate != 1 for rate in tune.rates):
        raise ConfigError(
            f"tune.rates is {tune.rates}.", fix="Set it to multiples of the learning rate, such as [0.3,1,3]."
        )
    if not all(epochs >= 1 for epochs in tune.epochs):
        raise ConfigError(f"tune.epochs is {tune.epochs}.", fix="Set it to numbers of 1 or more, or to [].")
    for name, value, least in (("most_epochs", tune.most_epochs, 0), ("batches", tune.batches, 1)):
        if value < least:
            raise ConfigError(f"tune.{name} is {value}.", fix=f"Set it to {least} or more.")
    if not 0 < tune.share <= _LARGEST_SHARE:
        raise ConfigError(f"tune.share is {tune.share}.", fix="Set it to more than 0 and at most 0.5.")
    if not 0 < tune.max_seconds < float("inf"):
        raise ConfigError(f"tune.max_seconds is {tune.max_seconds}.", fix="Set it to more than 0.")
