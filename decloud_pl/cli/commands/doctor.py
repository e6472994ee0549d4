"""Check wallet, network, storage, data and machine.

Checks the settings, wallet, RPC, WebSocket, clock, balance, gateways, storage, disk, data sets and device. The exit
code is 0 if no check found a problem, otherwise 14.

Examples:
  decloud-trainer doctor
  decloud-trainer doctor network=devnet
  decloud-trainer doctor --json
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from decloud_pl.cli.arguments import as_json, command, overrides
from decloud_pl.cli.exit_codes import EXIT_UNWELL

if TYPE_CHECKING:
    from decloud_pl.diagnose.findings import Finding


@command(__doc__)
@as_json
@overrides
def run(as_json: bool, overrides: list[str]) -> int:
    import asyncio
    from functools import partial

    from decloud_pl.cli.config.session import open_settings
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.config.schema import default_home
    from decloud_pl.diagnose.doctor import examine
    from decloud_pl.rounds.wallets import open_wallet

    settings = open_settings(overrides)
    find_wallet = partial(open_wallet, settings.wallet, settings.secrets, settings.allow_packages)
    findings = asyncio.run(examine(settings, default_home(), find_wallet))
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if as_json:
        print_json({"well": not problems, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        rows = [[finding.name, finding.verdict, _sentences(finding)] for finding in findings]
        print_table(["check", "verdict", "result and what to do"], rows)
        print(f"\n{len(problems) or 'No'} problem{'s' if len(problems) != 1 else ''}")
    return EXIT_UNWELL if problems else 0


def _sentences(finding: Finding) -> str:
    detail = finding.detail.rstrip(".")
    return f"{detail}. {finding.fix}" if finding.fix else detail
