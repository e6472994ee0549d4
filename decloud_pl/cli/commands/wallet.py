"""``decloud-trainer wallet``: a key file for those without the Solana CLI."""

from __future__ import annotations

import argparse
from pathlib import Path

from decloud_pl.cli.arguments import add_command, add_json

_DEFAULT = "~/.config/solana/id.json"
_EXAMPLES = """\
decloud-trainer wallet new
decloud-trainer wallet address
decloud-trainer wallet address --keypair ~/keys/trainer.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "wallet",
        "make a key file or show the wallet's address",
        _EXAMPLES,
        "Makes a key file in the Solana CLI's format, or shows the address of the wallet that `start` would use.",
    )
    parser.add_argument("action", choices=("new", "address"))
    parser.add_argument("--keypair", default=None, metavar="FILE", help=f"the key file (new: default {_DEFAULT})")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.chain.wallet import create_wallet, load_wallet
    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json
    from decloud_pl.rounds.connect import open_wallet

    path = Path(arguments.keypair or _DEFAULT).expanduser()
    if arguments.action == "new":
        wallet = create_wallet(path)
    elif arguments.keypair:
        # A file named on the command line is what the user asks about, whatever the environment holds.
        wallet = load_wallet(keypair_path=path, environ={})
    else:
        settings = open_settings([])
        wallet = open_wallet(settings.wallet, settings.secrets)
    if arguments.json:
        print_json({"address": str(wallet.address)})
    elif arguments.action == "new":
        print(f"Made {path}. Keep a copy: who has the file has the money.\nAddress: {wallet.address}")
    else:
        print(wallet.address)
    return 0
