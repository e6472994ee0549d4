"""Show whether the daemon would join a round and why, and the result of the round's audit, if there is one.

Needs no wallet, but the balance test fails without a wallet.

Examples:
  decloud-trainer explain 42
  decloud-trainer explain 42 rewards.min=0.5 --json
"""

from __future__ import annotations

import dataclasses

from decloud_pl.cli.arguments import as_json, command, overrides, round_id


@command(__doc__)
@round_id
@as_json
@overrides
def run(round_id: int, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    from decloud_pl.cli.config.session import open_settings, own_address
    from decloud_pl.cli.ui.output import print_json, print_table
    from decloud_pl.daemon.assemble import explain_round
    from decloud_pl.legible import legible

    settings = open_settings(overrides)
    address, why_none = own_address(settings)
    checks, choice, audit = asyncio.run(explain_round(settings, address, round_id, why_none=why_none))
    written = settings.written_convention(choice.convention)
    joins = all(check.passed for check in checks)
    if as_json:
        print_json(
            {
                "round_id": round_id,
                "joins": joins,
                "checks": [dataclasses.asdict(check) for check in checks],
                "convention": {
                    "read_as": choice.convention,
                    "gradient_rate": settings.network.gradient_rate,
                    "why": choice.why,
                    "written_as": written,
                },
                "audit": None if audit is None else dataclasses.asdict(audit),
            }
        )
        return 0
    rows = [[check.name, "yes" if check.passed else "no", check.detail] for check in checks]
    print_table(["test", "passed", "because"], rows)
    failed = next((check for check in checks if not check.passed), None)
    print(f"\nThe daemon assumes that the validator reads updates as {choice.convention}: {choice.why}.")
    if written != choice.convention:
        print(f"update.convention is {written}, so the validator would misread your update.")
    if audit is not None:
        print(f"The audit of its shares: {audit.verdict}. {legible(audit.said)}")
    verdict = "would join this round" if failed is None else f"does not join this round: {failed.detail}"
    print(f"The daemon {verdict}.")
    return 0
