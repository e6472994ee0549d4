"""Show the wallet, the daemon and the joined rounds, or one round.

Showing one round needs no wallet.

Examples:
  decloud-trainer status
  decloud-trainer status 42 --json
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from decloud_pl.cli.arguments import as_json, command, maybe_round_id, overrides
from decloud_pl.cli.config.session import open_chain, open_settings, own_address
from decloud_pl.cli.rounds import next_deadline, round_fields, status_name
from decloud_pl.cli.ui.output import print_json, print_table
from decloud_pl.domain import RoundStatus, format_sol
from decloud_pl.errors import no_round

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from solders.pubkey import Pubkey

    from decloud_pl.chain.client import ChainClient
    from decloud_pl.chain.revision import Revision
    from decloud_pl.config import NetworkConfig
    from decloud_pl.domain import Round, Submission
    from decloud_pl.journal.owner import Owner
    from decloud_pl.journal.record import RoundRecord


@command(__doc__)
@maybe_round_id
@as_json
@overrides
def run(round_id: int | None, as_json: bool, overrides: list[str]) -> int:
    import asyncio

    from decloud_pl.journal.schema import JOURNAL_FILE, daemon_process
    from decloud_pl.rounds.wallets import open_wallet

    settings = open_settings(overrides)
    network, journal = settings.network, settings.home_path / JOURNAL_FILE
    if round_id is not None:
        wallet, why_none = own_address(settings)
        return asyncio.run(_round_status(round_id, network, wallet, why_none, journal, json=as_json))
    address = open_wallet(settings.wallet, settings.secrets, settings.allow_packages).address
    process = daemon_process(journal)
    standing = asyncio.run(_standing(network, address, journal))
    if as_json:
        document = {
            "wallet": str(address),
            "network": network.name,
            "program": None if standing.revision is None else dataclasses.asdict(standing.revision),
            "convention": {
                "read_as": network.read_convention,
                "found_out": network.convention == "auto",
                "gradient_rate": network.gradient_rate,
                "written_as": settings.written_convention(),
            },
            "balance_lamports": standing.balance,
            "daemon_process": process,
            "rounds": [_status_fields(*standing.of(number)) for number in standing.rounds],
        }
        print_json(document)
        return 0
    print(f"Wallet   {address}")
    print(f"Holds    {format_sol(standing.balance)} on {network.name}")
    print(f"Program  {standing.revision or 'unknown; the daemon detects it when it starts'}")
    print(f"Updates  are read as {network.describe_convention(settings.written_convention())}")
    print(f"Daemon   {'not running' if process is None else f'running (process {process})'}")
    _print_rounds(standing)
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Standing:
    """A wallet's balance in lamports and its joined rounds, from the chain and the journal."""

    balance: int
    rounds: Mapping[int, Round]
    places: Mapping[int, Submission]
    records: Mapping[int, RoundRecord]
    revision: Revision | None

    def of(self, round_id: int) -> tuple[Round, Submission, RoundRecord | None]:
        return self.rounds[round_id], self.places[round_id], self.records.get(round_id)


async def _standing(network: NetworkConfig, wallet: Pubkey, journal: Path) -> _Standing:
    from decloud_pl.journal.findings import stored_revision
    from decloud_pl.journal.reader import JournalReader

    async with open_chain(network, journal) as chain:
        with JournalReader(journal, await _owner(chain, wallet)) as reader:
            records = {record.round_id: record for record in reader.rounds()}
            revision = stored_revision(reader)
        balance = await chain.rpc.balance(wallet)
        places = {entry.round_id: entry for entry in await chain.submissions_of(wallet)}
        return _Standing(balance, await chain.rounds_by_id(sorted(places)), places, records, revision)


def _print_rounds(standing: _Standing) -> None:
    rows = []
    for round_id in standing.rounds:
        round_, place, record = standing.of(round_id)
        rows.append(
            [
                str(round_id),
                status_name(round_.status),
                round_.dataset,
                "-" if record is None else record.state.value,
                format_sol(round_.reward_of(place.contribution_bps)).removesuffix(" SOL"),
                "yes" if place.reward_claimed else "no",
            ]
        )
    print()
    if rows:
        print_table([">round", "status", "data set", "here", ">SOL", "claimed"], rows, flexible=2)
    else:
        print("This wallet has not joined a round yet.")


async def _round_status(
    round_id: int, network: NetworkConfig, wallet: Pubkey | None, why_none: str, journal: Path, *, json: bool
) -> int:
    from decloud_pl.journal.reader import JournalReader
    from decloud_pl.legible import legible

    async with open_chain(network, journal) as chain:
        round_ = await chain.round(round_id)
        submission = None if wallet is None else await chain.submission(round_id, wallet)
        now = await chain.rpc.clock()
        owner = await _owner(chain, wallet)
    if round_ is None:
        raise no_round(round_id)
    with JournalReader(journal, owner) as reader:
        record, steps = reader.get(round_id), reader.transitions(round_id)
    if json:
        document = {
            **_status_fields(round_, submission, record),
            "now": now,
            "steps": [{"at": step.at, "state": step.state, "reason": step.reason} for step in steps],
        }
        print_json(document)
        return 0
    place = [("This wallet", f"none ({why_none})")] if wallet is None else _place(round_, submission, record)
    for name, value in [*_details(round_, now), *place]:
        print(f"{name:<12} {legible(value)}")
    if steps:
        from decloud_pl.dashboard.formats import stamp

        print()
        for step in steps:
            print(f"{stamp(step.at)}  {step.state.value}{f': {legible(step.reason)}' if step.reason else ''}")
    return 0


def _details(round_: Round, now: int) -> list[tuple[str, str]]:
    return [
        ("Round", str(round_.id)),
        ("Status", status_name(round_.status)),
        ("Data set", round_.dataset),
        ("Reward", format_sol(round_.net_reward)),
        ("Model", round_.model_cid),
        ("Creator", str(round_.creator)),
        ("Validator", "none yet" if round_.validator is None else str(round_.validator)),
        ("Trainers", f"{round_.trainers_count} joined, {round_.submissions_count} submitted"),
        ("Deadline", next_deadline(round_, now)),
    ]


def _place(round_: Round, submission: Submission | None, record: RoundRecord | None) -> list[tuple[str, str]]:
    """Return the (name, value) lines that show this wallet's submission, reward and measurements in a round."""
    if submission is None:
        return [("This wallet", "has not joined")]
    found = [("Submission", submission.gradient_cid)] if submission.submitted else [("This wallet", "has joined")]
    if submission.submitted:
        share = f"{submission.contribution_bps / 100:g} %, {format_sol(round_.reward_of(submission.contribution_bps))}"
        is_scored = submission.contribution_bps > 0 or round_.status is RoundStatus.COMPLETED
        found.append(("Share", share if is_scored else "not scored yet"))
        found.append(("Claimed", "yes" if submission.reward_claimed else "no"))
    if record is None:
        return found
    if record.accuracy_before is not None and record.accuracy_after is not None:
        gain = f"{record.accuracy_before * 100:.1f} % → {record.accuracy_after * 100:.1f} %"
        found.append(("Accuracy", f"{gain} on held-out data"))
    elif record.update_cid:
        found.append(("Accuracy", "not measured"))
    if record.convention:
        found.append(("Convention", f"{record.convention}, because {record.convention_why}"))
    if record.gain_low is not None and record.gain_high is not None:
        expected = f"{record.gain_low * 100:.1f} to {record.gain_high * 100:.1f} points"
        found.append(("Expected", f"a gain of {expected} at the validator (95 %)"))
    return found


async def _owner(chain: ChainClient, wallet: Pubkey | None) -> Owner:
    from decloud_pl.journal.owner import Owner

    return Owner(await chain.rpc.check_same_network(), str(chain.dialect.program_id), str(wallet or ""))


def _status_fields(round_: Round, submission: Submission | None, record: RoundRecord | None) -> dict[str, Any]:
    place = None
    if submission is not None:
        place = {
            "submitted": submission.submitted,
            "gradient_cid": submission.gradient_cid,
            "contribution_bps": submission.contribution_bps,
            "reward_lamports": round_.reward_of(submission.contribution_bps),
            "reward_claimed": submission.reward_claimed,
        }
    row = None if record is None else dataclasses.asdict(record)
    return {"round": round_fields(round_), "submission": place, "journal": row}
