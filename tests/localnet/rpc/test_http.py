"""Requests to the server's port that are not JSON-RPC, from browsers, proxies and people."""

from __future__ import annotations

import io

import pytest

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.rpc.server import RpcServer
from tests.localnet.rpc.conftest import Rpc


async def test_health(rpc: Rpc) -> None:
    async with rpc.http.get(f"{rpc.url}/health") as response:
        assert (response.status, await response.text()) == (200, "ok")


async def test_a_page_of_another_origin_may_ask(rpc: Rpc) -> None:
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,solana-client",
    }
    async with rpc.http.options(rpc.url, headers=asked) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "*"
    body = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
    async with rpc.http.post(rpc.url, json=body, headers={"Origin": "http://localhost:3000"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.content_type == "application/json"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 405), ("PUT", "/", 405), ("POST", "/x", 404)])
async def test_what_is_not_served(rpc: Rpc, method: str, path: str, status: int) -> None:
    async with rpc.http.request(method, f"{rpc.url}{path}") as response:
        assert response.status == status


async def test_a_request_of_more_than_a_mebibyte(rpc: Rpc) -> None:
    async with rpc.http.post(rpc.url, data=io.BytesIO(b"[" + b" " * (1 << 20))) as response:
        assert response.status == 413
    assert await rpc.call("getHealth") == "ok"


async def test_a_plain_request_to_the_websocket_port(rpc: Rpc) -> None:
    async with rpc.http.get(rpc.ws_url.replace("ws:", "http:")) as response:
        assert response.status == 400


async def test_a_port_that_is_taken(rpc: Rpc) -> None:
    port = int(rpc.server.rpc_url.rpartition(":")[2])
    with pytest.raises(LocalnetError, match=f"Port {port} on 127.0.0.1 cannot be used"):
        async with RpcServer(rpc.vm, port=port):
            pass
