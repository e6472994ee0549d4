"""``decloud-trainer wallet``: a key file for those without the Solana CLI."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

_DEFAULT = "~/.config/solana/id.json"
_EPILOG = """\
examples:
  decloud-trainer wallet new
  decloud-trainer wallet address --keypair ~/keys/trainer.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "wallet",
        help="make a key file or show the wallet's address",
        description="Makes a key file in the Solana CLI's format, or shows the address of one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=("new", "address"))
    parser.add_argument("--keypair", default=None, metavar="FILE", help=f"the key file (default {_DEFAULT})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from decloud_pl.chain.wallet import create_wallet, load_wallet

    path = Path(arguments.keypair or _DEFAULT).expanduser()
    if arguments.action == "new":
        wallet = create_wallet(path)
    else:
        # A file named on the command line is what the user asks about, whatever the environment holds.
        wallet = load_wallet(keypair_path=path, environ={} if arguments.keypair else os.environ)
    if arguments.json:
        print(json.dumps({"address": str(wallet.address)}))
    elif arguments.action == "new":
        print(f"Made {path}. Keep a copy: who has the file has the money.\nAddress: {wallet.address}")
    else:
        print(wallet.address)
    return 0
