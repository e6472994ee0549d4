"""Create a key file or show the wallet's address.

The key file has the Solana CLI's format. `wallet address` shows the address of the wallet that `start` would use.

Examples:
  decloud-trainer wallet new
  decloud-trainer wallet address
  decloud-trainer wallet address --keypair ~/keys/trainer.json
"""

from __future__ import annotations

from pathlib import Path

import click

from decloud_pl.cli.arguments import FILE, Choice, as_json, command

_DEFAULT = "~/.config/solana/id.json"


@command(__doc__)
@click.argument("action", type=Choice(("new", "address")))
@click.option("--keypair", type=FILE, metavar="FILE", help=f"the key file (new: default {_DEFAULT})")
@as_json
def run(action: str, keypair: Path | None, as_json: bool) -> int:
    from decloud_pl.chain.solana_cli import key_file
    from decloud_pl.chain.wallet import create_wallet, load_wallet
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_result
    from decloud_pl.rounds.wallets import open_wallet

    path = key_file(str(keypair or _DEFAULT), "--keypair")
    if action == "new":
        wallet = create_wallet(path)
    elif keypair:
        # The file on the command line takes precedence over a key in the environment.
        wallet = load_wallet(keypair_path=path, environ={})
    else:
        settings = open_settings([])
        wallet = open_wallet(settings.wallet, settings.secrets, settings.allow_packages)
    warning = f"Created {path}. Keep a backup: anyone with this file controls the wallet.\nAddress: "
    text = f"{warning if action == 'new' else ''}{wallet.address}"
    print_result({"address": str(wallet.address)}, text, json=as_json)
    return 0
