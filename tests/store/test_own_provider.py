"""A custom storage provider: the recipe in CONTRIBUTING.md works as written, in every command."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli import main
from decloud_pl.config import load
from decloud_pl.errors import ConfigError
from decloud_pl.experiment.sweep import forget_secrets
from decloud_pl.journal.record import State
from decloud_pl.rounds.stores import make_stores
from decloud_pl.store import Store
from tests.cli.terminal import Terminal
from tests.store.conformance import StoreConformance
from tests.store.fakes.archive import TOKEN, FakeArchive
from tests.store.fakes.kubo import FakeKubo
from tests.store.fakes.server import status
from tests.store.own.archive import ArchiveStore
from tests.world import World

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = dedent(RECIPE.partition("### A storage provider")[2].partition("```yaml\n")[2].partition("```")[0])
MODULE = (ROOT / "tests" / "store" / "own" / "archive.py").read_text(encoding="utf-8")


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive() as made:
        yield made


class TestConformance(StoreConformance):
    @pytest.fixture
    def store(self, archive: FakeArchive) -> ArchiveStore:
        self._archive = archive
        return ArchiveStore(secrets={"archive_token": TOKEN}, url=archive.url, timeout=5)

    def kept(self, store: Store, cid: str) -> bytes | None:
        return self._archive.files.get(cid)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create a home folder with the recipe's file, and a package with its module."""
    home, package = tmp_path / "trainer", tmp_path / "site" / "our_package"
    (home / "conf" / "storage").mkdir(parents=True)
    (home / "conf" / "storage" / "archive.yaml").write_text(FILE)
    package.mkdir(parents=True)
    (package / "archive.py").write_text(MODULE)
    keep(home, allow_packages=["our_package"])
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    monkeypatch.syspath_prepend(str(package.parent))
    forget_package()  # another test may have imported it from another folder
    yield home
    forget_package()


def forget_package() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "our_package"]:
        del sys.modules[name]


def keep(home: Path, **settings: object) -> None:
    (home / "config.json").write_text(json.dumps(settings))
    (home / "config.json").chmod(0o600)


@pytest.fixture
def chosen(home: Path, archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings that select the provider, with its token in the environment."""
    monkeypatch.setenv("ARCHIVE_TOKEN", TOKEN)
    address = f"storage.archive_url={archive.url}"
    return ["storage=archive", address, f"network.gateways=[{archive.url}]", "storage.read_back_seconds=0.001"]


def test_storage_test_passes(chosen: list[str], archive: FakeArchive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "test", "--json", *chosen]) == 0
    (result,) = json.loads(capsys.readouterr().out)["stores"]
    assert (result["store"], result["read_back_from"]) == ("archive", archive.url)
    assert list(archive.files) == [result["cid"]]


def test_it_can_be_a_fallback(
    chosen: list[str], archive: FakeArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "model.pt"
    source.write_bytes(b"a model")
    with FakeKubo() as node:
        node.faults = [status(403)] * 9
        kubo = ["storage=kubo", f"storage.kubo_address={node.multiaddr}", "storage.fallback=[archive]"]
        assert main(["storage", "put", str(source), "--json", *kubo, *chosen[1:]]) == 0
    assert json.loads(capsys.readouterr().out)["store"] == "archive"
    assert list(archive.files.values()) == [b"a model"]


@pytest.mark.slow
def test_doctor_checks_it(
    chosen: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIVE_TOKEN", "a-token-of-nobody")
    main(["doctor", "--json", "network.rpc_url=http://127.0.0.1:9", *chosen])
    (found,) = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["name"] == "storage"]
    assert found["verdict"] == "problem"
    assert "archive" in found["detail"]
    assert "a-token-of-nobody" not in str(found)


async def test_the_daemon_publishes_with_it(chosen: list[str], archive: FakeArchive, world: World) -> None:
    world.stores = make_stores(load(chosen))
    world.gateways.append(archive.url)
    async with world.daemon():
        round_id = await world.post()
        await world.diary.reaches(round_id, State.WAITING)
        await world.begin(round_id)
        await world.diary.reaches(round_id, State.SUBMITTED)
    assert world.row(round_id).pinned_provider == "archive"
    assert list(archive.files) == [(await world.submission(round_id)).gradient_cid]


def test_its_settings_have_names_types_and_origins(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(home, **{"storage": "archive", "storage.archive_url": "https://kept.example"})
    assert main(["config", "--show", "--origin", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["storage.archive_url"] == "https://kept.example"
    assert shown["origins"]["storage.archive_url"] == "config.json"
    environ = {**os.environ, "DECLOUD_STORAGE_ARCHIVE_URL": "https://exported.example"}
    assert load(environ=environ).providers["archive"].store["url"] == "https://exported.example"
    with pytest.raises(ConfigError, match="archive_url"):
        load(["storage.archive_url=[1]"])
    with pytest.raises(ConfigError, match=r"storage\.archive_ulr") as refused:
        load(["storage.archive_ulr=x"])
    assert "storage.archive_url" in refused.value.fix


def test_its_secret_is_a_secret(
    home: Path, archive: FakeArchive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["storage=archive", f"storage.archive_url={archive.url}"]
    with pytest.raises(ConfigError, match="needs a token"):
        make_stores(load(settings))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TOKEN}\n"))
    assert main(["config", "--set", "archive_token=-"]) == 0
    assert main(["config", "--show", "--json"]) == 0
    assert TOKEN not in capsys.readouterr().out
    assert json.loads((home / "config.json").read_text())["archive_token"] == TOKEN
    (store,) = make_stores(load(settings))
    assert "knows the token" in store.check()
    with pytest.raises(ConfigError, match="is a secret, so it is not allowed on a command line"):
        load([*settings, "archive_token=abc"])
    monkeypatch.setenv("DECLOUD_ARCHIVE_TOKEN", "exported")
    exported = load(settings)
    assert exported.secrets.get("archive_token") == "exported"
    assert "exported" not in repr(exported)
    environ = {"DECLOUD_HOME": str(home), "ARCHIVE_TOKEN": TOKEN, "DECLOUD_ARCHIVE_TOKEN": TOKEN, "LANG": "C"}
    forget_secrets(environ)
    assert environ == {"DECLOUD_HOME": str(home), "LANG": "C"}


@pytest.mark.slow
def test_setup_offers_it_and_asks_for_its_secret(home: Path, archive: FakeArchive, tmp_path: Path) -> None:
    create_wallet(tmp_path / "key.json")
    keep(home, allow_packages=["our_package"], keypair_path=str(tmp_path / "key.json"))
    environ = {**os.environ, "DECLOUD_HOME": str(home), "PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}"}
    with Terminal((sys.executable, "-m", "decloud_pl.cli", "setup"), environ) as terminal:
        terminal.answer("Your choice [local]: ", "")
        terminal.answer("]: ", "", "", "", "", "", "", "")
        terminal.wait_for("the archive of our group")
        terminal.answer("Your choice [embedded]: ", "archive")
        terminal.answer("Token of the archive (hidden): ", "", TOKEN)
        terminal.answer("Address of the archive [https://archive.example]: ", archive.url)
        terminal.wait_for("knows the token")
        assert terminal.end() == 0
    kept = json.loads((home / "config.json").read_text())
    assert (kept["storage"], kept["storage.archive_url"], kept["archive_token"]) == ("archive", archive.url, TOKEN)


def test_its_package_must_be_allowed(chosen: list[str], home: Path) -> None:
    keep(home)
    with pytest.raises(ConfigError, match="may not be built") as refused:
        make_stores(load(chosen))
    assert "allow_packages=our_package" in refused.value.fix
    assert len(make_stores(load(["storage=embedded"]))) == 1, "other providers must still work"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("kind: archive", "kind: other", "must describe the storage 'archive'"),
        ("  archive:\n", "  other:\n", "must describe the storage 'archive'"),
        ("about:", "abuot:", "unexpected keyword argument 'abuot'"),
        ("archive_token: {asks", "archive_login: {asks", "archive_login is a secret, so its name must end in"),
        ("[ARCHIVE_TOKEN]", "[ARCHIVE_LOGIN]", "ARCHIVE_LOGIN is a secret, so its name must end in"),
        ("providers:", "providers: [", "is not valid YAML"),
        ("archive_url: https", "archive-url: https", "'archive-url' is not a valid name"),
        ("${storage.archive_url}", "${storage.archive_ulr}", "archive_ulr"),
        ("_target_: our_package.archive.ArchiveStore", "_target_: our_package.archive.status_error", "cannot be built"),
        ("_target_: our_package.archive.ArchiveStore", "_target_: pathlib.Path", "may not be built"),
    ],
)
def test_a_file_that_does_not_describe_it_well(
    before: str, after: str, sentence: str, chosen: list[str], home: Path
) -> None:
    path = home / "conf" / "storage" / "archive.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError) as refused:
        make_stores(load(chosen))
    assert sentence in str(refused.value)


@pytest.mark.parametrize("name", ["kubo", None])
def test_what_is_built_must_be_a_store_of_that_name(name: Any, chosen: list[str], home: Path) -> None:
    path = home.parent / "site" / "our_package" / "archive.py"
    path.write_text(MODULE.replace('    name = "archive"\n', f"    name = {name!r}\n" if name else ""))
    with pytest.raises(ConfigError, match="does not return a store with the name 'archive'"):
        make_stores(load(chosen))


def test_another_choice_of_settings_for_a_provider_is_none_of_its_own(home: Path) -> None:
    """A preset in the user's home without a description of a provider."""
    (home / "conf" / "storage" / "work.yaml").write_text("kind: kubo\nkubo_address: /ip4/127.0.0.1/tcp/7/http\n")
    settings = load(["storage=work"])
    assert settings.providers["kubo"].store["address"] == "/ip4/127.0.0.1/tcp/7/http"
    assert [store.name for store in make_stores(settings)] == ["kubo"]


def test_no_module_outside_the_stores_names_a_provider() -> None:
    package = ROOT / "decloud_pl"
    names = [path.stem for path in (ROOT / "conf" / "storage").glob("*.yaml")]
    assert {"embedded", "kubo", "pinata"} <= set(names)
    # Exceptions: the local network always uses the embedded store, and scikit-learn embeds data sets.
    known = {"EmbeddedStore", "decloud_pl.store.embedded", "is_embedded"}
    found = []
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "store"):
            continue
        text = path.read_text(encoding="utf-8")
        for word in known if path.is_relative_to(package / "localnet") or path.is_relative_to(package / "data") else ():
            text = text.replace(word, "")
        found += [f"{path}: {name}" for name in names if name in text.lower()]
    assert found == []
