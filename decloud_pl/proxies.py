"""Choose the proxy and the trusted certificates for an address, in the same way for every client.

This module reads the environment variables that curl and requests support:

- ``HTTP_PROXY``, ``HTTPS_PROXY`` and, as the default for both, ``ALL_PROXY``. Lower-case variables take precedence. A
  ``ws`` address uses the proxy for ``http``, and a ``wss`` address uses the proxy for ``https``.
- ``NO_PROXY`` lists hosts to connect to directly: names (including subdomains), IP addresses and networks such as
  ``10.0.0.0/8``, each with an optional port, or ``*`` for all hosts. Loopback addresses never use a proxy.
- ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` and ``SSL_CERT_FILE`` name the certificates to trust instead of the
  system's: a PEM file, or a folder prepared with `openssl rehash`. The first of these variables that is set applies.
  ``SSL_CERT_FILE`` comes last because package managers set it, too, while only users set the others.

Error messages never repeat a proxy's address, because it may contain a login.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from decloud_pl.addresses import check_http, is_loopback
from decloud_pl.errors import ConfigError
from decloud_pl.redact import redact

if TYPE_CHECKING:
    import ssl

_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
# A host with an optional port, or an IPv6 address or network with or without brackets.
_EXEMPT = re.compile(r"\[(?P<v6>[^\]]*)\](?::(?P<port>\d+))?|(?P<host>[^:]*)(?::(?P<port2>\d+))?|(?P<bare>.*)")
_THIS_MACHINE = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach an address.

    Attributes:
        proxy: the http or https address of the proxy, including its login; None to connect directly.
        certificates: a file or folder with trusted certificates. None if the client should trust the system's, or if
            the connection is not encrypted.
    """

    proxy: str | None
    certificates: Path | None

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return a new context that trusts ``certificates``, or None if the client should trust the system's."""
        return None if self.certificates is None else _context(self.certificates)

    def proxy_ssl_context(self) -> ssl.SSLContext | None:
        """Return the context for an encrypted connection to the proxy itself.

        Return None if the connection is not encrypted, or if the client should trust the system's certificates.
        """
        return self.ssl_context() if (self.proxy or "").startswith("https:") else None

    def proxy_with_plain_login(self) -> str | None:
        """Return ``proxy`` with its login unescaped, for a client that would send an escaped login as it is.

        A login stays escaped if it contains one of ``/?#[]``, or a character that is not printable ASCII.
        """
        if self.proxy is None:
            return None
        parts = urlsplit(self.proxy)
        login, _, place = parts.netloc.rpartition("@")
        plain = ":".join(map(unquote, login.split(":")))
        if not login or not plain.isascii() or not plain.isprintable() or re.search(r"[/?#\[\]]", plain):
            return self.proxy
        return f"{parts.scheme}://{plain}@{place}"


def route_to(url: str, environ: Mapping[str, str] | None = None) -> Route:
    """Return the route to an address.

    Args:
        url: an http, https, ws or wss address; other schemes never use a proxy.
        environ: the environment variables; by default those of this process.

    Raises:
        ConfigError: the proxy for this address is invalid, or the connection is encrypted and
            `trusted_certificates` raises this error.
    """
    environ = os.environ if environ is None else environ
    proxy = _proxy_to(url, environ)
    is_encrypted = not url.lower().startswith(("http:", "ws:")) or (proxy or "").startswith("https:")
    # Reading a bundle of certificates takes 20 ms, which a command on a local network would spend for nothing.
    return Route(proxy, trusted_certificates(environ) if is_encrypted else None)


def _proxy_to(url: str, environ: Mapping[str, str]) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # the client reports the invalid address
        return None
    if port is None or parts.scheme not in _PORTS or not host or is_loopback(host):
        return None
    if any(_is_exempt(entry, host, port) for entry in re.split(r"[\s,]+", _value("NO_PROXY", environ)[1])):
        return None
    return _proxy(parts.scheme in ("https", "wss"), environ)


def trusted_certificates(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file or folder of trusted certificates that the environment sets; None if no variable is set.

    If several variables are set, the first variable in the order of `_CERTIFICATES` applies. The paths in all the
    variables are checked, because a library may read any of the variables.

    Raises:
        ConfigError: a variable names a path that cannot be read, or a file without certificates. The content of a
            folder is not checked.
    """
    named = [(name, Path(value)) for name, value in _set_certificates(os.environ if environ is None else environ)]
    for name, path in named:
        _check_certificates(name, path)
    return named[0][1] if named else None


def in_force(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the proxy and certificate variables that take effect, with their values but without logins, for display.

    Raises:
        ConfigError: as `route_to`.
    """
    environ = os.environ if environ is None else environ
    found: list[str] = []
    for secure in (False, True):
        proxy = _proxy(secure, environ)
        if proxy is not None:
            found.append(f"{_named(secure, environ)[0]} {redact(proxy)}")
    exempt = _value("NO_PROXY", environ)
    if found and exempt[1]:
        found.append(" ".join(exempt))
    certificates = trusted_certificates(environ)
    if certificates is not None:
        found.append(f"{next(_set_certificates(environ))[0]} {certificates}")
    return list(dict.fromkeys(found))


def for_libraries(environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables to add to the environment, so that libraries use the same proxies and certificates.

    This matters for libraries with their own HTTP clients, such as Lightning's loggers. An invalid proxy or certificate
    path causes no error here, because a library may never make a connection that uses it.
    """
    found: dict[str, str] = {}
    if any(_value(name, environ)[1] for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")):
        exempt = [entry for entry in re.split(r"[\s,]+", _value("NO_PROXY", environ)[1]) if entry]
        exempt += [entry for entry in _THIS_MACHINE if entry not in exempt]
        found |= dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(exempt))
    name, value = next(_set_certificates(environ), ("", ""))
    if name:
        found |= {"REQUESTS_CA_BUNDLE": value, "SSL_CERT_DIR" if Path(value).is_dir() else "SSL_CERT_FILE": value}
    return found


def _value(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's name and value. The lower-case name takes precedence if it is set, even to an empty text."""
    written = name.lower() if name.lower() in environ else name
    return written, environ.get(written, "").strip()


def _named(secure: bool, environ: Mapping[str, str]) -> tuple[str, str]:
    own = _value("HTTPS_PROXY" if secure else "HTTP_PROXY", environ)
    return own if own[1] else _value("ALL_PROXY", environ)


def _proxy(secure: bool, environ: Mapping[str, str]) -> str | None:
    name, value = _named(secure, environ)
    if not value:
        return None
    address = value if _SCHEME.match(value) else f"http://{value}"
    remedy = "Set it to an address like http://proxy.example:3128, or unset it."
    if address.lower().startswith("socks"):
        raise ConfigError(f"{name} is a SOCKS proxy, which this program does not support.", fix=remedy)
    try:
        check_http(address)
    except ValueError as error:
        raise ConfigError(f"{name} is not a valid proxy: {error}.", fix=remedy) from None
    parts = urlsplit(address)
    login, _, place = parts.netloc.rpartition("@")
    if login:
        # All special characters are escaped. A missing password is the same as an empty one.
        user, _, password = login.partition(":")
        place = f"{_escaped(user)}:{_escaped(password)}@{place}"
    return f"{parts.scheme.lower()}://{place}"


def _escaped(text: str) -> str:
    return quote(unquote(text), safe="")


def _is_exempt(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches a host and port."""
    found = _EXEMPT.fullmatch(entry)
    if not entry or found is None:
        return False
    if entry == "*":
        return True
    wanted = found["port"] or found["port2"]
    if wanted and wanted.lstrip("0") != str(port):
        return False
    name = next(part for part in (found["v6"], found["host"], found["bare"]) if part is not None)
    name = name.lower().removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}") or _is_within(host, name))


def _is_within(host: str, network: str) -> bool:
    """Return whether a host is an IP address within a network."""
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _set_certificates(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, environ[name]) for name in _CERTIFICATES if environ.get(name))


def _check_certificates(name: str, path: Path) -> None:
    remedy = "Correct it, or unset it to trust the system's certificates."
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return
        if stat.S_ISREG(found.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a valid path"
        raise ConfigError(f"{name} is {path}, which cannot be read: {why}.", fix=remedy) from None
    if not stat.S_ISREG(found.st_mode) or not _holds_certificates(path, found.st_mtime_ns, found.st_size):
        raise ConfigError(f"{name} is {path}, which contains no certificates in PEM format.", fix=remedy)


@functools.lru_cache(maxsize=8)
def _holds_certificates(path: Path, mtime_ns: int, size: int) -> bool:  # noqa: ARG001 - a changed file needs a new check
    try:
        _context(path)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return True


def _context(path: Path) -> ssl.SSLContext:
    import ssl

    place = {"capath": str(path)} if path.is_dir() else {"cafile": str(path)}
    return ssl.create_default_context(**place)  # type: ignore[arg-type]
