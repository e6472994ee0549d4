"""Addresses that users set: what is wrong with one, in words that complete "SETTING: …".

An address is never repeated, since a key may be in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6|dnsaddr|unix|p2p)/")
_PORTS = range(1, 65_536)


def check_http(url: str) -> None:
    """Checks an http or https address, which may hold a login and a key.

    Raises:
        ValueError: what it is instead.
    """
    _split(url, ("http", "https"))


def check_websocket(url: str) -> None:
    """As `check_http`, for ws and wss."""
    _split(url, ("ws", "wss"))


def check_gateway(url: str) -> None:
    """As `check_http`, for an IPFS gateway: with or without the ``/ipfs/`` that stands before a CID, without a login.

    Raises:
        ValueError: as `check_http`; or something in it has no place in a gateway's address.
    """
    parts = _split(url, ("http", "https"))
    if parts.username is not None or parts.password is not None:
        raise ValueError("a login stands before the host, and would be shown with it; leave it out")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("a CID is put behind this address, so nothing may follow a ? or # in it")
    if re.search("/ip[fn]s/.", parts.path):
        raise ValueError("this is the address of a file; give the gateway's own, which ends before /ipfs/")
    if parts.path.startswith("/api/v0"):
        raise ValueError("this is the address of a node's RPC; its gateway is another one, by default on port 8080")


def gateway_root(url: str) -> str:
    """A gateway's address without a slash or ``/ipfs`` at its end: ``/ipfs/CID`` is put behind it."""
    return url.rstrip("/").removesuffix("/ipfs").rstrip("/")


def check_multiaddr(text: str) -> None:
    """Checks the address of a node's RPC, as far as its form goes.

    Raises:
        ValueError: what it is instead.
    """
    _plain(text)
    if _SCHEME.match(text):
        raise ValueError("this is not a multiaddr but a URL")
    if not _MULTIADDR.match(text):
        raise ValueError("this is not a multiaddr, which begins with /ip4/, /ip6/ or /dns/")
    if "/p2p/" in text or "/ipfs/" in text:
        raise ValueError("this is where other nodes find the peer, not its RPC")
    port = re.search("/tcp/([^/]*)", text)
    if port is None and not text.startswith("/unix/"):
        raise ValueError("it names no /tcp/PORT")
    if port is not None:
        _check_port(port[1])


def _split(url: str, schemes: Collection[str]) -> SplitResult:
    _plain(url)
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    if _MULTIADDR.match(url):
        raise ValueError(f"this is a multiaddr, not an address with {wanted}")
    found = _SCHEME.match(url)
    if found is None:
        raise ValueError(f"it does not begin with {wanted}")
    scheme = found[1].lower()
    if scheme not in schemes:
        what = {"ws": "a WebSocket's", "wss": "a WebSocket's", "ipfs": "a file's", "ipns": "a file's"}.get(scheme)
        raise ValueError(f"{scheme}:// is {what} scheme; {wanted} is needed" if what else f"{scheme}:// is no {wanted}")
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        readable = "[" in place or place.count(":") < 2
    except ValueError:
        readable = False
    if not readable:
        raise ValueError("its host cannot be read; an IPv6 address stands in brackets")
    if not parts.hostname:
        raise ValueError(f"no host follows {scheme}://")
    # Not `parts.port`, whose own words repeat the text.
    port = re.search(r":([^:\]]+)$", place)
    if port is not None:
        _check_port(port[1])
    return parts


def _plain(text: str) -> None:
    if not text:
        raise ValueError("it is empty")
    if re.search(r"\s", text):
        raise ValueError("there is a space in it")
    if not text.isprintable():
        raise ValueError("there is a character in it that cannot be seen")


def _check_port(text: str) -> None:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("what follows the host's colon is not a port")
    if int(text) not in _PORTS:
        raise ValueError(f"there is no port {int(text)}; ports are 1 to {_PORTS[-1]}")


def is_loopback(host: str) -> bool:
    """Whether a host's name or IP address is this machine itself (RFC 6761, section 6.3; RFC 1122, section 3.2.1.3)."""
    if f".{host.lower()}".endswith(".localhost"):
        return True
    if not (":" in host or host[-1:].isdecimal()):
        return False  # no IP address, for which a module would be loaded
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
