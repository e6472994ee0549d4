"""The Solana CLI's configuration is read, and an error names a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.chain.solana_cli import SolanaCliConfig, key_file, read_solana_cli_config
from decloud_pl.errors import ConfigError, WalletError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "json_rpc_url: https://a\nwebsocket_url: wss://a\nkeypair_path: /k.json\ncommitment: confirmed\n",
            SolanaCliConfig("https://a", "wss://a", "/k.json"),
        ),
        ("json_rpc_url: https://a\nwebsocket_url: ''\n", SolanaCliConfig("https://a")),
        ("", SolanaCliConfig()),
        ("- 1\n", SolanaCliConfig()),
        ("json_rpc_url: 7\n", SolanaCliConfig()),
    ],
)
def test_what_it_says(tmp_path: Path, text: str, expected: SolanaCliConfig) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    assert read_solana_cli_config(path) == expected


def test_no_file_is_no_configuration(tmp_path: Path) -> None:
    assert read_solana_cli_config(tmp_path / "none.yml") is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("json_rpc_url: [")
    with pytest.raises(ConfigError, match=r"config\.yml cannot be read"):
        read_solana_cli_config(path)


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        ("usb://ledger", "hardware wallet"),
        ("usb:/ledger", "hardware wallet"),  # with one slash it could be a path
        ("usb://ledger?key=0/1", "hardware wallet"),
        ("prompt://", "solana-keygen recover"),
        ("prompt:?key=0/0", "solana-keygen recover"),
        ("ASK", "solana-keygen recover"),
        ("stdin:", "standard input"),
        ("-", "standard input"),
        ("HvQ8c3BBCsibJpH74UDXbvqEidJymzFYyGjNjRn7MYwC", "only an address"),
    ],
)
def test_a_signer_that_is_no_file_is_named(signer: str, words: str) -> None:
    with pytest.raises(WalletError, match=f"keypair_path sets the signer .*{words}") as caught:
        key_file(signer, "keypair_path")
    assert "decloud-trainer wallet new" in caught.value.fix


@pytest.mark.parametrize("signer", ["file:///keys/id.json", "file:/keys/id.json", "/keys/id.json"])
def test_a_file_may_be_an_address(signer: str) -> None:
    assert key_file(signer, "keypair_path") == Path("/keys/id.json")
    assert key_file("~/id.json", "keypair_path") == Path.home() / "id.json"
