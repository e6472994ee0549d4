"""The groups and settings of a configuration, with their types and ranges.

Hydra composes a `Tree`. `Settings` adds the secrets, which are never part of the tree.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

from decloud_pl.chain.fees import FeeLimits
from decloud_pl.chain.network import NetworkConfig
from decloud_pl.config.training import TrainingConfig
from decloud_pl.config_dir import USER_CONF
from decloud_pl.domain import Convention, parse_sol
from decloud_pl.errors import unquoted
from decloud_pl.ranges import (
    ABOVE_ZERO,
    AMOUNT,
    FRACTION,
    GPUS,
    MAYBE_AMOUNT,
    ONE_OR_MORE,
    POLL_INTERVAL,
    PORT,
    PUBKEYS,
    RAY,
    URL,
    ZERO_OR_MORE,
    one_of,
)
from decloud_pl.secrets import Secrets
from decloud_pl.store.registry import Provider, StorageConfig

CONFIG_FILE = "config.json"


@dataclass
class ChainConfig(FeeLimits):
    """Limits on the fees of one transaction and of all transactions of a day."""

    daily_cap: Annotated[str, AMOUNT] = "0.5"


@dataclass
class RayConfig:
    """The Ray cluster and the resources of each training; ``daemon.ray`` in ``conf/config.yaml`` describes them."""

    address: Annotated[str, RAY] = "auto"
    cpus: Annotated[int, ONE_OR_MORE] = 1
    gpus: Annotated[float, ZERO_OR_MORE, GPUS] = 0.0
    connect_seconds: Annotated[float, ABOVE_ZERO] = 30.0
    wait_seconds: Annotated[float, ZERO_OR_MORE] = 60.0
    checkpoint_seconds: Annotated[float, ZERO_OR_MORE] = 30.0
    _target_: str = "decloud_pl.executors.ray.executor.RayExecutor.of"


@dataclass
class ProcessConfig:
    """Child processes of the daemon."""

    _target_: str = "decloud_pl.executors.process.ProcessExecutor"


@dataclass
class DaemonConfig:
    """How the daemon runs trainings."""

    hang_minutes: Annotated[float, ABOVE_ZERO] = 15.0
    stop_seconds: Annotated[float, ZERO_OR_MORE] = 90.0
    executor: Annotated[str, one_of("process", "ray")] = "process"
    process: ProcessConfig = field(default_factory=ProcessConfig)
    ray: RayConfig = field(default_factory=RayConfig)

    def executor_node(self) -> dict[str, Any]:
        """Return the node from which `decloud_pl.build` makes the executor."""
        return {**asdict(getattr(self, self.executor)), "hang_seconds": self.hang_minutes * 60}


@dataclass
class WalletConfig:
    """Where the wallet's key is. The key itself is never part of the configuration."""

    # The old way to choose a wallet. If set, it takes precedence over `_target_`.
    kind: Annotated[str, one_of("keypair", "environment", "keyring", "solana-cli", "")] = ""
    keypair_path: str = "~/.config/solana/id.json"
    strict: bool = False
    _target_: str = "decloud_pl.rounds.wallets.keypair"


@dataclass
class DataConfig:
    """The folder of the data sets, and whether missing ones are downloaded."""

    folder: str = "~/.decloud-trainer/data"
    # Base URL to download from instead of the publishers': {mirror}/{data set}/{file}.
    mirror: Annotated[str, URL] = ""
    download: bool = True


@dataclass
class PartiesConfig:
    """The addresses of the validators or creators to work with.

    An empty ``allow`` allows all addresses. The addresses in ``block`` are always excluded.
    """

    allow: Annotated[list[str], PUBKEYS] = field(default_factory=list)
    block: Annotated[list[str], PUBKEYS] = field(default_factory=list)


@dataclass
class RewardsConfig:
    """The limits on rewards, and the validators and creators to work with.

    Amounts are texts in SOL, because a float would round them. ``watts`` is the power that this machine uses while it
    trains.
    """

    min: Annotated[str, AMOUNT] = "0"
    max: Annotated[str, AMOUNT] = "0"
    min_profit: Annotated[str, MAYBE_AMOUNT] = ""
    watts: Annotated[int, ZERO_OR_MORE] = 0
    sol_per_kwh: Annotated[str, AMOUNT] = "0"
    validators: PartiesConfig = field(default_factory=PartiesConfig)
    creators: PartiesConfig = field(default_factory=PartiesConfig)
    min_completion: Annotated[float, FRACTION] = 0.0
    criteria: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def min_lamports(self) -> int:
        return parse_sol(self.min)

    @property
    def max_lamports(self) -> int:
        """The maximum reward in lamports; 0 means no limit."""
        return parse_sol(self.max)


@dataclass
class JoinConfig:
    """What the daemon checks before it joins a round: the base model, or only the model's CID."""

    verify: Annotated[str, one_of("model", "cid")] = "model"


@dataclass
class SubmitConfig:
    """When the daemon submits a published update: at once, or shortly before the deadline."""

    when: Annotated[str, one_of("early", "late")] = "early"


@dataclass
class MetricsConfig:
    """The address of the daemon's Prometheus metrics; port 0 disables them."""

    host: str = "127.0.0.1"
    port: Annotated[int, PORT] = 0


@dataclass
class NotifyConfig:
    """Which events cause a notification. The secret ``notify_urls`` has the recipients."""

    earned: bool = True
    failed: bool = True
    unfair: bool = True
    low_balance: Annotated[str, AMOUNT] = "0.01"
    silent_minutes: Annotated[float, ZERO_OR_MORE] = 15.0


@dataclass
class Tree(TrainingConfig):
    """The configuration that Hydra composes. It is printed and saved unchanged, so it must not contain secrets."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    wallet: WalletConfig = field(default_factory=WalletConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    join: JoinConfig = field(default_factory=JoinConfig)
    submit: SubmitConfig = field(default_factory=SubmitConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    task: Annotated[str, one_of("daemon", "round", "experiment")] = "daemon"
    round: int | None = None
    base_model: str = ""
    home: str = "~/.decloud-trainer"
    datasets: list[str] = field(default_factory=list)
    mappings: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    # Short names of values in the nodes above; None if the short name cannot express the value.
    epochs: Annotated[int | None, ONE_OR_MORE] = None
    batch_size: Annotated[int | None, ONE_OR_MORE] = None
    learning_rate: Annotated[float | None, ABOVE_ZERO] = None
    max_batches: Annotated[int | None, ZERO_OR_MORE] = None
    max_concurrent_rounds: Annotated[int, ONE_OR_MORE] = 1
    auto_train: bool = True
    auto_claim: bool = True
    audit: Annotated[str, one_of("own", "all", "off")] = "own"
    poll_interval: Annotated[float, POLL_INTERVAL] = 5.0


@dataclass
class Settings(Tree):
    """One validated configuration.

    Attributes:
        secrets: keys and credentials.
        providers: storage providers by name.
        allow_packages: the user's packages whose classes the configuration may name as a ``_target_``.
        given: the dotted names of the training settings that a preset, a file, the environment or the command line
            sets. All other training settings have their built-in values.
    """

    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)
    providers: dict[str, Provider] = field(default_factory=dict)
    allow_packages: list[str] = field(default_factory=list)
    given: tuple[str, ...] = ()

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser()

    @property
    def own_conf(self) -> Path:
        """The folder of the user's own presets, data sets, networks and other group choices."""
        return self.home_path / USER_CONF

    def written_convention(self, read: Convention | None = None) -> Convention:
        """Return the convention in which to write updates.

        The first of these that is set applies: the setting ``update.convention``, the argument ``read`` (the convention
        of the round's validator), the chosen network's setting ``read_convention``.
        """
        return cast("Convention | None", self.update.convention or read) or self.network.read_convention

    def all_mappings(self) -> dict[str, str]:
        """Map the names of rounds' data sets on chain to the names of the data sets to train on instead.

        The result joins ``network.mappings`` with the user's ``mappings``, which take precedence.
        """
        return {**self.network.mappings, **self.mappings}


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of config.json, journal and data: ``DECLOUD_HOME``, else ``~/.decloud-trainer``."""
    return Path(unquoted(environ.get("DECLOUD_HOME") or "~/.decloud-trainer", "DECLOUD_HOME")).expanduser()
