"""Compose settings for a session, and select the settings that views and reports show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from decloud_pl.chain.network import AUTO
from decloud_pl.config import Settings, Tree, compose, load
from decloud_pl.config.layers import sources
from decloud_pl.config.values import hydra_text
from decloud_pl.domain import Convention, NetworkAddresses, format_sol
from decloud_pl.errors import ConfigError, UsageError
from decloud_pl.observers.observe import device, precision
from decloud_pl.redact import redact_tree

_LOCAL_TRAINING_SECONDS = 10
"""A round on another network leaves more time, but one on a local network is for a try."""


class RunningNetwork(Protocol):
    """A running local network, for example a `LocalNetwork`.

    ``convention`` is the convention of the network's validator. ``dialect`` is the name of its program's revision.
    """

    dialect: str
    convention: Convention
    gradient_rate: float

    @property
    def endpoints(self) -> NetworkAddresses: ...


def settings_composer(
    network: RunningNetwork | Settings | str, home: Path | None
) -> Callable[[Sequence[str]], Settings]:
    """Return a function that maps overrides to a session's settings.

    Raises:
        UsageError: ``network`` is neither a running network, nor settings, nor the name of a network.
    """
    if isinstance(network, str):
        first = [f"network={network}", *([] if home is None else [f"home={hydra_text(str(home))}"])]
        return lambda overrides: load([*first, *overrides])
    if isinstance(network, Settings):
        given = network if home is None else dataclasses.replace(network, home=str(home))

        def complete(overrides: Sequence[str]) -> Settings:
            if overrides:
                raise ConfigError(
                    "Overrides cannot be applied to complete settings.", fix="Pass the overrides to load_settings."
                )
            return given

        return complete
    if not hasattr(type(network), "endpoints"):
        raise UsageError(
            f"A session needs a LocalNetwork, the name of a network, or settings (got {type(network).__name__}).",
            fix='Pass one of them, for example Session("devnet").',
        )
    read = (f"network.convention={network.convention}", f"network.gradient_rate={network.gradient_rate}")
    folder = home or Path(network.endpoints.home) / "session"
    local = [*local_overrides(network.endpoints, folder), f"network.dialect={network.dialect}", *read]
    packages = sources().allow_packages  # the user's, as on any other network
    return lambda overrides: dataclasses.replace(compose([*local, *overrides]), allow_packages=packages)


def local_overrides(addresses: NetworkAddresses, home: Path) -> list[str]:
    """Return the overrides for a local network.

    Args:
        addresses: the network's addresses.
        home: the folder of the journal and the rounds.
    """
    values = {
        "network.rpc_url": addresses.rpc_url,
        "network.ws_url": addresses.ws_url,
        "network.gateways": [addresses.gateway_url],
        "network.program_id": addresses.program_id,
        "storage.path": str(Path(addresses.home) / "store"),
        "home": str(home),
        "poll_interval": 1.0,
        "budget_seconds": _LOCAL_TRAINING_SECONDS,
    }
    return ["network=local", *(f"{name}={hydra_text(value)}" for name, value in values.items())]


def facts(settings: Settings, preset: str) -> dict[str, str]:
    """Return the settings that the views show at the top, by name."""
    wanted, rewards = ", ".join(settings.datasets) or "any data set", settings.rewards
    limits = [f"from {format_sol(rewards.min_lamports)}"] if rewards.min_lamports else []
    limits += [f"up to {format_sol(rewards.max_lamports)}"] if rewards.max_lamports else []
    steps = ("train" if settings.auto_train else "", "claim" if settings.auto_claim else "")
    return {
        "network": settings.network.name,
        "program": settings.network.dialect,
        "preset": preset or "none",
        "filters": ", ".join([wanted, *limits]),
        "rounds": f"{settings.max_concurrent_rounds} at a time, epochs: {_epochs(settings)}",
        "automatic": ", ".join(filter(None, ("join", *steps))),
        "convention": settings.network.describe_convention(settings.written_convention(), AUTO),
        "device": device(settings.trainer),
        "precision": precision(settings.trainer),
    }


def banner(settings: Settings, preset: str, wallet: str) -> list[str]:
    """Return the first lines of a log: the wallet, the filters and the main training settings."""
    rewards = settings.rewards
    entries = {
        "Wallet": wallet,
        "Preset": preset or "none",
        "Data sets": ", ".join(settings.datasets) or "any",
        "Min reward": format_sol(rewards.min_lamports),
        "Max reward": format_sol(rewards.max_lamports) if rewards.max_lamports else "unlimited",
        "Max parallel": str(settings.max_concurrent_rounds),
        "Epochs": _epochs(settings),
        "Auto-train": "yes" if settings.auto_train else "no",
        "Auto-claim": "yes" if settings.auto_claim else "no",
    }
    size = max(map(len, entries))
    return [f"{name:<{size}}  {value}" for name, value in entries.items()]


def _epochs(settings: Settings) -> str:
    if settings.competes(settings.given):
        return f"as many as fit in {settings.budget_seconds:g} s"
    return str(settings.epochs or settings.trainer.get("max_epochs"))


def public_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings for a report, without secrets and without the paths of URLs, which may contain API keys."""
    values = {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(Tree)}
    found = {
        name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
        if name != "preset"
    }
    cleaned = redact_tree(found)
    return cleaned if isinstance(cleaned, dict) else {}
