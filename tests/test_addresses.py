"""Every kind of invalid address has its own error message, and no message repeats the address."""

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
def test_valid_addresses_are_accepted(check: Check, address: str) -> None:
    check(address)


@pytest.mark.parametrize(
    ("check", "address", "words"),
    [
        (check_http, "", "it is empty"),
        (check_http, "127.0.0.1:8899", "it must begin with http:// or https://"),
        (check_http, "localhost:8899", "it must begin with http:// or https://"),
        (check_http, "http:/127.0.0.1", "it must begin with http:// or https://"),
        (check_http, "ws://127.0.0.1:8900", "it must begin with http:// or https:// (got ws://)"),
        (check_http, "ftp://a", "it must begin with http:// or https:// (got ftp://)"),
        (check_http, "/ip4/127.0.0.1/tcp/8080/http", "but it is a multiaddr"),
        (check_http, "http://a b", "it contains a space"),
        (check_http, " http://a", "it contains a space"),
        (check_http, "http://a\u200b", "it contains an invisible character"),
        (check_http, "http://", "the host after http:// is missing"),
        (check_http, "http://:80", "the host after http:// is missing"),
        (check_http, "http://a:99999", "its port must be from 1 to 65535 (got 99999)"),
        (check_http, "http://a:0", "its port must be from 1 to 65535 (got 0)"),
        (check_http, "http://a:KEY", "its port must be a number"),
        (check_http, "http://[::1", "put an IPv6 address in brackets"),
        (check_http, "http://::1:80", "put an IPv6 address in brackets"),
        (check_websocket, "http://a", "it must begin with ws:// or wss:// (got http://)"),
        (check_gateway, "ipfs://bafy", "(got ipfs://)"),
        (check_gateway, "https://me:KEY@a", "it contains a user name or password, which would appear in messages"),
        (check_gateway, "https://a?token=KEY", "it must not contain ? or #"),
        (check_gateway, "https://a/#", "it must not contain ? or #"),
        (check_gateway, "https://a/ipfs/bafy", "it is the address of a file"),
        (check_gateway, "http://127.0.0.1:5001/api/v0", "it is the RPC address of a node"),
        (check_multiaddr, "http://127.0.0.1:5001", "it must be a multiaddr, not a URL"),
        (check_multiaddr, "127.0.0.1:5001", "it must be a multiaddr"),
        (check_multiaddr, "/ip4/127.0.0.1", "add /tcp/PORT"),
        (check_multiaddr, "/ip4/127.0.0.1/tcp/70000/http", "(got 70000)"),
        (check_multiaddr, "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW", "the node's address for peers"),
    ],
)
def test_an_error_states_what_is_wrong(check: Check, address: str, words: str) -> None:
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
        ("network.gateways=[https://ipfs.io,127.0.0.1:8080]", "network.gateways: it must begin with http://"),
        ("network.ws_url=http://127.0.0.1:8900", "network.ws_url: it must begin with ws://"),
        ("network.fallback_rpc_urls=['http://a b']", "network.fallback_rpc_urls: it contains a space"),
        ("data.mirror=mirror.example/data", "data.mirror: it must begin with http://"),
        ("storage.kubo_address=http://127.0.0.1:5001", "Write a value like /ip4/127.0.0.1/tcp/5001/http."),
        ("storage.pinata_api_url=api.pinata.cloud", "storage.pinata_api_url: it must begin with http://"),
    ],
)
def test_settings_are_checked_when_they_are_composed(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert words in str(caught.value)
