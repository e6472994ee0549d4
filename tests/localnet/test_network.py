"""The whole network as a plain context: for scripts, and for notebooks, where a loop runs already."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from decloud_pl.errors import LocalnetError
from decloud_pl.localnet.network import LocalNetwork


def healthy(network: LocalNetwork) -> bool:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
    return bool(httpx.post(network.endpoints.rpc_url, json=asked).json()["result"] == "ok")


def test_it_runs_in_a_thread_of_its_own_and_leaves_nothing() -> None:
    before = threading.active_count()
    with LocalNetwork(agents=None) as network:
        home = Path(network.endpoints.home)
        assert home.is_dir()
        assert healthy(network)
    assert not home.exists()
    assert threading.active_count() == before


async def test_it_runs_where_a_loop_runs_already() -> None:
    with LocalNetwork(agents=None) as network:
        assert healthy(network)


def test_two_at_a_time_take_other_ports_and_folders() -> None:
    with LocalNetwork(agents=None) as one, LocalNetwork(agents=None) as other:
        assert one.endpoints.rpc_url != other.endpoints.rpc_url
        assert one.endpoints.home != other.endpoints.home


def test_a_folder_of_the_users_is_kept_and_can_be_opened_again(tmp_path: Path) -> None:
    network = LocalNetwork(tmp_path / "network", agents=None)
    for _ in range(2):
        with network:
            assert healthy(network)
            with (
                pytest.raises(LocalnetError, match="Another local network is using"),
                LocalNetwork(tmp_path / "network", agents=None),
            ):
                pass
    assert (tmp_path / "network" / "chain.sqlite").exists()


def test_one_that_is_not_running_has_no_addresses() -> None:
    with pytest.raises(LocalnetError, match=r"The local network is not running\. Use it inside `with LocalNetwork"):
        _ = LocalNetwork().endpoints


def test_a_client_that_leaves_while_it_sends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with LocalNetwork(agents=None) as network:
        address = urlsplit(network.endpoints.rpc_url)
        for _ in range(3):
            with socket.create_connection((address.hostname, address.port)) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
                assert healthy(network)  # the server has begun to read
        assert healthy(network)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []
