"""Hostile answers of proxies."""

from __future__ import annotations

import pytest

from tests.hostile.conftest import Meet
from tests.hostile.test_gateways import CID
from tests.hostile.wire import ANSWERS, Behaviour, answer, serving

BEHIND = "http://elsewhere.invalid"
OWN: dict[str, Behaviour] = {
    "a login in escape sequences": answer("no", "text/html", "407 \x1b[2JNo", "Proxy-Authenticate: Basic realm=\x9b1m"),
    "a gateway's error": answer("<html>Bad Gateway</html>", "text/html", "502 Bad Gateway"),
}
_SOME = ("an endless redirect", "endless headers", "endless 100 Continue", "no bytes", "a login page")
SHARED = {**OWN, **{name: ANSWERS[name] for name in _SOME}}
INPUTS = [(client, name) for client in ("gateway", "rpc") for name in SHARED]
ARGUMENTS = {"gateway": ((BEHIND, CID), 7), "rpc": ((BEHIND, "balance"), 5)}


@pytest.mark.parametrize(("client", "name"), INPUTS)
def test_it_ends_in_one_sentence(client: str, name: str, call: Meet) -> None:
    arguments, code = ARGUMENTS[client]
    with serving(SHARED[name]) as url:
        proxies = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}
        call(client, *arguments, **proxies).in_one_sentence(code=code)
