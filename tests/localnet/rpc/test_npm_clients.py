"""Unmodified JavaScript clients against the server: ``@solana/web3.js`` and ``@coral-xyz/anchor`` from npm.

The scripts in ``npm/`` contain the clients' own checks. The tests here check the chain afterwards.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.anchor import discriminator
from decloud_pl.chain.dialect import NetworkDialect
from decloud_pl.chain.dialects import get_dialect
from decloud_pl.domain import Round, RoundStatus
from decloud_pl.localnet.clock import ScaledClock
from decloud_pl.localnet.program import NEWEST, REVISIONS, shared_object
from decloud_pl.localnet.program.names import TREASURY
from decloud_pl.localnet.rpc.server import RpcServer
from decloud_pl.localnet.vm import Vm

NPM = Path(__file__).parent / "npm"
IDLS = Path(__file__).parents[2] / "golden" / "idl"
"""The published IDL files."""
OLDEST_NODE = 18
# At this speed, a blockhash lives for 12 seconds, and a transaction is final after less than 3.
SPEED = 5
PATIENCE = 60
UNREACHABLE = re.compile(
    r"^npm (?:ERR!|error) code ((?:E(?:NOTFOUND|AI_AGAIN|CONN\w+|TIMEDOUT|\w+UNREACH|5\d\d|407)|ERR_SOCKET_TIMEOUT))$",
    re.MULTILINE,
)


@dataclass
class Network:
    vm: Vm
    server: RpcServer
    scripts: Path
    dialect: NetworkDialect

    async def run(self, script: str, *arguments: str) -> dict[str, Any]:
        """Run a script against the server; return the JSON that it prints."""
        process = await asyncio.create_subprocess_exec(
            "node",
            "--no-deprecation",
            script,
            self.server.rpc_url,
            *arguments,
            cwd=self.scripts,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            output, complaints = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert (process.returncode, complaints.decode()) == (0, "")
        return dict(json.loads(output))

    def round(self, number: int) -> Round:
        account = self.vm.account(self.dialect.round_address(number))
        assert account is not None
        return self.dialect.decode_round(account.data)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts next to the packages that they use, installed once for all test processes."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version}; the clients need {OLDEST_NODE} or newer")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "npm-clients"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = folder / "outcome"
        if not outcome.exists():
            shutil.copytree(NPM, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
            outcome.write_text(install(folder))
    reason = unreachable(outcome.read_text())
    if reason:
        pytest.skip(f"the npm registry cannot be reached: {reason}")
    assert outcome.read_text() == ""
    return folder


def install(folder: Path) -> str:
    """Install exactly what the lock file lists, without running package scripts; return npm's error output."""
    command = [
        "npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-update-notifier",
        "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000", "--fetch-timeout=60000",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    return "" if done.returncode == 0 else done.stderr or f"npm ended with {done.returncode}"


def unreachable(complaint: str) -> str | None:
    """Return npm's error code if npm could not reach the registry."""
    found = UNREACHABLE.search(complaint)
    return None if found is None else found[1]


@pytest.fixture
def revision() -> str:
    return NEWEST


@pytest.fixture
async def network(scripts: Path, revision: str) -> AsyncIterator[Network]:
    dialect = get_dialect(revision)
    vm = Vm(ScaledClock(SPEED), {dialect.program_id: shared_object(revision)}, genesis=[TREASURY])
    async with RpcServer(vm, port=0, tick_seconds=0.02) as server:
        yield Network(vm, server, scripts, dialect)
    vm.close()


async def test_web3_js_creates_a_round_reads_it_back_and_hears_of_it(network: Network) -> None:
    said = await network.run("web3.mjs", str(network.dialect.program_id))
    for number in range(2):
        created = network.round(number)
        assert str(created.creator) == said["creator"]
        assert (created.dataset, created.reward_amount, created.status) == (
            "mnist",
            5_000_000,
            RoundStatus.WAITING_VALIDATOR,
        )
        assert network.vm.balance(network.dialect.vault_address(number)) >= 5_000_000
    assert network.vm.account(network.dialect.round_address(2)) is None
    assert network.vm.ledger.transaction(said["signature"]) is not None
    assert said["heard"] == 2  # the initialisation and the round; then the script unsubscribed


@pytest.mark.parametrize("revision", REVISIONS)
async def test_anchor_takes_a_round_from_its_creation_to_the_reward(network: Network, revision: str) -> None:
    """Uses the published IDL of the revision."""
    treasury = [str(TREASURY)] if network.dialect.treasury_fee_bps else []
    said = await network.run("anchor.mjs", str(IDLS / f"{revision}.json"), *treasury)
    finished = network.round(0)
    assert (str(finished.creator), finished.status) == (said["creator"], RoundStatus.COMPLETED)
    assert said["names"] == [
        "RoundCreated",
        "ValidatorClaimed",
        "TrainerJoined",
        "TrainingStarted",
        "GradientsSubmitted",
        "TrainingEnded",
        "ValidationCompleted",
        "RewardClaimed",
        *(("RoundCreated", "ValidatorClaimed", "RoundAborted") if network.dialect.can_abort else ()),
    ]
    submission = network.vm.account(network.dialect.submission_address(0, Pubkey.from_string(said["trainer"])))
    assert submission is not None
    assert submission.owner == network.dialect.program_id


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_idl_has_the_protocols_discriminators(revision: str) -> None:
    idl = json.loads((IDLS / f"{revision}.json").read_text())
    dialect = get_dialect(revision)
    assert idl["address"] == str(dialect.program_id)
    assert len(idl["instructions"]) == 13 + dialect.can_abort
    kinds = {"instructions": "global", "accounts": "account", "events": "event"}
    wrong = [
        entry["name"]
        for kind, namespace in kinds.items()
        for entry in idl[kind]
        if bytes(entry["discriminator"]) != discriminator(namespace, entry["name"])
    ]
    assert wrong == []


def test_every_npm_package_is_pinned_by_its_content_and_not_by_a_host() -> None:
    wanted = json.loads((NPM / "package.json").read_text())["dependencies"]
    lock = json.loads((NPM / "package-lock.json").read_text())["packages"]
    assert lock.pop("")["dependencies"] == wanted
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [name for name, entry in lock.items() if not entry["integrity"].startswith("sha512-")] == []
    assert [name for name, entry in lock.items() if "resolved" in entry] == []


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        ("npm error code ENOTFOUND\nnpm error syscall getaddrinfo\n", "ENOTFOUND"),
        ("npm ERR! code ECONNREFUSED\nnpm ERR! syscall connect\n", "ECONNREFUSED"),
        ("npm error code E503\n", "E503"),
        ("npm error code EUSAGE\nnpm error `npm ci` can only install packages when they are in sync\n", None),
        ("npm error code EINTEGRITY\n", None),
        ("npm error code E404\n", None),
        ("", None),
    ],
)
def test_only_a_registry_out_of_reach_excuses(complaint: str, reason: str | None) -> None:
    assert unreachable(complaint) == reason
