"""Reads the configuration of the Solana CLI, ``~/.config/solana/cli/config.yml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from decloud_pl.errors import ConfigError, WalletError

DEFAULT_FILE = "~/.config/solana/cli/config.yml"
_NOT_FILES = {
    "usb": "a hardware wallet, on which a person must confirm each signature",
    "prompt": "a seed phrase, which a person must type",
    "stdin": "standard input, which the daemon does not read",
}
_SHORT = {"ASK": "prompt", "-": "stdin"}
_ADDRESS = re.compile("[1-9A-HJ-NP-Za-km-z]{32,44}")


@dataclass(frozen=True, slots=True)
class SolanaCliConfig:
    """The settings of the Solana CLI. A setting that is missing in the file is an empty string."""

    json_rpc_url: str = ""
    websocket_url: str = ""
    keypair_path: str = ""

    def key_file(self) -> Path | None:
        """Return the path of the key file, or None if the configuration names no signer.

        Raises:
            WalletError: the signer is not a file; see the function `key_file`.
        """
        return key_file(self.keypair_path, "The Solana CLI's configuration") if self.keypair_path else None


def key_file(signer: str, where: str) -> Path:
    """Return the path of the key file that a setting or option names in the Solana CLI's notation for signers.

    Args:
        signer: a path, or ``file:`` and a path.
        where: the name of the setting or option, for the message.

    Raises:
        WalletError: ``signer`` is not a file but a hardware wallet (``usb://ledger``), a seed phrase (``prompt://`` or
            ``ASK``), standard input (``stdin://`` or ``-``) or an address.
    """
    scheme, _, rest = signer.partition(":")
    if scheme == "file":
        return Path(re.sub("^//(?=/)", "", rest)).expanduser()
    what = _NOT_FILES.get(_SHORT.get(signer, scheme if rest or signer.endswith(":") else ""))
    if what is None and _ADDRESS.fullmatch(signer) and not Path(signer).exists():
        what = "only an address, without its private key"
    if what is None:
        return Path(signer).expanduser()
    fix = "Create a wallet with `decloud-trainer wallet new` and send SOL to it, or choose a key file."
    if what == _NOT_FILES["prompt"]:
        fix = f"Write the key to a file with `solana-keygen recover prompt:// --outfile FILE` and choose it. {fix}"
    raise WalletError(f"{where} sets the signer {signer}, which is {what}. The trainer needs a key file.", fix=fix)


def absolute(signer: str) -> str:
    """Return a signer with an absolute path in place of a relative one. Other signers stay unchanged."""
    is_other = not signer or signer[0] in "/~" or ":" in signer or signer in _SHORT
    if is_other or (_ADDRESS.fullmatch(signer) and not Path(signer).exists()):
        return signer
    return str(Path.cwd() / signer)


def read_solana_cli_config(path: Path) -> SolanaCliConfig | None:
    """Return the settings in the file, or None if it does not exist.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"The Solana CLI's configuration {path} cannot be read, or is not YAML.", fix="Correct or remove it."
        ) from error
    if not isinstance(tree, dict):
        return SolanaCliConfig()
    return SolanaCliConfig(
        json_rpc_url=_text(tree.get("json_rpc_url")),
        websocket_url=_text(tree.get("websocket_url")),
        keypair_path=_text(tree.get("keypair_path")),
    )


def chosen_network() -> SolanaCliConfig:
    """Return the settings that ``solana config set`` stored, which must include an RPC address.

    Raises:
        ConfigError: the file is missing or has no RPC address.
    """
    found = read_solana_cli_config(Path(DEFAULT_FILE))
    if found is None or not found.json_rpc_url:
        raise ConfigError(
            f"The Solana CLI's configuration {DEFAULT_FILE} has no RPC address.",
            fix="Run `solana config set --url URL`, or set network.rpc_url.",
        )
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
