"""``python -m decloud_pl``: Hydra's own flags, over the same settings, and no secret in what it prints or writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import base58
import pytest
import yaml

from decloud_pl.chain.wallet import create_wallet

JWT = "eyJhbGciOiJIUzI1NiJ9.aVeryPrivatePayload.signature"


def hydra(cwd: Path, home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "decloud_pl", *arguments],
        cwd=cwd,
        env={**os.environ, "DECLOUD_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def key(tmp_path: Path) -> str:
    return base58.b58encode(bytes(create_wallet(tmp_path / "key.json").signer)).decode()


def test_the_printed_configuration_has_every_layer_and_no_secret(
    tmp_path: Path, home: Path, keep: Any, key: str
) -> None:
    keep({"epochs": 4, "pinata_jwt": JWT, "private_key": key, "min_reward": "0.2"})
    flags = ("--cfg", "job", "preset=high-reward", "seed=9")
    done = hydra(tmp_path, home, *flags, PINATA_API_KEY="pinata-api-key-of-mine", DECLOUD_BATCH_SIZE="8")
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load(done.stdout)
    assert (tree["epochs"], tree["batch_size"], tree["seed"], tree["rewards"]["min"]) == (4, 8, 9, "0.2")
    for secret in (JWT, key, "pinata-api-key-of-mine"):
        assert secret not in done.stdout + done.stderr


def test_a_run_that_hydra_keeps_writes_no_secret(tmp_path: Path, home: Path, keep: Any, key: str) -> None:
    keep({"pinata_jwt": JWT, "private_key": key, "epochs": 2})
    runs = tmp_path / "runs"
    done = hydra(
        tmp_path,
        home,
        "-cn",
        "config",
        "network.rpc_url=http://127.0.0.1:9",
        f"hydra.run.dir={runs}",
        "hydra.output_subdir=saved",
    )
    assert done.returncode == 5, done.stderr
    assert "127.0.0.1:9 does not answer" in done.stderr
    assert (runs / "saved" / "config.yaml").is_file()
    everything = [path for folder in (runs, home, tmp_path) for path in folder.rglob("*") if path.is_file()]
    for path in everything:
        if path not in (home / "config.json", tmp_path / "key.json"):
            data = path.read_bytes()
            assert JWT.encode() not in data, path
            assert key.encode() not in data, path
    for secret in (JWT, key):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+unknown=1"], "There is no setting 'unknown'."),
        (["+epoch=1"], "There is no setting 'epoch'. Did you mean 'epochs'?"),
        (["pinata_jwt=abc"], "does not belong on a command line"),
        (["preset=nope"], "There is no preset 'nope'."),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], words: str, tmp_path: Path, home: Path) -> None:
    done = hydra(tmp_path, home, *arguments)
    assert done.returncode == 3
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
