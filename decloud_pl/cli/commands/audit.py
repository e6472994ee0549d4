"""Check whether the reward of a completed round was shared fairly, or check somebody else's evidence file.

Scores every update of the round on the test split, as a validator does. Compares the fair shares with the shares
that the validator gave. Each audit writes an evidence file to the home folder. The daemon audits your own rounds
automatically (audit=own). `audit check` repeats an audit with data from the chain and the store, and compares its
result with the evidence file. Needs no wallet and sends no transaction.

Examples:
  decloud-trainer audit 42
  decloud-trainer audit 42 --again --json
  decloud-trainer audit check evidence.json network=devnet
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decloud_pl.cli.arguments import FILE, RoundNumber, as_json, command, overrides
from decloud_pl.cli.config.session import open_chain, open_settings, own_address
from decloud_pl.cli.ui.output import print_json, print_table
from decloud_pl.cli.ui.progress import steps
from decloud_pl.errors import AuditError, JournalLocked, UsageError

if TYPE_CHECKING:
    from decloud_pl.audit.look import Auditor
    from decloud_pl.audit.report import Report
    from decloud_pl.config import Settings
    from decloud_pl.journal.owner import Owner

_CHECK = "check"


@command(__doc__)
@click.argument("what", metavar="ID|check", help="the round's ID, or the word check")
@click.argument("file", type=FILE, metavar="[FILE]", required=False, help="the evidence file to check")
@click.option("--again", is_flag=True, help="score the round again, although there is an evidence file")
@as_json
@overrides
def run(what: str, file: Path | None, again: bool, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    if what == _CHECK:
        if file is None:
            raise UsageError(
                "`audit check` needs the path of an evidence file.", fix="Run: decloud-trainer audit check FILE"
            )
        return _check(file, overrides, as_json=as_json)
    if file is not None:
        raise UsageError(
            f"`audit` accepts only one round (got {what} {file}).",
            fix="To check an evidence file, run: decloud-trainer audit check FILE",
        )
    round_id = RoundNumber().convert(what, None, None)
    settings = open_settings(overrides)
    address, _ = own_address(settings)
    wallet = "" if address is None else str(address)
    with steps() as tell:
        report, path = asyncio.run(_audit(settings, wallet, round_id, tell, again=again))
    if as_json:
        print_json({**dataclasses.asdict(report), "file": str(path)})
    else:
        _show(report, path, wallet)
    return 0


def _check(file: Path, overrides: list[str], *, as_json: bool) -> int:
    import asyncio

    from decloud_pl.audit import evidence_file
    from decloud_pl.audit.check import check

    claimed = evidence_file.read(file)
    settings = open_settings(overrides)

    async def repeat(tell: Callable[[str], None]) -> tuple[Report, list[str]]:
        async with _auditor(settings, "") as (auditor, _):
            return await check(auditor, claimed, tell)

    with steps() as tell:
        found, differences = asyncio.run(repeat(tell))
    if as_json:
        print_json(
            {
                "agrees": not differences,
                "differences": differences,
                "round_id": found.round_id,
                "verdict": found.verdict,
                "found": dataclasses.asdict(found),
            }
        )
    if differences:
        raise AuditError(
            f"{file} differs from what this machine finds. {' '.join(differences)}",
            fix=f"Audit the round yourself: decloud-trainer audit {found.round_id} --again",
        )
    if not as_json:
        print(f"{file} agrees with what this machine finds: round {found.round_id} is {found.verdict}.")
    return 0


async def _audit(
    settings: Settings, wallet: str, round_id: int, tell: Callable[[str], None], *, again: bool
) -> tuple[Report, Path]:
    """Audit a round, and return the report and its file. If the file exists and ``again`` is not set, only read it."""
    import tempfile

    from decloud_pl.audit import evidence_file
    from decloud_pl.audit.check import completed_round

    async with _auditor(settings, wallet) as (auditor, owner):
        path = evidence_file.path_of(settings.home_path, owner, round_id)
        if path.exists() and not again:
            return evidence_file.read(path), path
        round_ = await completed_round(auditor, round_id)
        with tempfile.TemporaryDirectory(prefix="decloud-audit-") as folder:
            report = await auditor.audit(round_, Path(folder), tell=tell)
    evidence_file.write(path, report)
    _store(settings, owner, report, wallet)
    return report, path


def _store(settings: Settings, owner: Owner, report: Report, wallet: str) -> None:
    """Write the audit to the journal, unless a running daemon has locked the journal.

    While a daemon runs, the audit is only in its evidence file. The daemon audits rounds itself (see the setting
    ``audit``) and stores those audits.
    """
    import contextlib

    from decloud_pl.journal.audits import store_audit
    from decloud_pl.journal.schema import JOURNAL_FILE
    from decloud_pl.journal.writer import Journal

    with contextlib.suppress(JournalLocked), Journal(settings.home_path / JOURNAL_FILE, owner) as journal:
        store_audit(journal, report.row(wallet))


@asynccontextmanager
async def _auditor(settings: Settings, wallet: str) -> AsyncIterator[tuple[Auditor, Owner]]:
    from decloud_pl.daemon.assemble import MAX_MODEL_BYTES
    from decloud_pl.daemon.auditing import make_auditor
    from decloud_pl.journal.owner import Owner
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.journal.schema import JOURNAL_FILE
    from decloud_pl.rounds.stores import make_reader

    journal_path = settings.home_path / JOURNAL_FILE
    reader = make_reader(settings.network, settings.storage, settings.home_path)
    async with open_chain(settings.network, journal_path) as chain:
        network = await chain.rpc.check_same_network()
        owner = Owner(network, str(chain.dialect.program_id), wallet)
        with JournalReader(journal_path, owner) as journal:
            yield make_auditor(settings, chain, reader, journal, network, max_bytes=MAX_MODEL_BYTES), owner


def _show(report: Report, path: Path, wallet: str) -> None:
    from decloud_pl.legible import legible

    rows = [
        [
            f"{entry.trainer}{' (you)' if entry.trainer == wallet else ''}",
            "-" if entry.correct is None else f"{(entry.correct - report.base_correct) / report.samples:+.2%}",
            f"{entry.paid_bps / 100:g} %",
            "-" if entry.fair_bps is None else f"{entry.fair_bps / 100:g} %",
            "-" if entry.noise_bps is None else f"{entry.noise_bps / 100:g} %",
        ]
        for entry in report.entries
    ]
    if rows:
        print_table(["trainer", ">gain", ">paid", ">fair", ">noise"], rows, flexible=0)
        print()
    accuracy = report.base_correct / report.samples if report.samples else 0.0
    print(
        f"Validator {report.validator}, read as {report.convention}; base model {accuracy:.2%} on {report.scored_on}."
    )
    print(f"The verdict is {report.verdict}. {legible(report.said(wallet))}")
    print(f"Evidence: {path}")
