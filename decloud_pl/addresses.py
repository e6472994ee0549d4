"""Check the addresses in settings. Each error message completes a sentence that begins with "SETTING: ".

The messages never repeat a URL, because it may contain a key.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6|dnsaddr|unix|p2p)/")
_PORTS = range(1, 65_536)
_LONGEST_PUBKEY = 44
"""The most base58 digits of 32 bytes."""


def check_http(url: str) -> None:
    """Check an http or https URL, which may contain a login and a key.

    Raises:
        ValueError: the URL is invalid; the message says why.
    """
    _split(url, ("http", "https"))


def check_websocket(url: str) -> None:
    """Check a ws or wss URL, as `check_http` checks an http URL. Raise `ValueError` if it is invalid."""
    _split(url, ("ws", "wss"))


def check_gateway(url: str) -> None:
    """Check the URL of an IPFS gateway, which may end with ``/ipfs/`` but must not contain a login.

    Raises:
        ValueError: the URL is invalid; the message says why.
    """
    parts = _split(url, ("http", "https"))
    if parts.username is not None or parts.password is not None:
        raise ValueError("it contains a user name or password, which would appear in messages; remove it")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("it must not contain ? or #, because a CID is appended to it")
    if re.search("/ip[fn]s/.", parts.path):
        raise ValueError("it is the address of a file; use the part before /ipfs/")
    if parts.path.startswith("/api/v0"):
        raise ValueError("it is the RPC address of a node; use the node's gateway, which by default has port 8080")


def gateway_root(url: str) -> str:
    """Return a gateway's address without a trailing slash or ``/ipfs``; callers append ``/ipfs/CID``."""
    return url.rstrip("/").removesuffix("/ipfs").rstrip("/")


def check_multiaddr(text: str) -> None:
    """Check the form of a multiaddr that a setting gives as the RPC address of an IPFS node.

    Raises:
        ValueError: the address is invalid; the message says why.
    """
    _plain(text)
    if _SCHEME.match(text):
        raise ValueError("it must be a multiaddr, not a URL")
    if not _MULTIADDR.match(text):
        raise ValueError("it must be a multiaddr, which begins with /ip4/, /ip6/ or /dns/")
    if "/p2p/" in text or "/ipfs/" in text:
        raise ValueError("it is the node's address for peers; use the node's RPC address")
    port = re.search("/tcp/([^/]*)", text)
    if port is None and not text.startswith("/unix/"):
        raise ValueError("it has no port; add /tcp/PORT")
    if port is not None:
        _check_port(port[1])


def check_pubkey(text: str) -> None:
    """Check the address of a Solana account: 32 bytes in base58.

    Raises:
        ValueError: the text is not such an address. The message omits a text that is too long for an
            address, because it may be a secret key.
    """
    from solders.pubkey import Pubkey

    if len(text) > _LONGEST_PUBKEY:
        raise ValueError(
            f"a value of {len(text)} characters is too long for an address, which has at most {_LONGEST_PUBKEY}"
        )
    try:
        Pubkey.from_string(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address, which is 32 bytes in base58") from None


def _split(url: str, schemes: Collection[str]) -> SplitResult:
    _plain(url)
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    if _MULTIADDR.match(url):
        raise ValueError(f"it must begin with {wanted}, but it is a multiaddr")
    found = _SCHEME.match(url)
    if found is None:
        raise ValueError(f"it must begin with {wanted}")
    scheme = found[1].lower()
    if scheme not in schemes:
        raise ValueError(f"it must begin with {wanted} (got {scheme}://)")
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        readable = "[" in place or place.count(":") < 2
    except ValueError:
        readable = False
    if not readable:
        raise ValueError("its host is invalid; put an IPv6 address in brackets")
    if not parts.hostname:
        raise ValueError(f"the host after {scheme}:// is missing")
    # The error message of `parts.port` would repeat the address.
    port = re.search(r":([^:\]]+)$", place)
    if port is not None:
        _check_port(port[1])
    return parts


def _plain(text: str) -> None:
    if not text:
        raise ValueError("it is empty")
    if re.search(r"\s", text):
        raise ValueError("it contains a space")
    if not text.isprintable():
        raise ValueError("it contains an invisible character")


def _check_port(text: str) -> None:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("its port must be a number")
    if int(text) not in _PORTS:
        raise ValueError(f"its port must be from 1 to {_PORTS[-1]} (got {int(text)})")


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address always means this machine.

    Sources: RFC 6761, section 6.3, and RFC 1122, section 3.2.1.3.
    """
    if f".{host.lower()}".endswith(".localhost"):
        return True
    if not (":" in host or host[-1:].isdecimal()):
        return False  # not an IP address; this avoids importing a module
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
