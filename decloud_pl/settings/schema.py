"""What a configuration holds: its groups and settings, their types and their ranges.

`Tree` is what Hydra composes; `Settings` is the same with the secrets, which never enter the tree.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.domain import DATASETS, REMEDIES, Convention, parse_sol
from decloud_pl.errors import ConfigError
from decloud_pl.secrets import Secrets
from decloud_pl.settings.training import TrainingConfig

CONFIG_FILE = "config.json"
JOURNAL_FILE = "journal.sqlite"
USER_CONF = "conf"
"""The folder in the user's home whose groups come beside the built-in ones."""


@dataclass
class ChainConfig(FeeLimits):
    """What transactions may cost, each of them and all of a day together."""

    daily_cap: str = "0.5"


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

    kind: str = "keypair"
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
    task: str = "daemon"
    round: int | None = None
    base_model: str = ""
    home: str = "~/.decloud-trainer"
    datasets: list[str] = field(default_factory=list)
    mappings: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    # Short names of values in the nodes above; None where the value there is nothing that they could show.
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    max_batches: int | None = None
    max_concurrent_rounds: int = 1
    auto_train: bool = True
    auto_claim: bool = True
    poll_interval: float = 5.0


@dataclass
class Settings(Tree):
    """One validated configuration.

    Attributes:
        secrets: keys and credentials.
        allow_packages: packages of the user's own that may be built from the configuration.
        given: the settings of a training that a layer above the built-in one sets, by their places in the tree.
    """

    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)
    allow_packages: list[str] = field(default_factory=list)
    given: tuple[str, ...] = ()

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

    def written_convention(self) -> Convention:
        """How this trainer writes updates."""
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


_INFINITY = float("inf")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "0 or more": (
        lambda value: 0 <= value < _INFINITY,
        """max_batches chain.max_priority_lamports rewards.watts network.requests_per_second daemon.stop_seconds
        daemon.ray.gpus notify.silent_minutes metrics.port tune.most_epochs fit.data_memory_mb fit.data_workers
        fit.checkpoint_seconds fit.publish_reserve_seconds""",
    ),
    "1 or more": (
        lambda value: 1 <= value < _INFINITY,
        "epochs batch_size max_concurrent_rounds chain.max_compute_units daemon.ray.cpus tune.batches",
    ),
    "more than 0": (
        lambda value: 0 < value < _INFINITY,
        """learning_rate poll_interval storage.timeout storage.read_back_seconds daemon.hang_minutes tune.share
        tune.max_seconds""",
    ),
    "a share from 0 to 1": (lambda value: 0 <= value <= 1, "update.top_k update.min_kept update.min_gain"),
    "at most 65535": (lambda value: value <= 65_535, "metrics.port"),
    "at most 0.5": (lambda value: value <= 0.5, "tune.share"),
    "a share of a GPU or a whole number": (lambda value: value < 1 or value % 1 == 0, "daemon.ray.gpus"),
    "auto, local, HOST:PORT or ray://HOST:PORT": (
        lambda value: re.fullmatch(r"auto|local|(ray://)?[^/]+:[0-9]+", value) is not None,
        "daemon.ray.address",
    ),
    "1 or more batches, a share, or 1.0 for all": (lambda value: value != 0, "trainer.limit_train_batches"),
    f"some of {', '.join(REMEDIES)}, each once, or to [] for none": (
        lambda names: len(set(names)) == len(names) and set(names) <= set(REMEDIES),
        "update.remedies",
    ),
    "multiples of the learning rate, such as [0.3,1,3]": (
        lambda rates: all(0 < rate < _INFINITY for rate in rates) and any(rate != 1 for rate in rates),
        "tune.rates",
    ),
    "numbers of 1 or more, or to []": (lambda numbers: all(number >= 1 for number in numbers), "tune.epochs"),
}
_WORDS = {
    "task": ("daemon", "round", "experiment"),
    "wallet.kind": ("keypair", "environment", "keyring", "solana-cli"),
    "daemon.executor": ("process", "ray"),
    "network.convention": ("delta", "gradient"),
    "update.dtype": ("float16", "bfloat16", "float32"),
    "update.convention": ("delta", "gradient", ""),
    "tune.method": ("none", "probe"),
}
AMOUNTS = ("rewards.min", "rewards.max", "rewards.sol_per_kwh", "chain.daily_cap", "notify.low_balance")


def check(settings: Settings) -> None:
    """Checks what types cannot express.

    Raises:
        ConfigError: the first value out of range.
    """
    for wanted, (fits, names) in _RULES.items():
        for name in names.split():
            value = value_at(settings, name)
            if value is not None and not fits(value):
                raise _wrong(name, value, wanted)
    for name, words in _WORDS.items():
        if value_at(settings, name) not in words:
            shown = [repr(word) for word in words if word]
            raise _wrong(name, value_at(settings, name), f"{', '.join(shown[:-1])} or {shown[-1]}")
    for name in (*AMOUNTS, "rewards.min_profit"):
        try:
            parse_sol(value_at(settings, name) or "0")
        except ValueError as error:
            raise ConfigError(f"{name}: {error}.", fix="Write it like 0.05.") from error
    if 0 < settings.rewards.max_lamports < settings.rewards.min_lamports:
        raise ConfigError("rewards.max is less than rewards.min.", fix="Raise rewards.max or set it to 0.")
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
    settings.network.websocket_urls()


def value_at(settings: Settings, place: str) -> Any:
    """The value at a place in the tree; None where a free group has no such key."""
    value: Any = settings
    for part in place.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def _wrong(name: str, value: object, wanted: str) -> ConfigError:
    shown = repr(value) if isinstance(value, str) else value
    return ConfigError(f"{name} is {shown}.", fix=f"Set it to {wanted}.")
