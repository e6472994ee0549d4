"""The settings of a network: its endpoints, gateways and program."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, cast
from urllib.parse import urlsplit, urlunsplit

from decloud_pl.chain.dialects import check_name, get_dialect, names
from decloud_pl.domain import Convention
from decloud_pl.errors import ConfigError
from decloud_pl.ranges import GATEWAYS, URL, WEBSOCKET, ZERO_OR_MORE, one_of

_PUBLIC_KEY = re.compile("[1-9A-HJ-NP-Za-km-z]{32,44}")
"""About 32 bytes in base58. Only decoding shows the exact length. A private key is longer and never matches."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
AUTO = "auto"
"""Detect the value from the chain."""


@dataclass
class NetworkConfig:
    """The settings of a network: its endpoints, gateways and program."""

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
        """The revision to assume until the program's revision is detected.

        A wrong assumption does no harm: all revisions of v1 have the same instructions up to the claim of the reward.
        """
        return names()[-1] if self.dialect == AUTO else self.dialect

    @property
    def read_convention(self) -> Convention:
        """The convention to assume for a validator whose convention has not been detected."""
        if self.convention != AUTO:
            return cast(Convention, self.convention)
        return get_dialect(self.assumed_dialect).reading.convention

    def describe_convention(self, written: str, found_out: str = "each validator's rounds show") -> str:
        """Describe the convention by which validators read updates, in a few words.

        If ``written`` differs from `read_convention`, the description also names ``written``.

        Args:
            written: the convention in which this trainer writes updates.
            found_out: the text to use for ``network.convention=auto``, which detects the convention of each validator.
        """
        rate = f", rate {self.gradient_rate:g}" if self.read_convention == "gradient" else ""
        words = found_out if self.convention == AUTO else f"{self.read_convention}{rate}"
        return words if written == self.read_convention else f"{words}; written as {written}"

    def check(self) -> None:
        """Check the values of the settings. Their types and ranges are checked elsewhere.

        Raises:
            ConfigError: the dialect does not exist, or an account is not a public key.
        """
        if self.dialect != AUTO:
            check_name(self.dialect)
        for name, key in (("network.treasury", self.treasury), ("network.referrer", self.referrer)):
            if key and not _PUBLIC_KEY.fullmatch(key):
                raise not_a_public_key(name)

    def websocket_urls(self) -> list[str]:
        """Return the WebSocket URL of the main endpoint, then the URLs derived from ``fallback_rpc_urls``.

        The first is ``ws_url``, or is derived from ``rpc_url`` if ``ws_url`` is empty.

        Raises:
            ConfigError: an address is not an http or https URL.
        """
        fallbacks = [_websocket_url(url, "network.fallback_rpc_urls") for url in self.fallback_rpc_urls]
        return [self.ws_url or _websocket_url(self.rpc_url, "network.rpc_url"), *fallbacks]


def not_a_public_key(name: str) -> ConfigError:
    """Return the error for a setting that is not an address. Its message omits the value: it may be a private key."""
    return ConfigError(f"{name} is not a Solana address.", fix="Set it to the public key of the account.")


def _websocket_url(rpc_url: str, name: str) -> str:
    try:
        parts = urlsplit(rpc_url)
        port = parts.port
    except ValueError:
        port = None
        parts = urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        # The message does not repeat the URL, because it may contain an API key.
        raise ConfigError(
            f"{name} is not an http or https URL.", fix="Set it to an address such as http://127.0.0.1:8899."
        )
    scheme = "wss" if parts.scheme == "https" else "ws"
    path = "" if parts.path == "/" else parts.path
    # A Solana node serves the WebSocket on the next port. A provider serves it at the same address, whose path or query
    # may be an API key.
    if port and port != _DEFAULT_PORTS[parts.scheme] and not path and not parts.query:
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{scheme}://{host}:{port + 1}"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))
