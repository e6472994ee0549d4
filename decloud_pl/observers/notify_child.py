"""Run Apprise in a separate process, so that a huge or slow answer cannot block the daemon or fill its memory.

The process reads one JSON object from standard input and writes one to standard output; see `main`. An HTTP answer is
limited in size and time; see `WholeSession`. For other protocols, only this process's memory limit and the parent's
timeout apply.
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
    """Check an address or send a message to it.

    Keys of the request:

    - ``url``: the address.
    - ``seconds``: the time limit of one HTTP exchange.
    - ``lifetime``: the time limit of this process in seconds.
    - ``message``: an object with ``title``, ``body`` and ``kind``; null to check the address only.

    Keys of the answer:

    - ``service``: the service's name; empty if Apprise does not support the address.
    - ``delivered``: whether the message was delivered.
    - ``wrong``: the message and the fix of the first `ConfigError`; null if none was raised.
    """
    hide_memory()  # the address contains credentials
    messages = open_messages()
    logging.disable()  # Apprise logs parts of the address
    asked = json.load(sys.stdin)
    signal.alarm(int(asked["lifetime"]) + 1)  # in case the parent no longer runs by then
    wrong: list[ConfigError] = []
    requests.sessions.Session = _session(float(asked["seconds"]), wrong)  # type: ignore[misc]
    limit_memory(_MEMORY_BYTES)
    try:
        trusted_certificates()  # checked first, so that errors name the user's own variables
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
    with contextlib.suppress(Exception):  # a plug-in may raise any error, with the address in its text
        if not apprise.add(asked["url"]):
            return {}
        service = str(apprise[0].service_name)
        if message is None:
            return {"service": service}
        # Send plain text: a service that accepts HTML must not interpret untrusted words as HTML.
        delivered = apprise.notify(
            title=message["title"], body=message["body"], notify_type=message["kind"], body_format="text"
        )
        return {"service": service, "delivered": bool(delivered)}
    return {"service": "unknown"}


def _session(seconds: float, wrong: list[ConfigError]) -> type[requests.Session]:
    """Return a replacement for the class `requests.Session` that limits the size and the time of each exchange.

    Apprise's plug-ins call functions such as `requests.post`, which create a new session for each exchange. `_deliver`
    suppresses all exceptions. So the replacement appends each `ConfigError` of an exchange to ``wrong``.
    """

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
