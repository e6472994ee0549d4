"""`setup` on a pseudo-terminal: wrong answers, a second run and interrupts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import base58
import pytest

from decloud_pl.chain.wallet import create_wallet
from tests.cli.terminal import Terminal
from tests.store.fakes.pinata import JWT, KEY, SECRET, FakePinata

SETUP = (sys.executable, "-m", "decloud_pl.cli", "setup")


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {**os.environ, "DECLOUD_HOME": str(home)}


def test_from_end_to_end_with_wrong_answers(home: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    wallet = create_wallet(tmp_path / "key.json")
    key = base58.b58encode(bytes(wallet.signer)).decode()
    with FakePinata() as pinata:
        environ["DECLOUD_STORAGE_PINATA_API_URL"] = pinata.url
        with Terminal(SETUP, environ) as terminal:
            terminal.answer("Your choice [local]: ", "moonnet")
            terminal.wait_for("Unknown choice 'moonnet'.")
            terminal.answer("Your choice [local]: ", "")
            terminal.answer("Your choice [file]: ", "glue", "paste")
            terminal.answer("Private key (hidden): ", "no key at all")
            terminal.wait_for("Your answer does not hold a private key.")
            terminal.answer("Private key (hidden): ", key)
            terminal.wait_for("1 custom")
            terminal.wait_for("5 fashionmnist")
            terminal.answer("(any: all) [any]: ", "mnits")
            terminal.wait_for("Did you mean 'mnist'?")
            terminal.answer("(any: all) [any]: ", "mnist, 5")
            terminal.answer("in SOL [0]: ", "much")
            terminal.wait_for("is not an amount in SOL")
            terminal.answer("in SOL [0]: ", "0.05")
            terminal.answer("0 for no limit [0]: ", "0.01")
            terminal.wait_for("max_reward is less than min_reward.")
            terminal.answer("0 for no limit [0]: ", "2")
            terminal.answer("before the deadline) [auto]: ", "0")
            terminal.wait_for("epochs must be at least 1")
            terminal.answer("before the deadline) [auto]: ", "3")
            terminal.answer("Rounds at the same time [1]: ", "two", "2")
            terminal.answer("Your choice [embedded]: ", "pinata")
            terminal.answer("Pinata JWT (hidden;", "a-wrong-token")
            terminal.wait_for("Checking the storage…")
            terminal.answer("Choose again [Y/n]: ", "perhaps")
            terminal.wait_for("Error: invalid input")
            terminal.answer("Choose again [Y/n]: ", "y")
            terminal.answer("Your choice [pinata]: ", "")
            # The refused login is forgotten, so Enter cannot keep it.
            terminal.answer("Pinata JWT (hidden; Enter to use", JWT)
            terminal.wait_for(f"Your address is {wallet.address}.")
            assert terminal.end() == 0
    assert json.loads((home / "config.json").read_text()) == {
        "version": 1,
        "private_key": key,
        "datasets": ["mnist", "fashionmnist"],
        "min_reward": "0.05",
        "max_reward": "2",
        "epochs": 3,
        "max_concurrent_rounds": 2,
        "storage": "pinata",
        "pinata_jwt": JWT,
    }
    assert (home / "config.json").stat().st_mode & 0o777 == 0o600
    for secret in (key, JWT, "a-wrong-token", "no key at all"):
        assert secret not in terminal.shown


KEYRING = """
import json, pathlib
from keyring.backend import KeyringBackend

FILE = pathlib.Path(__file__).with_name("held.json")


class Desktop(KeyringBackend):
    priority = 1

    def _held(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}

    def get_password(self, service, username):
        return self._held().get(f"{service} {username}")

    def set_password(self, service, username, password):
        FILE.write_text(json.dumps({**self._held(), f"{service} {username}": password}))
"""


def test_secrets_go_into_the_system_keyring(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    wallet = create_wallet(tmp_path / "key.json")
    key = base58.b58encode(bytes(wallet.signer)).decode()
    (tmp_path / "desktop.py").write_text(KEYRING)
    environ |= {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "desktop.Desktop"}
    with Terminal(SETUP, environ) as terminal:
        terminal.answer("Your choice [local]: ", "")
        terminal.answer("Your choice [file]: ", "paste")
        terminal.answer("Private key (hidden): ", key)
        terminal.answer("]: ", "", "", "", "", "", "")
        terminal.answer("Save private_key in the system keyring instead of config.json [Y/n]: ", "")
        terminal.wait_for(f"Your address is {wallet.address}.")
        assert terminal.end() == 0
    assert json.loads((home / "config.json").read_text()) == {"version": 1, "private_key": "@keyring"}
    assert json.loads((tmp_path / "held.json").read_text()) == {f"decloud-trainer private_key@{home}": key}
    with Terminal((sys.executable, "-m", "decloud_pl.cli", "wallet", "address"), environ) as terminal:
        terminal.wait_for(str(wallet.address))
        assert terminal.end() == 0


def test_run_again_it_keeps_what_was_there(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    wallet = create_wallet(tmp_path / "key.json")
    home.mkdir()
    before = {
        "version": 1,
        "network": "local",
        "keypair_path": str(tmp_path / "key.json"),
        "min_reward": "0.05",
        "epochs": 3,
        "seed": 7,
        "datasets": ["mnist"],
    }
    (home / "config.json").write_text(json.dumps(before))
    with Terminal(SETUP, environ) as terminal:
        terminal.answer("Your choice [local]: ", "")
        terminal.answer("Your choice [file]: ", "")
        terminal.answer(f"Key file [{tmp_path / 'key.json'}]: ", "")
        terminal.answer("(any: all) [mnist]: ", "")
        terminal.answer("in SOL [0.05]: ", "")
        terminal.answer("0 for no limit [0]: ", "")
        terminal.answer("before the deadline) [3]: ", "")
        terminal.answer("Rounds at the same time [1]: ", "")
        terminal.answer("Your choice [embedded]: ", "")
        terminal.wait_for(f"Your address is {wallet.address}.")
        assert terminal.end() == 0
    assert json.loads((home / "config.json").read_text()) == before


def test_a_key_is_removed_only_if_there_is_a_copy(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    create_wallet(tmp_path / "key.json")
    key = base58.b58encode(bytes(create_wallet(tmp_path / "old.json").signer)).decode()
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"version": 1, "private_key": key}))
    for answers in (("n", "paste"), ("y",)):
        with Terminal(SETUP, environ) as terminal:
            terminal.answer("Your choice [local]: ", "")
            terminal.answer("Your choice [paste]: ", "file")
            terminal.answer("Do you have a copy of it [y/N]: ", answers[0])
            if answers[0] == "n":
                terminal.answer("Your choice [paste]: ", "paste")
                terminal.answer("Enter keeps the current one): ", "")
            else:
                terminal.answer("Key file [", str(tmp_path / "key.json"))
            terminal.answer("]: ", *[""] * 6)
            assert terminal.end() == 0
        kept = json.loads((home / "config.json").read_text())
        assert (kept.get("private_key") == key) is (answers[0] == "n")


def test_a_pasted_key_replaces_another_only_if_there_is_a_copy(
    home: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    old, new = (
        base58.b58encode(bytes(create_wallet(tmp_path / name).signer)).decode() for name in ("old.json", "new.json")
    )
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"version": 1, "private_key": old}))
    with Terminal(SETUP, environ) as terminal:
        terminal.answer("Your choice [local]: ", "")
        terminal.answer("Your choice [paste]: ", "")
        terminal.answer("Enter keeps the current one): ", new)
        terminal.answer("Do you have a copy of it [y/N]: ", "")
        terminal.wait_for("The saved private key stays.")
        terminal.answer("Enter keeps the current one): ", new)
        terminal.answer("Do you have a copy of it [y/N]: ", "y")
        terminal.answer("]: ", *[""] * 6)
        assert terminal.end() == 0
    assert json.loads((home / "config.json").read_text())["private_key"] == new


def test_another_wallet_is_kept_or_replaced(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    create_wallet(tmp_path / "key.json")
    home.mkdir()
    before = {"version": 1, "wallet": "keyring", "trainer.max_epochs": 5}
    (home / "config.json").write_text(json.dumps(before))
    for choice, after in (
        ("", before),
        ("file", {**before, "wallet": "keypair", "keypair_path": str(tmp_path / "key.json")}),
    ):
        with Terminal(SETUP, environ) as terminal:
            terminal.answer("Your choice [local]: ", "")
            terminal.wait_for("1  keep   the current choice, wallet=keyring")
            terminal.answer("Your choice [keep]: ", choice)
            if choice:
                terminal.answer("Key file [", str(tmp_path / "key.json"))
            terminal.answer("]: ", "", "", "")
            terminal.answer("before the deadline) [5]: ", "5")
            terminal.answer("]: ", "", "")
            assert terminal.end() == 0
        saved = json.loads((home / "config.json").read_text())
        assert saved.pop("epochs") == 5
        assert saved == {name: value for name, value in after.items() if name != "trainer.max_epochs"}


def test_a_new_key_file_and_pinatas_older_credentials(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    key = tmp_path / "new" / "id.json"
    with FakePinata() as pinata:
        environ["DECLOUD_STORAGE_PINATA_API_URL"] = pinata.url
        with Terminal(SETUP, environ) as terminal:
            terminal.wait_for("1  devnet")
            terminal.answer("Your choice [local]: ", "0", "1")
            terminal.wait_for("1  file")  # "select option 1", as documented
            terminal.answer("Your choice [file]: ", "1")
            terminal.answer("id.json]: ", str(key))
            terminal.answer(f"{key} does not exist. Create a new key there [Y/n]: ", "n")
            terminal.wait_for(f"The key file {key} does not exist.")
            terminal.answer("id.json]: ", str(key))
            terminal.answer("Create a new key there [Y/n]: ", "")
            terminal.answer("]: ", "", "", "", "", "")
            # Other machines on devnet could not fetch files from a folder on this machine.
            terminal.answer("Your choice [pinata]: ", "1")
            terminal.wait_for("The embedded store serves only this machine")
            terminal.answer("Choose again [Y/n]: ", "")
            terminal.answer("Your choice [pinata]: ", "")
            terminal.answer("Enter to use Pinata API key and Pinata secret key instead", "")
            terminal.answer("Pinata API key (hidden): ", "", KEY)
            terminal.answer("Pinata secret key (hidden): ", SECRET)
            terminal.wait_for("Your address is")
            assert terminal.end() == 0
    kept = json.loads((home / "config.json").read_text())
    assert kept == {
        "version": 1,
        "network": "devnet",
        "keypair_path": str(key),
        "storage": "pinata",
        "pinata_api_key": KEY,
        "pinata_secret_key": SECRET,
    }
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_refused_secret_is_not_kept(home: Path, environ: dict[str, str], tmp_path: Path) -> None:
    create_wallet(tmp_path / "key.json")
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"keypair_path": str(tmp_path / "key.json"), "pinata_jwt": JWT}))
    with FakePinata() as pinata:
        environ["DECLOUD_STORAGE_PINATA_API_URL"] = pinata.url
        with Terminal(SETUP, environ) as terminal:
            terminal.answer("]: ", *[""] * 8)
            terminal.answer("Your choice [embedded]: ", "pinata")
            terminal.answer("Enter keeps the current login)", "a-wrong-token")
            terminal.answer("Choose again [Y/n]: ", "n")
            terminal.wait_for("The refused login is not saved. Set it later with:")
            terminal.wait_for("Your address is")
            assert terminal.end() == 0
    kept = json.loads((home / "config.json").read_text())
    assert (kept["storage"], kept["pinata_jwt"]) == ("pinata", JWT)


def test_ctrl_c_changes_nothing(home: Path, environ: dict[str, str]) -> None:
    home.mkdir()
    (home / "config.json").write_text('{"epochs": 4}')
    with Terminal(SETUP, environ) as terminal:
        terminal.answer("Your choice [local]: ", "devnet")
        terminal.answer("Your choice [file]: ", "later")
        terminal.interrupt("(any: all) [any]: ")
        terminal.wait_for("Nothing was changed.")
        assert terminal.end() == 130
    assert (home / "config.json").read_text() == '{"epochs": 4}'
    assert "Traceback" not in terminal.shown


def test_a_secret_is_asked_for_without_showing_it(home: Path, environ: dict[str, str]) -> None:
    command = (sys.executable, "-m", "decloud_pl.cli", "config", "--set", "pinata_jwt=-")
    with Terminal(command, environ) as terminal:
        terminal.answer("pinata_jwt: ", JWT)
        terminal.wait_for(f"pinata_jwt = {JWT[:4]}…{JWT[-4:]}")
        assert terminal.end() == 0
    assert JWT not in terminal.shown
    assert json.loads((home / "config.json").read_text())["pinata_jwt"] == JWT
