"""The subcommands of ``decloud-trainer storage``, with fake stores and a fake gateway."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.cli import main
from decloud_pl.config import load
from decloud_pl.errors import ConfigError
from decloud_pl.journal.owner import Owner
from decloud_pl.journal.record import RoundRecord, State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.uploads import JournalUploadLog
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.stores import make_stores
from decloud_pl.store.embedded import EmbeddedStore
from decloud_pl.store.uploads import Upload, UploadState
from tests.store.fakes.kubo import FakeKubo
from tests.store.fakes.oracle import cid_of
from tests.store.fakes.pinata import JWT, KEY, SECRET, FakePinata
from tests.store.fakes.server import status
from tests.store.fakes.shelf import FakeGateway

DATA = random.Random(51).randbytes(300_000)
CID = cid_of(DATA, 1)


@pytest.fixture
def node() -> Iterator[FakeKubo]:
    with FakeKubo() as made:
        yield made


@pytest.fixture
def pinata(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePinata]:
    monkeypatch.setenv("PINATA_JWT", JWT)
    with FakePinata() as made:
        yield made


@pytest.fixture
def shelf(node: FakeKubo) -> Iterator[FakeGateway]:
    with FakeGateway() as made:
        made.files = node.files
        yield made


@pytest.fixture
def kubo(node: FakeKubo, shelf: FakeGateway) -> list[str]:
    """Settings for the fakes."""
    return [
        "storage=kubo",
        f"storage.kubo_address={node.multiaddr}",
        f"network.gateways=[{shelf.url}]",
        "storage.read_back_seconds=0.001",
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(DATA)
    return path


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_file_is_put_and_fetched_again(
    kubo: list[str], source: Path, tmp_path: Path, shelf: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "put", str(source), *kubo]) == 0
    assert capsys.readouterr().out == f"{CID}\n"
    out = tmp_path / "out"
    assert main(["storage", "get", CID, "--out", str(out), *kubo]) == 0
    assert capsys.readouterr().out == f"{out}: 300,000 bytes from {shelf.url}, verified.\n"
    assert out.read_bytes() == DATA


def test_put_and_get_as_json(
    kubo: list[str],
    source: Path,
    shelf: FakeGateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["storage", "put", str(source), "--json", *kubo]) == 0
    assert told(capsys) == {"cid": CID, "size": len(DATA), "store": "kubo", "read_back_from": shelf.url}
    assert main(["storage", "get", CID, "--json", *kubo]) == 0
    assert told(capsys) == {"cid": CID, "file": CID, "size": len(DATA), "from": shelf.url}
    assert (tmp_path / CID).read_bytes() == DATA


def test_a_file_over_the_limit_names_the_option(
    kubo: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "put", str(source), *kubo]) == 0
    out = tmp_path / "out"
    assert main(["storage", "get", CID, "--out", str(out), "--max-bytes", "9", *kubo]) == 7
    said = capsys.readouterr().err
    assert f"{CID} is larger than the limit of 9 bytes. Raise --max-bytes if you trust the origin of the file." in said
    assert not out.exists()


def test_put_reports_at_once_that_no_gateway_runs(
    kubo: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        # The first attempt fails at once, and the pause before the second exceeds the time limit.
        assert main(["storage", "put", str(source), *kubo, f"network.gateways=[http://{place}]"]) == 7
        shown = capsys.readouterr().err
    assert f"The store kubo has pinned the update as {CID}. Reading it back through a gateway…\n" in shown
    assert f"The gateway {place} refused the connection" in shown


def test_put_uses_the_fallback(
    kubo: list[str], pinata: FakePinata, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pinata.faults = [status(403)]
    urls = [f"storage.pinata_api_url={pinata.url}", f"storage.pinata_upload_url={pinata.url}"]
    settings = ["storage=pinata", *kubo[1:], *urls, "storage.fallback=[kubo]"]
    assert main(["storage", "put", str(source), "--json", *settings]) == 0
    assert told(capsys)["store"] == "kubo"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["put", "absent"], 7, "it is not a file"),
        (["get", "../x"], 7, "not a supported CID"),
        (["get", CID], 7, "does not have the file"),
        (["pin-status", "x"], 7, "not a supported CID"),
        (["pin-status"], 2, "CID"),
        ([], 2, "Missing command"),
        (["get", CID, "--max-bytes", "much"], 2, "max-bytes"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], code: int, sentence: str, kubo: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["storage", *arguments, *(kubo if code == 7 else [])]
    assert main(given) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    *progress, said = printed.err.splitlines()
    assert sentence in said
    assert progress in ([], [f"Fetching {CID}…"])


def test_the_test_pins_and_reads_back(
    kubo: list[str], node: FakeKubo, shelf: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["storage", "test", "--json", *kubo]) == 0
    first = told(capsys)
    assert first["ok"] is True
    (store,) = first["stores"]
    assert store["store"] == "kubo"
    assert store["cid"] in node.pins
    assert store["read_back_from"] == shelf.url
    assert main(["storage", "test", *kubo]) == 0
    assert capsys.readouterr().out.startswith("kubo: ok. Kubo 0.39.0 answers at ")
    assert len(node.pins) == 2, "fresh bytes each time"
    assert main(["storage", "test", "--no-upload", *kubo]) == 0
    assert len(node.pins) == 2


def test_the_test_shows_the_error_of_each_store(
    kubo: list[str], pinata: FakePinata, capsys: pytest.CaptureFixture[str]
) -> None:
    pinata.faults = [status(401)]
    urls = [f"storage.pinata_api_url={pinata.url}", f"storage.pinata_upload_url={pinata.url}"]
    settings = ["storage=pinata", *kubo[1:], *urls, "storage.fallback=[kubo]"]
    assert main(["storage", "test", "--json", *settings]) == 7
    answer = told(capsys)
    assert answer["ok"] is False
    assert [(store["store"], store["ok"]) for store in answer["stores"]] == [("pinata", False), ("kubo", True)]
    assert "does not accept the credentials" in answer["stores"][0]["message"]
    assert JWT not in json.dumps(answer)


def test_a_pinned_but_unreadable_file_fails_the_test(
    kubo: list[str], shelf: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.files = {}
    assert main(["storage", "test", *kubo]) == 7
    assert "cannot be read back yet" in capsys.readouterr().out


def test_the_pin_status_of_each_store(kubo: list[str], node: FakeKubo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "pin-status", CID, *kubo]) == 7
    assert capsys.readouterr().out == "kubo: not pinned\n"
    node.pins.add(CID)
    assert main(["storage", "pin-status", CID, "--json", "storage.fallback=[embedded]", *kubo]) == 0
    assert told(capsys) == {"cid": CID, "pinned": {"kubo": True, "embedded": False}}


def test_gc_removes_only_updates_of_finished_rounds(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "store"
    where = [f"storage.path={folder}"]
    assert main(["storage", "gc", "--json", *where]) == 0
    assert told(capsys) == {"removed": []}
    store = EmbeddedStore(folder)
    cids = []
    for number in range(4):
        source.write_bytes(bytes((number,)) * 10)
        cids.append(store.put(source).cid)
    finished, running, shared, model = cids
    home = load().home_path
    home.mkdir(parents=True, exist_ok=True)
    journal = Journal(home / JOURNAL_FILE, Owner("net", "program", "wallet"))
    for round_id, state, uploads in ((1, State.CLAIMED, (finished,)), (2, State.SUBMITTED, (running,))):
        journal.save(RoundRecord(round_id, state, "custom", "digits", model, 1))
        for cid in uploads:
            JournalUploadLog(journal, round_id).save(Upload("embedded", cid, UploadState.READABLE, cid))
    for round_id, state in ((3, State.MISSED), (4, State.PUBLISHING)):
        journal.save(RoundRecord(round_id, state, "custom", "digits", model, 1))
        JournalUploadLog(journal, round_id).save(Upload("embedded", shared, UploadState.STORED, shared))
    assert main(["storage", "gc", *where]) == 11, "a daemon is at work"
    assert "Stop it first" in capsys.readouterr().err
    journal.close()
    assert main(["storage", "gc", "--json", *where]) == 0
    assert told(capsys) == {"removed": [finished]}
    assert store.cids() == sorted([running, shared, model])
    assert main(["storage", "gc", *where]) == 0
    assert capsys.readouterr().out.strip() == "0 files removed."


@pytest.mark.parametrize("place", ["environment", "config.json"])
def test_pinatas_keys_alone_are_enough_on_a_public_network(
    place: str, pinata: FakePinata, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As documented, the keys alone select the storage."""
    monkeypatch.delenv("PINATA_JWT")
    for name, value in {"pinata_api_key": KEY, "pinata_secret_key": SECRET}.items():
        if place == "environment":
            monkeypatch.setenv(name.upper(), value)
        else:
            assert main(["config", "--set", f"{name}={value}"]) == 0
    capsys.readouterr()
    urls = [f"storage.pinata_api_url={pinata.url}", f"storage.pinata_upload_url={pinata.url}"]
    with FakeGateway(files=pinata.files) as shelf:
        settings = ["network=devnet", f"network.gateways=[{shelf.url}]", *urls]
        assert main(["storage", "test", "--json", *settings]) == 0
    (store,) = told(capsys)["stores"]
    assert (store["store"], store["ok"], pinata.uploads) == ("pinata", True, 1)


@pytest.mark.parametrize(
    ("network", "kinds"),
    [("devnet", ["storage=embedded"]), ("mainnet", ["storage=kubo", "storage.fallback=[embedded]"])],
)
def test_the_embedded_store_is_refused_on_a_public_network(network: str, kinds: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"validators on {network} could not download your updates") as refused:
        make_stores(load([f"network={network}", *kinds]))
    assert "storage=pinata" in refused.value.fix
    assert make_stores(load([f"network={network}", "storage.allow_embedded=true", *kinds]))


def test_the_embedded_store_serves_a_network_on_this_machine() -> None:
    assert make_stores(load(["network=local", "storage=embedded"]))
    assert make_stores(load(["network=local", "network.rpc_url=http://localhost:1234", "storage=embedded"]))
    fallback = ["storage=kubo", "storage.fallback=[embedded]"]
    assert make_stores(load(["network=local", *fallback]))
    for kinds in (["storage=embedded"], fallback):
        with pytest.raises(ConfigError, match="could not download your updates"):
            make_stores(load(["network=local", "network.rpc_url=https://example.invalid", *kinds]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["storage=pinata"], "credentials for Pinata are not set"),
        (["storage.kind=ipfs"], "Unknown storage 'ipfs'."),
        (["storage.fallback=[ipfs]"], "Unknown storage 'ipfs'."),
        (["storage=kubo", "storage.kubo_address=x"], "multiaddr"),
        (["storage.timeout=0"], "storage.timeout"),
        (["storage.read_back_seconds=-1"], "storage.read_back_seconds"),
    ],
)
def test_settings_that_no_store_can_use(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "test", *settings]) == 3
    assert sentence in capsys.readouterr().err
