"""What the Solana CLI's configuration names is honoured; a broken one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from decloud_pl.chain.solana_cli import SolanaCliConfig, read_solana_cli_config
from decloud_pl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "json_rpc_url: https://a\nwebsocket_url: wss://a\nkeypair_path: /k.json\ncommitment: confirmed\n",
            SolanaCliConfig("https://a", "wss://a", Path("/k.json")),
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
