"""One daemon on one network earns a reward with a data set of each format that has files, images and texts.

Every data set of the catalogue is read in tests/data and trained with in tests/experiment. The other tests of this
folder earn with the digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from decloud_pl.data.catalog import entry
from tests.data import tiny

# The first data set of each format: those with many classes need a longer training.
READERS = {entry(name).node["_target_"]: name for name in reversed(tiny.CLASSES) if name != "digits"}
ROUNDS = list(READERS.values())
TRAINING = ("epochs=2", "batch_size=16", "learning_rate=0.003", "max_batches=30")
SETTINGS = (*TRAINING, "max_concurrent_rounds=3", "audit=off")


def test_every_format_earns_a_reward(start: Callable[..., Any], tmp_path: Path, trainer_home: Path) -> None:
    assert sorted(ROUNDS) == ["cifar10", "imdb", "mnist", "svhn"]
    data = tmp_path / "data"
    for name in ROUNDS:
        tiny.write(name, data, train=480)  # enough held-out samples for the gate to be certain of a gain
    home = tmp_path / "network"
    arguments = ["localnet", "--json", "--rpc-port", "0", "--gateway-port", "0", "--home", str(home)]
    arguments += ["--rounds", str(len(ROUNDS)), "--open-rounds", "4", "--data", str(data)]
    arguments += [part for name in ROUNDS for part in ("--dataset", name)]
    endpoints = json.loads(start(arguments).wait_for("rpc_url"))
    daemon = start(
        [
            *("start", "network=local", f"network.rpc_url={endpoints['rpc_url']}"),
            *(f"network.gateways=[{endpoints['gateway_url']}]", f"storage.path={home / 'store'}"),
            *(f"wallet.keypair_path={trainer_home / 'id.json'}", f"home={trainer_home}", "poll_interval=1"),
            *(f"data.folder={data}", "data.download=false", *SETTINGS),
        ]
    )
    for _ in ROUNDS:
        daemon.wait_for("claimed 0.882 SOL")
    assert daemon.end() == 0
    output = "\n".join(daemon.seen)
    for number, name in enumerate(ROUNDS):
        assert re.search(rf"Round {number}: reward [\d.]+ SOL, data set {name}\b", output)
        line = re.search(rf"Round {number}: trained in .* accuracy ([\d.]+) % before, ([\d.]+) % after", output)
        assert line is not None, output
        assert float(line[2]) > float(line[1])
        assert f"Round {number}: scored, share 100 %" in output
