"""The Solana CLI's own configuration, ``~/.config/solana/cli/config.yml``: what it names is honoured here too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.errors import ConfigError, WalletError

DEFAULT_FILE = "~/.config/solana/cli/config.yml"
_NOT_FILES = {
    "usb": "a hardware wallet, which signs only while somebody confirms",
    "prompt": "a seed phrase, which somebody has to type",
    "stdin": "standard input, which a program that runs for weeks does not have",
}
_SHORT = {"ASK": "prompt", "-": "stdin"}
_ADDRESS = re.compile("[1-9A-HJ-NP-Za-km-z]{32,44}")


@dataclass(frozen=True, slots=True)
class SolanaCliConfig:
    """What the file says; an empty string or None where it says nothing."""

    json_rpc_url: str = ""
    websocket_url: str = ""
    keypair_path: str = ""

    def key_file(self) -> Path | None:
        """The file of the key, None where none is named.

        Raises:
            WalletError: as the function `key_file`.
        """
        return key_file(self.keypair_path, "The Solana CLI's configuration") if self.keypair_path else None


def key_file(signer: str, where: str) -> Path:
    """The file that a signer names, as the Solana CLI's tools take one: a path, or ``file:`` and a path.

    Args:
        signer: the text.
        where: what names it, for the message.

    Raises:
        WalletError: it is another kind of signer: ``usb://ledger``, ``prompt://``, ``ASK``, ``stdin://``, ``-``, an
            address.
    """
    scheme, _, rest = signer.partition(":")
    if scheme == "file":
        return Path(re.sub("^//(?=/)", "", rest)).expanduser()
    what = _NOT_FILES.get(_SHORT.get(signer, scheme if rest or signer.endswith(":") else ""))
    if what is None and _ADDRESS.fullmatch(signer) and not Path(signer).exists():
        what = "an address, which cannot sign without its key"
    if what is None:
        return Path(signer).expanduser()
    fix = "Make a wallet for this program with `decloud-trainer wallet new` and send it SOL, or name another key file."
    if what == _NOT_FILES["prompt"]:
        fix = f"Write its key to a file with `solana-keygen recover prompt:// --outfile FILE` and name that. {fix}"
    raise WalletError(f"{where} names {signer}: {what}. This program needs a key file.", fix=fix)


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
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"The Solana CLI's configuration {path} cannot be read.", fix="Correct or remove it."
        ) from error
    if not isinstance(tree, dict):
        return SolanaCliConfig()
    return SolanaCliConfig(
        json_rpc_url=_text(tree.get("json_rpc_url")),
        websocket_url=_text(tree.get("websocket_url")),
        keypair_path=_text(tree.get("keypair_path")),
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
