"""The wallet finds a key in all places where users keep one, and never shows it."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest
from solders.keypair import Keypair

from decloud_pl.chain.wallet import Wallet, create_wallet, load_wallet, parse_key
from decloud_pl.errors import WalletError


@pytest.fixture
def keypair() -> Keypair:
    return Keypair()


def write_key(path: Path, keypair: Keypair, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(bytes(keypair))))
    path.chmod(mode)
    return path


def test_both_forms_of_a_key(keypair: Keypair) -> None:
    assert parse_key(str(keypair), "test").address == keypair.pubkey()
    assert parse_key(json.dumps(list(bytes(keypair))), "test").address == keypair.pubkey()
    assert parse_key(f"  {keypair}\n", "test").address == keypair.pubkey()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_key_with_the_mark_of_an_editor_on_windows(tmp_path: Path, keypair: Keypair, as_json: bool) -> None:
    text = json.dumps(list(bytes(keypair))) if as_json else str(keypair)
    file = tmp_path / "id.json"
    file.write_bytes(text.encode("utf-8-sig") + b"\r\n")
    file.chmod(0o600)
    assert load_wallet(keypair_path=file, environ={}).address == keypair.pubkey()
    pasted = {"DECLOUD_PRIVATE_KEY": f"\N{ZERO WIDTH NO-BREAK SPACE}{text}"}
    assert load_wallet(keypair_path=None, environ=pasted).address == keypair.pubkey()


def test_the_order_of_places(tmp_path: Path) -> None:
    keys = [Keypair() for _ in range(4)]
    file = write_key(tmp_path / "id.json", keys[2])
    config = tmp_path / "config.yml"
    config.write_text(f"json_rpc_url: http://x\nkeypair_path: {write_key(tmp_path / 'cli.json', keys[3])}\n")
    environment = {"DECLOUD_PRIVATE_KEY": str(keys[0])}
    missing = tmp_path / "missing.json"
    found = [
        load_wallet(keypair_path=file, environ=environment, private_key=str(keys[1]), cli_config=config),
        load_wallet(keypair_path=file, environ={}, private_key=str(keys[1]), cli_config=config),
        load_wallet(keypair_path=file, environ={}, cli_config=config),
        load_wallet(keypair_path=missing, environ={}, cli_config=config),
    ]
    assert [wallet.address for wallet in found] == [key.pubkey() for key in keys]


def test_no_key_names_the_ways(tmp_path: Path) -> None:
    with pytest.raises(WalletError, match="No private key found") as caught:
        load_wallet(keypair_path=tmp_path / "missing.json", environ={})
    assert "DECLOUD_PRIVATE_KEY" in str(caught.value)
    assert "missing.json" in str(caught.value)
    assert "solana config" not in str(caught.value)  # that file is not read here
    with pytest.raises(WalletError, match="solana config set"):
        load_wallet(keypair_path=None, environ={}, cli_config=tmp_path / "config.yml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "keypair_path:\n", "keypair_path: [1]\n", "keypair_path: ''\n"])
def test_a_solana_configuration_without_a_key_is_passed_over(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yml"
    config.write_text(text)
    with pytest.raises(WalletError, match="No private key found"):
        load_wallet(keypair_path=None, environ={}, cli_config=config)


def test_a_hardware_wallet_in_the_solana_configuration_is_named_where_it_is_needed(
    tmp_path: Path, keypair: Keypair
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("keypair_path: usb://ledger\n")
    file = write_key(tmp_path / "id.json", keypair)
    assert load_wallet(keypair_path=file, environ={}, cli_config=config).address == keypair.pubkey()
    with pytest.raises(
        WalletError, match="The Solana CLI's configuration sets the signer usb://ledger, which is a hardware wallet"
    ):
        load_wallet(keypair_path=tmp_path / "none.json", environ={}, cli_config=config)


@pytest.mark.parametrize("data", [b"a: [", b"\xff\xfe"])
def test_a_damaged_solana_configuration_is_named(tmp_path: Path, data: bytes) -> None:
    config = tmp_path / "config.yml"
    config.write_bytes(data)
    with pytest.raises(WalletError, match=r"config\.yml cannot be read"):
        load_wallet(keypair_path=None, environ={}, cli_config=config)


@pytest.mark.parametrize("name", ["", "n" * 300], ids=["a folder", "a name that no disk takes"])
def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WalletError, match="cannot be read"):
        load_wallet(keypair_path=tmp_path / name, environ={})


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "id.json"
    for data, words in ((bytes(5000), "too large"), (b"[" * 4000, "does not hold"), (b"\xff" * 64, "does not hold")):
        file.write_bytes(data)
        file.chmod(0o600)
        with pytest.raises(WalletError, match=words):
            load_wallet(keypair_path=file, environ={})


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_key_are_named(keypair: Keypair, quote: str) -> None:
    with pytest.raises(WalletError, match="DECLOUD_PRIVATE_KEY has quotes around its value") as caught:
        load_wallet(keypair_path=None, environ={"DECLOUD_PRIVATE_KEY": f"{quote}{keypair}{quote}"})
    assert str(keypair) not in str(caught.value)


@pytest.mark.parametrize("mangle", [lambda t: t[:-4], lambda t: t + "0OIl", lambda t: "[1, 2, 3]", lambda t: "[" + t])
def test_a_wrong_key_is_refused_without_repeating_it(keypair: Keypair, mangle: object) -> None:
    assert callable(mangle)
    text = mangle(str(keypair))
    with pytest.raises(WalletError) as caught:
        parse_key(text, "DECLOUD_PRIVATE_KEY")
    shown = str(caught.value) + repr(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    assert text not in shown
    assert text[:20] not in shown


def test_halves_that_do_not_belong_together_are_refused(keypair: Keypair) -> None:
    mixed = bytes(keypair)[:32] + bytes(Keypair())[32:]
    with pytest.raises(WalletError):
        parse_key(json.dumps(list(mixed)), "test")


def test_a_wallet_shows_its_address_alone(keypair: Keypair) -> None:
    wallet = Wallet(keypair)
    for shown in (repr(wallet), str(wallet), f"{wallet}"):
        assert str(keypair.pubkey()) in shown
        assert str(keypair) not in shown
    with pytest.raises(TypeError):
        pickle.dumps(wallet)


def test_a_key_file_that_others_can_read(tmp_path: Path, keypair: Keypair, caplog: pytest.LogCaptureFixture) -> None:
    file = write_key(tmp_path / "id.json", keypair, mode=0o644)
    with caplog.at_level(logging.WARNING):
        load_wallet(keypair_path=file, environ={})
    assert "chmod 600" in caplog.text
    with pytest.raises(WalletError, match="chmod 600"):
        load_wallet(keypair_path=file, environ={}, strict=True)


def test_a_new_key_is_its_owners_alone_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "id.json"
    wallet = create_wallet(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_wallet(keypair_path=path, environ={}, strict=True).address == wallet.address
    before = path.read_bytes()
    with pytest.raises(WalletError, match="was not changed"):
        create_wallet(path)
    assert path.read_bytes() == before


def test_a_new_key_and_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    create_wallet(tmp_path / "id.json")
    assert synced == [tmp_path / "id.json", tmp_path]


def test_a_new_key_needs_a_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WalletError, match="cannot be written"):
        create_wallet(tmp_path / "file" / "id.json")
