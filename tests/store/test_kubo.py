"""The Kubo store: its requests, and a clear message for each failure."""

from __future__ import annotations

import random
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from decloud_pl.errors import (
    ConfigError,
    DecloudError,
    InvalidCid,
    StoreRejected,
    StoreUnavailable,
)
from decloud_pl.retry import Retry
from decloud_pl.store import Store
from decloud_pl.store.kubo import KuboStore
from tests.store.conformance import StoreConformance
from tests.store.fakes.kubo import FakeKubo
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.server import Fault, Request, cut_answer, cut_request, not_json, silent, status

DATA = random.Random(21).randbytes(700_001)


@pytest.fixture
def node() -> Iterator[FakeKubo]:
    with FakeKubo() as made:
        yield made


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def store(node: FakeKubo, waits: list[float]) -> KuboStore:
    return KuboStore(node.multiaddr, timeout=5, retry=Retry(sleep=waits.append))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "update.pt"
    path.write_bytes(DATA)
    return path


class TestConformance(StoreConformance):
    @pytest.fixture
    def store(self, node: FakeKubo) -> KuboStore:
        return KuboStore(node.multiaddr, timeout=5)

    @pytest.fixture(autouse=True)
    def _files(self, node: FakeKubo) -> None:
        self._files_kept = node.files

    def kept(self, store: Store, cid: str) -> bytes | None:
        return self._files_kept.get(cid)


@pytest.mark.parametrize(("profile", "version"), [("kubo-v1", 1), ("kubo-v0", 0)])
def test_the_layout_is_always_said(profile: str, version: int, store: KuboStore, node: FakeKubo, source: Path) -> None:
    stored = store.put(source, profile)
    assert stored.cid == cid_of(DATA, version)
    (asked,) = node.adds
    assert asked["cid-version"] == str(version)
    assert asked["raw-leaves"].lower() == ("true" if version else "false")
    assert asked["pin"].lower() == "true"
    assert stored.cid in node.pins


@pytest.mark.parametrize("version", ["0.5.0", "0.22.0", "0.39.0", "1.0.0-rc1"])
def test_every_version_since_0_5_is_used_without_a_warning(version: str, node: FakeKubo, source: Path) -> None:
    node.version = version
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KuboStore(node.multiaddr, timeout=5).put(source)


@pytest.mark.parametrize("version", ["0.4.23", "", "go-ipfs", "\x1b[2J" * 30])
def test_an_unknown_version_is_refused_before_anything_is_sent(
    version: str, store: KuboStore, node: FakeKubo, source: Path
) -> None:
    node.version = version
    with pytest.raises(StoreRejected, match="does not support") as refused:
        store.put(source)
    assert "\x1b" not in str(refused.value)
    assert node.adds == []


def test_progress_is_told_to_the_end(store: KuboStore, source: Path) -> None:
    told: list[tuple[int, int]] = []
    store.put(source, progress=lambda sent, total: told.append((sent, total)))
    assert told[-1] == (len(DATA), len(DATA))
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)


def test_what_is_pinned_is_known(store: KuboStore, source: Path) -> None:
    cid = cid_of(DATA, 1)
    assert store.has(cid) is False
    store.put(source)
    assert store.has(cid) is True
    with pytest.raises(InvalidCid):
        store.has("../x")


def test_the_check_names_version_and_address(store: KuboStore, node: FakeKubo) -> None:
    assert store.check() == f"Kubo 0.39.0 answers at {node.multiaddr}."


def kubo_says_no(request: Request) -> None:
    """Answer as `allowOrigin` of go-ipfs-cmds. Kubo's `withAuthSecrets` also answers 403 with plain text."""
    request.body()
    request.send(403, b"403 - Forbidden\n", {"Content-Type": "text/plain; charset=utf-8"})


@pytest.mark.parametrize(
    ("faults", "kind", "sentence", "waited"),
    [
        ([status(401)], StoreRejected, "requires a login .HTTP 401", 0),
        ([kubo_says_no], StoreRejected, "denies access .HTTP 403.*API.Authorizations", 0),
        ([status(413)], StoreRejected, "does not accept a file of this size", 0),
        ([status(404)], StoreRejected, "refused the request with HTTP 404", 0),
        ([status(500)] * 4, StoreUnavailable, "HTTP 500", 3),
        ([status(429, Retry_After="60")], StoreUnavailable, "limits the request rate for 60 s", 0),
        ([not_json] * 4, StoreUnavailable, "does not come from Kubo", 3),
        ([cut_answer] * 4, StoreUnavailable, "closed the connection", 3),
        ([cut_request] * 4, StoreUnavailable, "closed the connection|cannot be reached", 3),
    ],
    ids=["401", "403", "413", "404", "500", "429", "not JSON", "cut answer", "cut request"],
)
def test_what_goes_wrong_gets_a_sentence(
    faults: list[Fault],
    kind: type[DecloudError],
    sentence: str,
    waited: int,
    store: KuboStore,
    node: FakeKubo,
    source: Path,
    waits: list[float],
) -> None:
    node.faulty = lambda request: request.path == "/api/v0/add"
    node.faults = list(faults)
    with pytest.raises(kind, match=sentence) as refused:
        store.put(source)
    assert type(refused.value) is kind
    assert (
        refused.value.fix or kind is StoreUnavailable
    )  # a temporary failure needs no fix: the caller reports that it retries
    assert len(waits) == waited


def test_three_errors_are_bridged(store: KuboStore, node: FakeKubo, source: Path, waits: list[float]) -> None:
    node.faulty = lambda request: request.path == "/api/v0/add"
    node.faults = [status(500)] * 3
    assert store.put(source).cid == cid_of(DATA, 1)
    assert waits == [0.5, 1.0, 2.0]


def test_a_short_retry_after_is_waited_for(store: KuboStore, node: FakeKubo, source: Path, waits: list[float]) -> None:
    node.faults = [status(429, Retry_After="7")]
    store.put(source)
    assert waits == [7.0]


def test_a_slow_node_is_given_up(node: FakeKubo, source: Path) -> None:
    node.faults = [silent]
    store = KuboStore(node.multiaddr, timeout=0.2, retry=Retry(attempts=1))
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.2 s"):
        store.put(source)


def test_a_node_that_is_down_gets_a_sentence(source: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}/http"
        store = KuboStore(address, timeout=1, retry=Retry(attempts=1))
        with pytest.raises(StoreUnavailable, match="cannot be reached") as refused:
            store.put(source)
    assert "ipfs daemon" in str(refused.value)


def test_a_full_node_gets_a_sentence(store: KuboStore, node: FakeKubo, source: Path, waits: list[float]) -> None:
    node.disk_full = True
    with pytest.raises(StoreRejected, match="is full") as refused:
        store.put(source)
    assert "repo gc" in str(refused.value)
    assert waits == []


@pytest.mark.parametrize("address", ["", "localhost:5001", "http://127.0.0.1:5001", "/ip4/127.0.0.1", "/ip4/x/tcp/1"])
def test_an_address_that_leads_to_no_node_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="multiaddr"):
        KuboStore(address)
