"""Apprise in a process of its own: what a service answers costs the daemon no memory and no thread.

Reads one JSON object from standard input and writes one to standard output: see `main`. Answers over HTTP are limited
as everywhere in this program; what else a plug-in reads is limited by this process's memory and by its parent's
patience.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import requests

from decloud_pl.children import open_messages, send
from decloud_pl.errors import ConfigError
from decloud_pl.http_client import WholeSession
from decloud_pl.own_memory import hide_memory, limit_memory
from decloud_pl.proxies import for_libraries, trusted_certificates

_MEMORY_BYTES = 256 << 20


def main() -> None:
    """Checks an address or sends a message to it.

    The object asked with has ``url``, ``seconds`` for one HTTP exchange, ``lifetime`` in seconds, and ``message``,
    which is null or has ``title``, ``body`` and ``kind``. The one answered with has ``service``, empty where Apprise
    does not know the address; ``delivered``; and ``wrong``, null or the message and the fix of a `ConfigError`.
    """
    hide_memory()  # the address holds a login
    messages = open_messages()
    logging.disable()  # Apprise repeats parts of the address
    asked = json.load(sys.stdin)
    signal.alarm(int(asked["lifetime"]) + 1)  # should the parent be gone by then
    wrong: list[ConfigError] = []
    requests.sessions.Session = _session(float(asked["seconds"]), wrong)  # type: ignore[misc]
    limit_memory(_MEMORY_BYTES)
    try:
        trusted_certificates()  # by the names that the user gave
        os.environ.update(for_libraries(os.environ))
        found = _deliver(asked)
    except ConfigError as error:
        found = {"service": "unknown"}
        wrong.append(error)
    answer = {"service": "", "delivered": False, **found}
    send(messages, {**answer, "wrong": [wrong[0].message, wrong[0].fix] if wrong else None})


def _deliver(asked: Mapping[str, Any]) -> dict[str, Any]:
    from apprise import Apprise

    apprise, message = Apprise(), asked["message"]
    with contextlib.suppress(Exception):  # a plug-in may raise about anything, with the address in its text
        if not apprise.add(asked["url"]):
            return {}
        service = str(apprise[0].service_name)
        if message is None:
            return {"service": service}
        # As text: a service that takes HTML must not take a stranger's words for it.
        delivered = apprise.notify(
            title=message["title"], body=message["body"], notify_type=message["kind"], body_format="text"
        )
        return {"service": service, "delivered": bool(delivered)}
    return {"service": "unknown"}


def _session(seconds: float, wrong: list[ConfigError]) -> type[requests.Session]:
    """The kind of session that plug-ins get: the functions of `requests` make one for each exchange."""

    class Session(WholeSession):
        def __init__(self) -> None:
            super().__init__(seconds)

        def request(self, *arguments: Any, **options: Any) -> requests.Response:
            try:
                return super().request(*arguments, **options)
            except ConfigError as error:
                wrong.append(error)
                raise

    return Session


if __name__ == "__main__":
    main()
