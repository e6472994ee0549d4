"""`wallet=…` selects the only place where the key is read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend

from decloud_pl.chain.wallet import Wallet, create_wallet
from decloud_pl.cli.config.session import open_settings
from decloud_pl.errors import ConfigError, WalletError
from decloud_pl.rounds.wallets import open_wallet


class MemoryKeyring(KeyringBackend):
    """A keyring like that of a desktop."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


def opened(overrides: list[str]) -> Wallet:
    settings = open_settings(overrides)
    return open_wallet(settings.wallet, settings.secrets, settings.allow_packages)


@pytest.fixture
def desktop() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    keyring.set_keyring(backend := MemoryKeyring())
    yield backend
    keyring.set_keyring(before)


@pytest.fixture
def keys(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: MemoryKeyring) -> dict[str, Wallet]:
    """Every place has a different key."""
    made = {
        name: create_wallet(tmp_path / f"{name}.json") for name in ("environment", "keyring", "solana-cli", "keypair")
    }
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", (tmp_path / "environment.json").read_text())
    desktop.held["decloud-trainer", f"private_key@{home}"] = (tmp_path / "keyring.json").read_text()
    cli = tmp_path / ".config" / "solana" / "cli" / "config.yml"
    cli.parent.mkdir(parents=True)
    cli.write_text(f"keypair_path: {tmp_path / 'solana-cli.json'}\n")
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"keypair_path": str(tmp_path / "keypair.json")}))
    return made


def test_an_invalid_option_changes_neither_file_nor_keyring(run: Any, home: Path, desktop: MemoryKeyring) -> None:
    secret, name = "a-jwt-of-thirty-two-characters-1", ("decloud-trainer", f"pinata_jwt@{home}")
    failed = run("config", "--set", f"pinata_jwt={secret}", "--set", "epochs=-1", "--keyring")
    assert (failed.code, desktop.held) == (3, {})
    assert not (home / "config.json").exists()
    assert run("config", "--set", f"pinata_jwt={secret}", "--keyring").code == 0
    assert desktop.held == {name: secret}
    assert run("config", "--unset", "pinata_jwt", "--set", "epochs=-1").code == 3
    assert desktop.held == {name: secret}
    assert run("config", "--unset", "pinata_jwt").code == 0
    assert desktop.held == {}


@pytest.mark.parametrize("kind", ["environment", "keyring", "solana-cli"])
def test_each_choice_looks_at_its_own_place(kind: str, keys: dict[str, Wallet]) -> None:
    assert opened([f"wallet={kind}"]).address == keys[kind].address


def test_the_old_name_of_a_choice_works(keys: dict[str, Wallet], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = open_settings(["wallet.kind=environment"])
    for kind in (settings.wallet.kind, "keyring", "solana-cli"):
        config = replace(settings.wallet, kind=kind)
        assert open_wallet(config, settings.secrets).address == keys[kind].address
    monkeypatch.delenv("DECLOUD_PRIVATE_KEY")  # this wallet reads the environment first
    assert opened(["wallet.kind=keypair"]).address == keys["keypair"].address


@pytest.mark.parametrize("override", ["wallet=solana-cli", "keypair_path=usb://ledger"])
def test_a_hardware_wallet_is_named(override: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = tmp_path / ".config" / "solana" / "cli" / "config.yml"
    cli.parent.mkdir(parents=True)
    cli.write_text("keypair_path: usb://ledger\n")
    with pytest.raises(WalletError, match="sets the signer usb://ledger, which is a hardware wallet"):
        opened([override.replace("keypair_path", "wallet.keypair_path")])


@pytest.mark.parametrize(("name", "quoted"), [("id.json", "{}"), ("my id.json", "'{}'")])
def test_a_missing_key_file_is_created_where_the_setting_says(
    name: str, quoted: str, run: Any, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    override = f"wallet.keypair_path='{path}'"
    with pytest.raises(WalletError, match="does not exist") as caught:
        opened([override])
    command = f"decloud-trainer wallet new --keypair {quoted.format(path)}"
    assert f"`{command}`" in caught.value.fix
    created = run(*shlex.split(command)[1:], "--json")
    assert created.document == {"address": str(opened([override]).address)}


def test_a_wallet_of_ones_own(
    home: Path, keys: dict[str, Wallet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "conf" / "wallet" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: my_wallet.open_mine\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "my_wallet.py").write_text(
        "from pathlib import Path\n"
        "from decloud_pl.chain.wallet import parse_key\n"
        "def open_mine(config, secrets):\n"
        f"    return parse_key(Path({str(tmp_path / 'keyring.json')!r}).read_text(), 'mine')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ConfigError, match="allow_packages=my_wallet"):
        opened(["wallet=mine"])
    monkeypatch.setenv("DECLOUD_ALLOW_PACKAGES", "my_wallet")
    assert opened(["wallet=mine"]).address == keys["keyring"].address


def test_a_key_file_comes_after_the_environment(keys: dict[str, Wallet], monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened([]).address == keys["environment"].address
    monkeypatch.delenv("DECLOUD_PRIVATE_KEY")
    assert opened([]).address == keys["keypair"].address


def test_no_choice_takes_another_ones_key(
    keys: dict[str, Wallet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: MemoryKeyring
) -> None:
    monkeypatch.delenv("DECLOUD_PRIVATE_KEY")
    desktop.held.clear()
    (tmp_path / ".config" / "solana" / "cli" / "config.yml").unlink()
    assert keys
    settings = open_settings([])
    for kind, words in (
        ("environment", "DECLOUD_PRIVATE_KEY is not set"),
        ("keyring", "has no private_key"),
        ("solana-cli", "does not name an existing key file"),
    ):
        with pytest.raises(WalletError, match=words):
            open_wallet(replace(settings.wallet, kind=kind), settings.secrets)


@pytest.mark.usefixtures("home")
def test_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"wallet\.kind must be .*'paper'"):
        open_settings(["wallet.kind=paper"])


def test_an_experiment_of_ones_own(home: Path) -> None:
    file = home / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ndefaults:\n  - override /optimizer: sgd\ntask: experiment\nepochs: 4\n")
    settings = open_settings(["experiment=mine", "preset=quick-test"])
    assert (settings.task, settings.epochs, settings.max_batches) == ("experiment", 4, 50)
    assert settings.optimizer["_target_"] == "torch.optim.SGD"
    assert open_settings(["experiment=mine", "epochs=2"]).trainer["max_epochs"] == 2
    with pytest.raises(ConfigError, match=r"Unknown experiment 'mien'\. Did you mean 'mine'"):
        open_settings(["experiment=mien"])
