"""The Hydra tree, checked and turned into typed values.

Hydra stops here: below this module nothing sees a ``DictConfig``. `compose` reads ``conf/``, applies
overrides, checks every key and type against the dataclasses of this file and returns `Settings`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from decloud_pl.config_dir import config_dir
from decloud_pl.domain import DATASETS, Convention, parse_sol
from decloud_pl.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
class DataConfig:
    """Where data sets are kept, and whether what is missing is downloaded."""

    folder: str = "~/.decloud-trainer/data"
    # Base URL to download from instead of the publishers': {mirror}/{data set}/{file}.
    mirror: str = ""
    download: bool = True


@dataclass
class RewardsConfig:
    """Which rewards are worth a round, in SOL; text, because money is never a float."""

    min: str = "0"
    max: str = "0"


@dataclass
class Settings:
    """One validated configuration."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    wallet: WalletConfig = field(default_factory=WalletConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    data: DataConfig = field(default_factory=DataConfig)
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

    @property
    def home_path(self) -> Path:
        return Path(self.home).expanduser()

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
    """The folder of journal, wallet and data: ``DECLOUD_HOME``, else ``~/.decloud-trainer``."""
    return Path(environ.get("DECLOUD_HOME") or "~/.decloud-trainer").expanduser()


def compose(overrides: Sequence[str] = (), *, directory: Path | None = None) -> Settings:
    """Composes ``conf/`` with Hydra overrides such as ``preset=quick-test`` or ``epochs=2``.

    Raises:
        ConfigError: an unknown key, group choice or value, named with the nearest right one.
    """
    # Hydra costs 230 ms of import, which commands without a configuration must not pay.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    folder = directory or config_dir()
    _check_shape(overrides)
    try:
        with initialize_config_dir(config_dir=str(folder), version_base="1.3", job_name="decloud_pl"):
            tree = hydra_compose("config", overrides=[_opened(override) for override in overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides, folder) from error
    return from_tree(tree)


def from_tree(tree: DictConfig) -> Settings:
    """Checks a composed tree against `Settings`.

    Raises:
        ConfigError: a key that does not exist, or a value of the wrong type or out of range.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    plain = OmegaConf.to_container(tree, resolve=False)
    if not isinstance(plain, dict):
        raise ConfigError("The configuration is not a mapping.", fix="Check conf/config.yaml.")
    plain.pop("hydra", None)
    _check_keys({str(key): value for key, value in plain.items()}, Settings, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), plain)
        settings = OmegaConf.to_object(cast(DictConfig, merged))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{_first_line(error)} ({error.full_key}).", fix="Correct the value of this key.") from error
    if not isinstance(settings, Settings):
        raise ConfigError("The configuration could not be read.", fix="Check conf/config.yaml.")
    check(settings)
    if "entry" in settings.dataset:
        settings.dataset["data"] = asdict(settings.data)
    return settings


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
    known = [name.lower() for name in DATASETS]
    for name in settings.all_mappings():
        if name not in known:
            raise ConfigError(f"mappings.{name} names no data set of the network.", fix=nearest(name, known))
    settings.network.update_convention()
    settings.network.websocket_url()


def nearest(word: str, known: Sequence[str]) -> str:
    """A phrase that names the known word nearest to ``word``, or lists them all."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


_OVERRIDE = re.compile(r"^(\+{1,2}|~)?[A-Za-z_][\w./@:-]*(=.*)?$", re.DOTALL)


def _check_shape(overrides: Sequence[str]) -> None:
    for override in overrides:
        if not _OVERRIDE.match(override) or ("=" not in override and not override.startswith("~")):
            raise ConfigError(f"{override!r} is not a setting.", fix="Write KEY=VALUE, for example preset=quick-test.")


def _opened(override: str) -> str:
    """Lets an override add to the settings whose keys are the user's own, and takes a path as it is written.

    Hydra itself would ask for ``++`` and for quotes around some characters of paths.
    """
    if not re.match(r"(mappings|paths)\b", override):
        return override
    key, _, value = override.partition("=")
    if key.startswith("paths.") and not value.startswith(('"', "'")):
        value = '"' + value.replace('"', r"\"") + '"'
    return f"++{key}={value}"


def _check_keys(plain: dict[str, Any], schema: type, prefix: str) -> None:
    known = {entry.name: entry for entry in fields(schema)}
    for key, value in plain.items():
        if key not in known:
            raise ConfigError(f"There is no setting {prefix + key!r}.", fix=nearest(key, list(known)))
        nested = _NESTED.get(key) if not prefix else None
        if nested is not None and is_dataclass(nested) and isinstance(value, dict):
            _check_keys({str(k): v for k, v in value.items()}, nested, f"{key}.")


_NESTED: dict[str, type] = {
    "network": NetworkConfig,
    "wallet": WalletConfig,
    "storage": StorageConfig,
    "rewards": RewardsConfig,
    "data": DataConfig,
}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _explain(error: Exception, overrides: Sequence[str], folder: Path) -> ConfigError:
    """The one sentence for an override that Hydra refused."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if (folder / key).is_dir():
            choices = sorted(path.stem for path in (folder / key).glob("*.yaml"))
            if value not in choices:
                return ConfigError(f"There is no {key} {value!r}.", fix=nearest(value, choices))
            continue
        known: type = Settings
        parts = key.split(".")
        if len(parts) > 1 and parts[0] in _NESTED:
            known = _NESTED[parts.pop(0)]
        names = [entry.name for entry in fields(known)]
        if parts[0] not in names:
            return ConfigError(f"There is no setting {key!r}.", fix=nearest(parts[0], names))
    return ConfigError(f"The configuration cannot be used: {_first_line(error)}.", fix="Check the settings you gave.")
