"""Detect how this network's validators read updates.

Downloads the files of completed rounds, scores them under each convention on this machine, and compares the scores with
the shares of the reward that the validators gave. Needs no wallet and sends no transaction.

Examples:
  decloud-trainer convention
  decloud-trainer convention network=devnet --rounds 5
  decloud-trainer convention --json
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import WholeNumber, as_json, command, overrides
from decloud_pl.cli.config.session import open_chain, open_settings
from decloud_pl.cli.ui.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from decloud_pl.config import NetworkConfig
    from decloud_pl.data.catalog import Catalog
    from decloud_pl.rounds.evidence import Record
    from decloud_pl.store.fetch.gateway import GatewayReader


@command(__doc__)
@click.option(
    "--rounds", type=WholeNumber(1), default=3, metavar="N", help="stop after N conclusive rounds (default: 3)"
)
@as_json
@overrides
def run(rounds: int, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    from decloud_pl.cli.ui.progress import steps
    from decloud_pl.rounds.planner import make_catalog
    from decloud_pl.rounds.stores import make_gateways

    settings = open_settings(overrides)
    catalog = make_catalog(settings)
    gateways = make_gateways(settings.network, settings.storage)
    with steps() as tell:
        tell("Reading completed rounds from the chain…")
        record = asyncio.run(_record(settings.network, gateways, catalog, rounds, tell))
    configured = settings.network.convention
    if as_json:
        document = {
            "convention": record.convention,
            "configured": configured,
            "rounds": [dataclasses.asdict(evidence) for evidence in record.rounds],
            "passed_over": {str(number): reason for number, reason in record.passed_over.items()},
        }
        print_json(document)
    else:
        show(record, configured)
    return 0


def show(record: Record, configured: str) -> None:
    """Print which convention each round's validator used, which rounds were skipped, and a conclusion.

    ``configured`` is the value of the setting ``network.convention``. If the value is ``auto``, the conclusion names
    the convention of each validator. Otherwise, the conclusion is whether the value is correct for the network.
    """
    rows = [
        [
            str(evidence.round_id),
            evidence.dataset,
            str(len(evidence.outcomes)),
            f"{evidence.missed['delta']:.0%}",
            f"{evidence.missed['gradient']:.0%}",
            evidence.convention or "either",
        ]
        for evidence in record.rounds
    ]
    if rows:
        headings = [">round", "data set", ">updates", ">delta misses", ">gradient misses", "was read as"]
        print_table(headings, rows, flexible=1)
        print()
    for number, reason in record.passed_over.items():
        print(f"Skipped round {number}: {reason}")
    for line in _by_validator(record) if configured == "auto" else [_conclusion(record, configured)]:
        print(line)


async def _record(
    network: NetworkConfig, gateways: GatewayReader, catalog: Catalog, most: int, tell: Callable[[str], None]
) -> Record:
    import tempfile
    from pathlib import Path

    from decloud_pl.daemon.assemble import MAX_MODEL_BYTES
    from decloud_pl.rounds.evidence import gather

    with tempfile.TemporaryDirectory(prefix="decloud-convention-") as folder:
        async with open_chain(network) as chain:
            return await gather(
                chain,
                gateways,
                catalog,
                Path(folder),
                gradient_rate=network.gradient_rate,
                max_bytes=MAX_MODEL_BYTES,
                most=most,
                tell=tell,
            )


def _by_validator(record: Record) -> list[str]:
    latest = {one.validator: one for one in reversed(record.rounds) if one.convention is not None}
    if not latest:
        return ["No completed round is conclusive. The daemon assumes the public validator's convention."]
    return [
        f"Validator {validator} reads updates as {one.convention}, as round {one.round_id} shows. The daemon detects"
        " this automatically (network.convention=auto)."
        for validator, one in latest.items()
    ]


def _conclusion(record: Record, configured: str) -> str:
    if record.convention is None:
        shown = {evidence.convention for evidence in record.rounds} - {None}
        reason = "The rounds contradict each other" if shown else "No completed round is conclusive"
        return f"{reason}. The daemon continues to use network.convention={configured}."
    if record.convention == configured:
        return f"This network reads updates as {configured}, which matches network.convention."
    return (
        f"This network reads updates as {record.convention}, but network.convention is {configured}, so your updates"
        f" would earn nothing. Run: decloud-trainer config --set network.convention={record.convention}"
    )
