"""Where the chain and its content are reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from decloud_pl.chain.solana_cli import DEFAULT_FILE, read_solana_cli_config
from decloud_pl.domain import Convention
from decloud_pl.errors import ConfigError


@dataclass
class NetworkConfig:
    """Where the chain and its content are reached."""

    name: str = "local"
    rpc_url: str = "http://127.0.0.1:8899"
    ws_url: str = ""
    fallback_rpc_urls: list[str] = field(default_factory=list)
    requests_per_second: float = 0.0
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
        return self.ws_url or _websocket_url(self.rpc_url, "network.rpc_url")

    def websocket_urls(self) -> list[str]:
        """`websocket_url` and those of the fallbacks.

        Raises:
            ConfigError: an address is not an http or https URL.
        """
        fallbacks = [_websocket_url(url, "network.fallback_rpc_urls") for url in self.fallback_rpc_urls]
        return [self.websocket_url(), *fallbacks]


def _websocket_url(rpc_url: str, name: str) -> str:
    try:
        parts = urlsplit(rpc_url)
        port = parts.port
    except ValueError:
        port = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # It is not repeated: the part that is right may hold an API key.
        raise ConfigError(f"{name} is not an http or https URL.", fix="Write it like http://127.0.0.1:8899.")
    scheme = "wss" if parts.scheme == "https" else "ws"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Solana's own nodes have the WebSocket one port up; a provider's address keeps its path, which may be a key.
    return f"{scheme}://{host}:{port + 1}" if port else f"{scheme}://{host}{_tail(rpc_url)}"


def _tail(url: str) -> str:
    """Path and query of a URL; a bare slash counts as none."""
    parts = urlsplit(url)
    path = "" if parts.path == "/" else parts.path
    return f"{path}?{parts.query}" if parts.query else path


def honour_solana_cli(network: NetworkConfig) -> None:
    """``network=solana-cli``: the addresses that ``solana config set`` keeps, where none is given.

    Raises:
        ConfigError: there are none.
    """
    if network.rpc_url:
        return
    found = read_solana_cli_config(Path(DEFAULT_FILE))
    if found is None or not found.json_rpc_url:
        raise ConfigError(
            f"The Solana CLI's configuration {DEFAULT_FILE} names no RPC address.",
            fix="Name one with `solana config set --url URL`, or set network.rpc_url.",
        )
    network.rpc_url = found.json_rpc_url
    network.ws_url = network.ws_url or found.websocket_url
