"""``python -m decloud_pl`` accepts Hydra's flags, uses the same settings, and never prints or writes a secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import base58
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from decloud_pl.__main__ import main
from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli import main as trainer
from decloud_pl.config import compose, load

JWT = "eyJhbGciOiJIUzI1NiJ9.aVeryPrivatePayload.signature"
API_KEY = "aKeyThatIsPartOfAnAddress"
ADDRESSES = {
    "query": f"http://127.0.0.1:9/?api-key={API_KEY}",
    "path": f"http://127.0.0.1:9/v2/{API_KEY}",
    "login": f"http://me:{API_KEY}@127.0.0.1:9",
}


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


def holding(folder: Path, *secrets: str) -> list[Path]:
    """Return the files that contain one of these texts, except the expected ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("config.json", "key.json"))
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


def test_the_printed_configuration_has_every_layer_and_no_secret(
    tmp_path: Path, home: Path, keep: Any, key: str
) -> None:
    keep({"epochs": 4, "pinata_jwt": JWT, "private_key": key, "min_reward": "0.2", "data.mirror": ADDRESSES["path"]})
    preset = home / "conf" / "preset" / "mine.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(f"# @package _global_\nnetwork:\n  fallback_rpc_urls: ['{ADDRESSES['login']}']\n")
    flags = ("--cfg", "all", "preset=mine", "seed=9", f"network.rpc_url={ADDRESSES['query']}")
    done = hydra(tmp_path, home, *flags, PINATA_API_KEY="pinata-api-key-of-mine", DECLOUD_BATCH_SIZE="8")
    assert done.returncode == 0, done.stderr
    tree = yaml.safe_load(done.stdout)
    assert (tree["trainer"]["max_epochs"], tree["datamodule"]["batch_size"]) == (4, 8)
    assert (tree["seed"], tree["rewards"]["min"]) == (9, "0.2")
    assert (tree["network"]["rpc_url"], tree["network"]["fallback_rpc_urls"], tree["data"]["mirror"]) == (
        "http://127.0.0.1:9/…",
        ["http://…@127.0.0.1:9"],
        "http://127.0.0.1:9/…",
    )
    for secret in (JWT, key, "pinata-api-key-of-mine", API_KEY):
        assert secret not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_that_hydra_keeps_writes_no_secret(tmp_path: Path, home: Path, keep: Any, key: str) -> None:
    urls = {"network.rpc_url": ADDRESSES["query"], "network.fallback_rpc_urls": [ADDRESSES["path"]]}
    keep({"pinata_jwt": JWT, "private_key": key, "epochs": 2, **urls})
    runs = tmp_path / "runs"
    # With verbose logging, other libraries log every request and argument with complete URLs.
    flags = ("-cn", "config", f"hydra.run.dir={runs}", "hydra.output_subdir=saved", "hydra.verbose=true")
    ended = ("task=round", "round=0")  # a daemon would wait for the endpoint
    done = hydra(tmp_path, home, *flags, *ended, f"network.ws_url={ADDRESSES['login'].replace('http', 'ws')}")
    assert done.returncode == 5, done.stderr
    assert "127.0.0.1:9 does not answer" in done.stderr
    assert "ws_url: ws://…@127.0.0.1:9" in (runs / "saved" / "config.yaml").read_text()
    assert "httpcore" in (runs / "decloud_pl.log").read_text()
    assert holding(tmp_path, JWT, key, API_KEY) == []
    assert not [secret for secret in (JWT, key, API_KEY) if secret in done.stdout + done.stderr]


def test_commands_show_no_key_of_an_address(
    home: Path, keep: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    create_wallet(home / "id.json")
    keep({"network.rpc_url": ADDRESSES["path"], "keypair_path": str(home / "id.json"), "network.faucet": False})
    sets = [
        f"--set=network.ws_url={ADDRESSES['login'].replace('http', 'ws')}",
        f"--set=data.mirror={ADDRESSES['query']}",
    ]
    assert trainer(["config", *sets]) == 0
    for command in (
        ["config", "--show", "--origin"],
        ["config", "--json"],
        ["list"],
        ["start", "task=round", "round=0"],
    ):
        assert trainer(command) in (0, 5)
    shown = capsys.readouterr()
    assert "data.mirror = http://127.0.0.1:9/…" in shown.out
    assert "127.0.0.1:9 does not answer" in shown.err
    assert API_KEY not in shown.out + shown.err
    assert holding(home, API_KEY) == []


def test_an_address_can_be_typed_without_being_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setenv("DECLOUD_HOME", str(home))
    monkeypatch.setattr(sys, "stdin", io.StringIO(ADDRESSES["query"] + "\n"))
    assert trainer(["config", "--set", "network.rpc_url=-"]) == 0
    assert capsys.readouterr().out == "network.rpc_url = http://127.0.0.1:9/…\n"
    assert json.loads((home / "config.json").read_text())["network.rpc_url"] == ADDRESSES["query"]


def test_the_program_still_uses_the_complete_address(home: Path, keep: Any) -> None:
    keep({"network.rpc_url": ADDRESSES["query"]})
    assert load(environ={"DECLOUD_HOME": str(home)}).network.rpc_url == ADDRESSES["query"]
    overridden = load([f"network.rpc_url={ADDRESSES['path']}"], environ={"DECLOUD_HOME": str(home)})
    assert overridden.network.rpc_url == ADDRESSES["path"]


SHOWN_BY_HYDRA = ("+network.rpc_ulr=x", "datasets=[mnits]")
WRONG: list[tuple[list[str], int, str]] = [
    (["+unknown=1"], 3, "Unknown setting 'unknown'."),
    (["network.rpc_ulr=x"], 3, "Unknown setting 'network.rpc_ulr'. Did you mean 'network.rpc_url'?"),
    (["+network.rpc_ulr=x"], 3, "Did you mean 'network.rpc_url'?"),
    (["trainer.acelerator=cpu"], 3, "Did you mean 'trainer.accelerator'? To add it, write +trainer.acelerator=…."),
    (["optimizer=sgd", "optimizer.momentun=1"], 3, "Did you mean 'optimizer.momentum'?"),
    (["pinata_jwt=abc"], 3, "is a secret, so it is not allowed on a command line"),
    (["network=[1]"], 3, "Unknown network '[1]'."),
    (["trainer=5"], 3, "Unknown trainer '5'. Known: cpu, default."),
    (["epochs=many"], 3, 'epochs must be a whole number (got "many").'),
    (["auto_train=perhaps"], 3, 'auto_train must be true or false (got "perhaps").'),
    (["datasets=mnist"], 3, "datasets must be a list (got 'mnist'). Write datasets=[mnist]."),
    (["epochs=1,2"], 3, "or add -m to run one experiment for each value."),
    (["epochs=[1"], 3, "The value of trainer.max_epochs cannot be read: [1."),
    (["epochs"], 3, "'epochs' does not have the form KEY=VALUE"),
    (["hydra.foo=1"], 3, "Could not override 'hydra.foo'."),
    # The same messages as those of `decloud-trainer`.
    (["datasets=[mnits]"], 3, "datasets: unknown data set 'mnits'. Did you mean 'mnist'?"),
    (["mappings.custom=digit"], 3, "mappings: unknown data set 'digit'. Did you mean 'digits'?"),
    (["paths.mnits=/data"], 3, "paths: unknown data set 'mnits'. Did you mean 'mnist'?"),
    (["--cfg", "jobb"], 2, "invalid choice: 'jobb'"),
    (["--fly"], 2, "Unrecognized arguments: --fly. See `python -m decloud_pl --hydra-help`."),
    (["-m", "--cfg", "job", "task=experiment", "epochs=1,2"], 2, "but a sweep has several."),
    # A run would ignore these flags.
    (["--config-dir", "mine", "task=round", "round=0"], 2, "--config-dir is not supported, because the settings come"),
    (["-cn", "mine", "-m", "task=experiment", "epochs=1,2"], 2, "conf/preset/mine.yaml, and add preset=mine."),
    (["--cfg", "job", "--config-path=/mine"], 2, "--config-path is not supported"),
    (["--info", "config", "-cd", "mine"], 2, "--config-dir is not supported"),
    (["--help", "-cd", "mine"], 2, "--config-dir is not supported"),
    (["--help", "epoch=9"], 3, "decloud_pl: Unknown setting 'epoch'. Did you mean 'epochs'?"),
    (["--experimental-rerun", "run.pickle"], 2, "Repeat the settings of that run instead."),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    # Input that Hydra itself would accept or print.
    WRONG + [(["--cfg", "job", *row[0]], *row[1:]) for row in WRONG if row[0][0] in SHOWN_BY_HYDRA],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_leads_to_one_message(
    arguments: list[str],
    code: int,
    words: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    monkeypatch.setattr("sys.argv", ["decloud_pl"])
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert len(shown.err.strip().splitlines()) == 1


@pytest.fixture
def asked(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return the lines that flags print. The program runs in this process."""
    monkeypatch.setenv("DECLOUD_HOME", str(home))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def run(*arguments: str) -> list[str]:
        assert main(arguments) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_the_version(asked: Callable[..., list[str]]) -> None:
    assert asked("--version")[0].startswith("decloud_pl ")


def test_the_help_shows_settings_choices_and_examples_but_no_keys(
    home: Path, keep: Any, asked: Callable[..., list[str]]
) -> None:
    keep({"seed": 3})
    own = home / "conf" / "preset" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nepochs: 7\n")
    lines = asked("--help", "preset=mine", f"network.rpc_url={ADDRESSES['path']}")
    assert API_KEY not in "".join(lines)
    assert lines[0] == "python -m decloud_pl KEY=VALUE GROUP=CHOICE …"
    assert "wallet: environment, keypair, keyring, solana-cli" in lines
    assert any(line.startswith("preset: ") and " mine, " in line for line in lines)
    assert {"seed: 3", "epochs: ${alias:trainer.max_epochs}", "  max_epochs: 7"} <= set(lines)
    assert "hydra:" not in lines
    assert {"epochs: 9", "  max_epochs: 9"} <= set(asked("--help", "--resolve", "epochs=9"))
    examples = [line.split()[3:] for line in lines if line.startswith("  python -m decloud_pl ")]
    assert len(examples) == 6
    for words in examples:  # each sweep of conf/sweep has its own test
        overrides = [word.partition(",")[0] for word in words if "=" in word and not word.startswith("sweep=")]
        if overrides:
            compose(overrides)


@pytest.mark.slow
def test_hydras_own_help_lists_the_flags(tmp_path: Path, home: Path) -> None:
    done = hydra(tmp_path, home, "--hydra-help")
    assert done.returncode == 0
    assert "--multirun,-m : " in done.stdout
    assert "== Configuration groups ==" in done.stdout
