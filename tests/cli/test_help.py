"""Every command has examples in its help, and none that only reads imports what training needs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.cli import main, parse, parser
from decloud_pl.cli.commands.completion import subcommands, words_of

COMMANDS = subcommands(parser())
# What the commands are called is public; one that disappears breaks scripts.
NAMES = {
    "setup",
    "start",
    "config",
    "doctor",
    "list",
    "status",
    "explain",
    "convention",
    "join",
    "train",
    "claim",
    "history",
    "logs",
    "datasets",
    "storage",
    "wallet",
    "demo",
    "localnet",
    "completion",
}


def test_the_commands_are_all_here() -> None:
    assert set(COMMANDS) >= NAMES


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_is_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    _, _, after = text.partition("examples:\n")
    examples = re.findall(r"^  decloud-trainer (.+?)(?:  .*)?$", after, re.MULTILINE)
    examples += re.findall(r"\$\(decloud-trainer (.+?)\)", after)
    assert examples, text
    for example in examples:
        arguments = [word.strip("'\"") for word in example.split(" > ")[0].split()]
        assert arguments[0] == name
        parse(arguments)


def test_exit_codes_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    import decloud_pl.errors as errors

    with contextlib.suppress(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    documented = {int(code) for code in re.findall(r"\b(\d+) [a-z]", text.partition("exit codes:")[2])}
    used = {getattr(errors, name).exit_code for name in errors.__all__ if name.endswith("Error")}
    assert documented == used | {0, 14, 130}


# What a command may import decides how soon it answers. solana-py itself brings pydantic and httpx.
NOT_TO_READ_ACCOUNTS = ("aiohttp", "websockets", "requests", "rich", "numpy", "decloud_pl.chain.dialects.v1.events")
LIGHT = {
    ("--help",): {"torch", "lightning", "hydra", "omegaconf", "solders", "solana", "rich", "numpy", "asyncio", "yaml"},
    ("config", "--show"): {"torch", "lightning", "solders", "solana", "pydantic", "rich", "numpy", "asyncio"},
    ("config", "--set", "epochs=2"): {"torch", "lightning", "solana", "rich", "numpy"},
    ("history",): {"torch", "lightning", "solana", "rich", "numpy"},
    ("logs",): {"torch", "lightning", "hydra", "omegaconf", "solana", "rich", "numpy"},
    ("completion", "bash"): {"torch", "lightning", "hydra", "omegaconf", "solana", "rich", "numpy"},
    # These find nobody at the address; what they would print comes after every import.
    ("list",): {"torch", "torchvision", "lightning", *NOT_TO_READ_ACCOUNTS, "sqlite3"},
    ("status",): {"torch", "torchvision", "lightning", *NOT_TO_READ_ACCOUNTS},
    ("claim", "--all"): {"torch", "torchvision", "lightning"},
    ("explain", "0"): {"torch", "torchvision", "lightning"},
    ("convention",): {"torch", "torchvision", "lightning"},
    ("doctor",): {"torch", "torchvision", "lightning"},
}


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_imports_stay_light(arguments: tuple[str, ...], home: Path, tmp_path: Path) -> None:
    main(["wallet", "new", "--keypair", str(tmp_path / "id.json")])
    main(["config", "--set", f"keypair_path={tmp_path / 'id.json'}", "--set", "network.rpc_url=http://127.0.0.1:9"])
    script = (
        "import sys, contextlib\n"
        "from decloud_pl.cli import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[2:])\n"
        "print('imported', sorted(set(sys.argv[1].split(',')) & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, ",".join(LIGHT[arguments]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "imported []"


def test_completion_knows_commands_options_and_settings() -> None:
    words = words_of(parser())
    assert set(words) == set(COMMANDS)
    assert {"--preset", "--no-auto-train", "epochs=", "rewards.min=", "network="} <= set(words["start"])
    assert {"bash", "zsh", "fish"} <= set(words["completion"])
    assert not any("pinata_jwt" in word for found in words.values() for word in found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("decloud-trainer sta", "start status"),
        ("decloud-trainer start --max", "--max-reward --max-parallel"),
        ("decloud-trainer completion z", "zsh"),
    ],
)
def test_bash_completes(line: str, expected: str, run: Any, tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(run("completion", "bash").out)
    words = line.split()
    code = (
        f"source {script}; COMP_LINE='{line}'; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        "_decloud_trainer; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_names_every_command(shell: str, run: Any) -> None:
    script = run("completion", shell).out
    assert all(name in script for name in NAMES)
