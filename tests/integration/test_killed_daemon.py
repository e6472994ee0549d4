"""A daemon killed at several steps of a round completes it after a restart and repeats no transaction."""

from __future__ import annotations

import base64
import json
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from solders.pubkey import Pubkey

from decloud_pl.chain.dialects import get_dialect
from decloud_pl.chain.wallet import load_wallet

STEPS = ("joined.", "training…", "trained in", "submitted.")
"""Messages of the daemon around the real training. tests/daemon/test_kill_matrix.py kills it at every write."""


def rpc(url: str, method: str, *params: Any) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["result"]


def instructions_on(url: str, address: Pubkey) -> list[str]:
    """Return the program's successful instructions on an account, the oldest first."""
    history = rpc(url, "getSignaturesForAddress", str(address), {"commitment": "confirmed"})
    names: list[str] = []
    for entry in reversed(history):
        if entry["err"] is None:
            config = {"maxSupportedTransactionVersion": 0, "commitment": "confirmed"}
            logs = rpc(url, "getTransaction", entry["signature"], config)["meta"]["logMessages"]
            names += [line.rpartition(" ")[2] for line in logs if line.startswith("Program log: Instruction: ")]
    return names


@pytest.mark.parametrize("network", [["--rounds", "1"]], indirect=True)
def test_killed_at_several_steps(network: Any, start: Callable[..., Any], trainer_home: Path) -> None:
    command = ["start", *network.overrides(trainer_home)]
    for step in STEPS:
        daemon = start(command)
        daemon.wait_for(step)
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    daemon = start(command)
    daemon.wait_for("claimed 0.882 SOL")
    assert daemon.end(signal.SIGINT) == 0

    wallet = load_wallet(keypair_path=trainer_home / "id.json", environ={})
    address = get_dialect().submission_address(0, wallet.address)
    assert instructions_on(network.rpc_url, address) == [
        "JoinRound",
        "SubmitGradients",
        "SetContribution",
        "ClaimReward",
    ]
    account = rpc(network.rpc_url, "getAccountInfo", str(address), {"encoding": "base64"})["value"]
    submission = get_dialect().decode_submission(base64.b64decode(account["data"][0]))
    assert submission.reward_claimed
    with urllib.request.urlopen(f"{network.gateway_url}/ipfs/{submission.gradient_cid}", timeout=10) as answer:
        assert answer.status == 200
