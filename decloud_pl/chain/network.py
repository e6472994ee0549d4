"""Where the chain and its content are reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit

from decloud_pl.chain.dialects import check_name, get_dialect, names
from decloud_pl.domain import Convention
from decloud_pl.errors import ConfigError
from decloud_pl.ranges import GATEWAYS, URL, WEBSOCKET, ZERO_OR_MORE, one_of

_PUBLIC_KEY = re.compile("[1-9A-HJ-NP-Za-km-z]{32,44}")
"""32 bytes in base58. Whether a text is that long exactly is known when it is read; a private key never fits."""
AUTO = "auto"
"""Found out from what the chain shows."""


@dataclass
class NetworkConfig:
    """Where the chain and its content are reached."""

    name: str = "local"
    rpc_url: Annotated[str, URL] = "http://127.0.0.1:8899"
    ws_url: Annotated[str, WEBSOCKET] = ""
    fallback_rpc_urls: Annotated[list[str], URL] = field(default_factory=list)
    requests_per_second: Annotated[float, ZERO_OR_MORE] = 0.0
    genesis: str = ""
    dialect: str = AUTO
    program_id: str = "HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC"
    treasury: str = ""
    referrer: str = ""
    gateways: Annotated[list[str], GATEWAYS] = field(default_factory=list)
    convention: Annotated[str, one_of("auto", "delta", "gradient")] = AUTO
    gradient_rate: float = 0.1
    faucet: bool = False
    mappings: dict[str, str] = field(default_factory=dict)

    @property
    def assumed_dialect(self) -> str:
        """The revision to work with where nothing is known of the program yet: what comes before a claim is the same
        in all of v1.
        """
        return names()[-1] if self.dialect == AUTO else self.dialect

    @property
    def read_convention(self) -> Convention:
        """How updates are read where nothing is known of the validator."""
        if self.convention != AUTO:
            return cast(Convention, self.convention)
        return get_dialect(self.assumed_dialect).reading.convention

    def describe_convention(self, written: str, found_out: str = "each validator's rounds show") -> str:
        """How updates are read, or ``found_out``, and how they are written where that is another way."""
        rate = f", rate {self.gradient_rate:g}" if self.read_convention == "gradient" else ""
        words = found_out if self.convention == AUTO else f"{self.read_convention}{rate}"
        return words if written == self.read_convention else f"{words}; written as {written}"

    def check(self) -> None:
        """Checks what types cannot express.

        Raises:
            ConfigError: there is no such dialect, an account cannot be a public key, or an address is not an http or
                https URL.
        """
        if self.dialect != AUTO:
            check_name(self.dialect)
        for name, key in (("network.treasury", self.treasury), ("network.referrer", self.referrer)):
            if key and not _PUBLIC_KEY.fullmatch(key):
                raise not_a_public_key(name)
        self.websocket_urls()

    def websocket_urls(self) -> list[str]:
        """``ws_url``, derived from ``rpc_url`` where it is empty, and those of the fallbacks.

        Raises:
            ConfigError: an address is not an http or https URL.
        """
        fallbacks = [_websocket_url(url, "network.fallback_rpc_urls") for url in self.fallback_rpc_urls]
        return [self.ws_url or _websocket_url(self.rpc_url, "network.rpc_url"), *fallbacks]


def not_a_public_key(name: str) -> ConfigError:
    """What to say of a setting's value, which is not repeated: it may be a private key."""
    return ConfigError(f"{name} is not a Solana address.", fix="Give the account's public key.")


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
