"""Each kind of wrong address has its own message, and no message repeats the address."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from decloud_pl.addresses import check_gateway, check_http, check_multiaddr, check_websocket, gateway_root
from decloud_pl.config import compose
from decloud_pl.errors import ConfigError

Check = Callable[[str], None]


@pytest.mark.parametrize(
    ("check", "address"),
    [
        *[
            (check_http, url)
            for url in ("http://127.0.0.1:8899", "https://me:KEY@rpc.example.org/KEY?k=KEY", "HTTP://a")
        ],
        *[
            (check_http, url)
            for url in ("http://[::1]:9000", "http://localhost:", "http://a/path:x", "https://a:65535")
        ],
        *[(check_websocket, url) for url in ("ws://127.0.0.1:8900", "wss://rpc.example.org/KEY")],
        *[(check_gateway, url) for url in ("http://127.0.0.1:8080", "https://ipfs.io/ipfs/", "https://a.b/c/ipfs")],
        *[(check_multiaddr, f"/{host}/tcp/5001/http") for host in ("ip4/127.0.0.1", "ip6/::1", "dns/a", "dns6/a")],
        (check_multiaddr, "/unix/run/kubo.sock/http"),
    ],
)
def test_what_is_right_is_taken(check: Check, address: str) -> None:
    check(address)


@pytest.mark.parametrize(
    ("check", "address", "words"),
    [
        (check_http, "", "it is empty"),
        (check_http, "127.0.0.1:8899", "does not begin with http:// or https://"),
        (check_http, "localhost:8899", "does not begin with http:// or https://"),
        (check_http, "http:/127.0.0.1", "does not begin with http:// or https://"),
        (check_http, "ws://127.0.0.1:8900", "ws:// is a WebSocket's scheme; http:// or https:// is needed"),
        (check_http, "ftp://a", "ftp:// is no http:// or https://"),
        (check_http, "/ip4/127.0.0.1/tcp/8080/http", "this is a multiaddr"),
        (check_http, "http://a b", "there is a space in it"),
        (check_http, " http://a", "there is a space in it"),
        (check_http, "http://a\u200b", "a character in it that cannot be seen"),
        (check_http, "http://", "no host follows http://"),
        (check_http, "http://:80", "no host follows http://"),
        (check_http, "http://a:99999", "there is no port 99999; ports are 1 to 65535"),
        (check_http, "http://a:0", "there is no port 0"),
        (check_http, "http://a:KEY", "what follows the host's colon is not a port"),
        (check_http, "http://[::1", "an IPv6 address stands in brackets"),
        (check_http, "http://::1:80", "an IPv6 address stands in brackets"),
        (check_websocket, "http://a", "http:// is no ws:// or wss://"),
        (check_gateway, "ipfs://bafy", "ipfs:// is a file's scheme"),
        (check_gateway, "https://me:KEY@a", "a login stands before the host"),
        (check_gateway, "https://a?token=KEY", "nothing may follow a ?"),
        (check_gateway, "https://a/#", "nothing may follow a ? or #"),
        (check_gateway, "https://a/ipfs/bafy", "this is the address of a file"),
        (check_gateway, "http://127.0.0.1:5001/api/v0", "this is the address of a node's RPC"),
        (check_multiaddr, "http://127.0.0.1:5001", "this is not a multiaddr but a URL"),
        (check_multiaddr, "127.0.0.1:5001", "this is not a multiaddr"),
        (check_multiaddr, "/ip4/127.0.0.1", "it names no /tcp/PORT"),
        (check_multiaddr, "/ip4/127.0.0.1/tcp/70000/http", "there is no port 70000"),
        (check_multiaddr, "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW", "where other nodes find the peer"),
    ],
)
def test_what_is_wrong_is_named(check: Check, address: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        check(address)
    assert "KEY" not in str(caught.value)
    assert not address.strip("htp:/") or address not in str(caught.value)


@pytest.mark.parametrize("url", ["http://a", "http://a/", "http://a/ipfs", "http://a/ipfs/", "http://a//ipfs//"])
def test_the_root_of_a_gateway(url: str) -> None:
    assert gateway_root(url).rstrip("/") == "http://a"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("network.gateways=[https://ipfs.io,127.0.0.1:8080]", "network.gateways: it does not begin with http://"),
        ("network.ws_url=http://127.0.0.1:8900", "network.ws_url: http:// is no ws://"),
        ("network.fallback_rpc_urls=['http://a b']", "network.fallback_rpc_urls: there is a space in it"),
        ("data.mirror=mirror.example/data", "data.mirror: it does not begin with http://"),
        ("storage.kubo_address=http://127.0.0.1:5001", "Write it like /ip4/127.0.0.1/tcp/5001/http."),
        ("storage.pinata_api_url=api.pinata.cloud", "storage.pinata_api_url: it does not begin with http://"),
    ],
)
def test_settings_are_checked_when_they_are_composed(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert words in str(caught.value)
