"""The Solana CLI's own configuration, ``~/.config/solana/cli/config.yml``: what it names is honoured here too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from decloud_pl.errors import ConfigError

DEFAULT_FILE = "~/.config/solana/cli/config.yml"


@dataclass(frozen=True, slots=True)
class SolanaCliConfig:
    """What the file says; an empty string or None where it says nothing."""

    json_rpc_url: str = ""
    websocket_url: str = ""
    keypair_path: Path | None = None


def read_solana_cli_config(path: Path) -> SolanaCliConfig | None:
    """The file's settings, None when there is no such file.

    Raises:
        ConfigError: it cannot be read or is not YAML.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"The Solana CLI's configuration {path} cannot be read.", fix="Correct or remove it."
        ) from error
    if not isinstance(tree, dict):
        return SolanaCliConfig()
    keypair = _text(tree.get("keypair_path"))
    return SolanaCliConfig(
        json_rpc_url=_text(tree.get("json_rpc_url")),
        websocket_url=_text(tree.get("websocket_url")),
        keypair_path=Path(keypair).expanduser() if keypair else None,
    )


def chosen_network() -> SolanaCliConfig:
    """What ``solana config set`` keeps, with an RPC address.

    Raises:
        ConfigError: there is none.
    """
    found = read_solana_cli_config(Path(DEFAULT_FILE))
    if found is None or not found.json_rpc_url:
        raise ConfigError(
            f"The Solana CLI's configuration {DEFAULT_FILE} names no RPC address.",
            fix="Name one with `solana config set --url URL`, or set network.rpc_url.",
        )
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
