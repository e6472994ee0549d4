"""The HTTP session that `ipfshttpclient` is given: it follows no redirect, and an exchange has an end."""

from __future__ import annotations

import socket
from typing import Any

import requests
from ipfshttpclient import requests_wrapper

from decloud_pl.http_client import IDENTITY, WholeSession
from decloud_pl.proxies import route_to

LONGEST_EXCHANGE = 1800.0
"""Seconds, with the upload of a file."""


class KuboSession(WholeSession, requests_wrapper.Session):  # type: ignore[misc]
    """Connects to the address families that the library asks for, unless a proxy does the connecting."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """As `WholeSession.request`."""
        # The library adds the address family to the scheme, where a proxy would find it.
        family = options.pop("family", self.family)
        if family != socket.AF_UNIX and route_to(url).proxy:
            family = socket.AF_UNSPEC
        return super().request(method, url, family=family, **options)


def check_route(client: Any) -> None:
    """Checks how a client of the library reaches its node.

    Raises:
        ConfigError: as `route_to`.
    """
    http = client._client  # noqa: SLF001 - as below
    if http._session_props["family"] != socket.AF_UNIX:  # noqa: SLF001
        route_to(http._base_url)  # noqa: SLF001


def bounded_session(client: Any) -> KuboSession:
    """Gives a client of the library a session for the exchanges of one context.

    Args:
        client: has no session yet.
    """
    http, session = client._client, KuboSession(LONGEST_EXCHANGE)  # noqa: SLF001 - there is no other way in
    for name, value in http._session_props.items():  # noqa: SLF001
        setattr(session, name, value)
    session.headers.update(IDENTITY)
    http._session = session  # noqa: SLF001
    return session
