"""The HTTP session that `ipfshttpclient` is given: it follows no redirect, and an exchange has an end."""

from __future__ import annotations

import io
from typing import Any

import requests
from ipfshttpclient import requests_wrapper

from decloud_pl.http_client import IDENTITY, REDIRECTS, BoundedSession

LONGEST_EXCHANGE = 1800.0
"""Seconds, with the upload of a file."""
_LONGEST_ANSWER = 1 << 20
_PIECE = 1 << 16


class KuboSession(BoundedSession, requests_wrapper.Session):  # type: ignore[misc]
    """Reads answers whole, of 1 MiB at most, before the library sees them."""

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """As `BoundedSession.request`, with the body.

        Raises:
            ValueError: no answer of a node: a redirect, or one without end.
        """
        response = super().request(*arguments, **options)
        try:
            body = self._whole(response)
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response

    def _whole(self, response: requests.Response) -> bytes:
        if response.status_code in REDIRECTS:
            raise ValueError("the answer is a redirect")
        body = bytearray()
        try:
            for piece in self.body(response, _PIECE):
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    raise ValueError("the answer does not end")
        except requests.ConnectionError as error:
            # The library takes a `ConnectionError` for a node that is not there.
            raise requests.exceptions.ChunkedEncodingError(*error.args) from error
        return bytes(body)


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
