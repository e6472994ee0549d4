"""The HTTP session for `ipfshttpclient`: it follows no redirects and limits how long an exchange takes."""

from __future__ import annotations

import socket
from typing import Any

import requests
from ipfshttpclient import requests_wrapper

from decloud_pl.http_client import IDENTITY, WholeSession
from decloud_pl.proxies import route_to

LONGEST_EXCHANGE = 1800.0
"""Seconds, including the upload of a file."""


class KuboSession(WholeSession, requests_wrapper.Session):  # type: ignore[misc]
    """A session that connects with the address family that the library requests, for example IPv4.

    Through a proxy, it connects with any address family.
    """

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request like `WholeSession.request`. Through a proxy, use any address family."""
        # The library adds the address family to the URL scheme, so a proxy would get an invalid URL.
        family = options.pop("family", self.family)
        if family != socket.AF_UNIX and route_to(url).proxy:
            family = socket.AF_UNSPEC
        return super().request(method, url, family=family, **options)


def check_route(client: Any) -> None:
    """Check the proxy and the certificates that the environment sets for the address of an `ipfshttpclient` client.

    Raises:
        ConfigError: the proxy or the certificates are wrong; see `route_to`.
    """
    http = client._client  # noqa: SLF001 - as below
    if http._session_props["family"] != socket.AF_UNIX:  # noqa: SLF001
        route_to(http._base_url)  # noqa: SLF001


def bounded_session(client: Any) -> KuboSession:
    """Create a `KuboSession` for an `ipfshttpclient` client and return the session, which is a context manager.

    Args:
        client: a client without a session. It sends its requests through the new session.
    """
    http, session = client._client, KuboSession(LONGEST_EXCHANGE)  # noqa: SLF001 - the library has no public way
    for name, value in http._session_props.items():  # noqa: SLF001
        setattr(session, name, value)
    session.headers.update(IDENTITY)
    http._session = session  # noqa: SLF001
    return session
