"""Every command has examples in its help, and commands that only read import no training code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.cli import COMPLETE, Program, main

COMMANDS = tuple(Program().commands)
# The names of the commands are public: removing one breaks scripts.
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


def parse(arguments: Sequence[str]) -> None:
    """Parse a whole command line without running it."""
    command: click.Command | None = Program()
    context: click.Context | None = None
    rest = list(arguments)
    name: str | None = "decloud-trainer"
    while command is not None:
        context = command.make_context(name, rest, parent=context)
        if not isinstance(command, click.Group):
            break
        # A group stores the remaining arguments in two places, and one of them is private in click.
        rest = [*context._protected_args, *context.args]  # noqa: SLF001
        name, command, rest = command.resolve_command(context, rest)


def test_the_commands_are_all_here() -> None:
    assert set(COMMANDS) >= NAMES


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_is_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    _, _, after = text.partition("Examples:\n")
    examples = re.findall(r"^  decloud-trainer (.+?)(?:  .*)?$", after, re.MULTILINE)
    examples += re.findall(r"\$\(decloud-trainer (.+?)\)", after)
    assert examples, text
    for example in examples:
        arguments = [word.strip("'\"") for word in example.split(" > ")[0].split()]
        assert arguments[0] == name
        parse(arguments)


def test_exit_codes_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    import decloud_pl.errors as errors

    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    documented = {int(code) for code in re.findall(r"\b(\d+) [a-z]", text.partition("exit codes:")[2])}
    used = {getattr(errors, name).exit_code for name in errors.__all__ if name.endswith("Error")}
    assert documented == used | {0, 14, errors.MachineShortage.exit_code, 130}


# Imports determine how fast a command starts. solana-py itself imports pydantic and httpx.
NOT_TO_READ_ACCOUNTS = ("aiohttp", "websockets", "requests", "rich", "numpy", "decloud_pl.chain.dialects.v1_0.events")
LIGHT = {
    ("--help",): {"torch", "lightning", "hydra", "omegaconf", "solders", "solana", "rich", "numpy", "asyncio", "yaml"},
    ("config", "--show"): {"torch", "lightning", "solders", "solana", "pydantic", "rich", "numpy", "asyncio"},
    ("config", "--set", "epochs=2"): {"torch", "lightning", "solana", "rich", "numpy"},
    ("history",): {"torch", "lightning", "solana", "rich", "numpy"},
    ("logs",): {"torch", "lightning", "hydra", "omegaconf", "solana", "rich", "numpy"},
    ("completion", "bash"): {"torch", "lightning", "hydra", "omegaconf", "solana", "rich", "numpy"},
    # The address of these commands does not answer. They import every module before that.
    ("list",): {"torch", "torchvision", "lightning", *NOT_TO_READ_ACCOUNTS},
    ("status",): {"torch", "torchvision", "lightning", *NOT_TO_READ_ACCOUNTS},
}
# These commands run in one process, which must not import torch.
WITHOUT_TORCH = [["claim", "--all"], ["explain", "0"], ["convention"], ["doctor"]]


def imported(forbidden: set[str], *lines: Sequence[str], home: Path, tmp_path: Path) -> str:
    """Run commands in one new process, and print which forbidden modules are imported after each."""
    create_wallet(tmp_path / "id.json")
    home.mkdir()
    settings = {"version": 1, "keypair_path": str(tmp_path / "id.json"), "network.rpc_url": "http://127.0.0.1:9"}
    (home / "config.json").write_text(json.dumps(settings))
    (home / "config.json").chmod(0o600)
    script = (
        "import json, sys\n"
        "from decloud_pl.cli import main\n"
        "for line in json.loads(sys.argv[2]):\n"
        "    main(line)\n"
        "    print(line, sorted(set(sys.argv[1].split(',')) & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, ",".join(forbidden), json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_imports_stay_light(arguments: tuple[str, ...], home: Path, tmp_path: Path) -> None:
    shown = imported(LIGHT[arguments], arguments, home=home, tmp_path=tmp_path)
    assert shown.splitlines()[-1] == f"{list(arguments)} []"


@pytest.mark.slow
def test_commands_that_only_read_import_no_torch(home: Path, tmp_path: Path) -> None:
    shown = imported({"torch", "torchvision", "lightning"}, *WITHOUT_TORCH, home=home, tmp_path=tmp_path)
    assert {f"{line} []" for line in WITHOUT_TORCH} <= set(shown.splitlines())


def completed(run: Any, monkeypatch: pytest.MonkeyPatch, shell: str, line: str, last: str) -> list[str]:
    """Return the completions that a shell gets for ``last``."""
    monkeypatch.setenv(COMPLETE, f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", f"decloud-trainer {line} {last}")
    monkeypatch.setenv("COMP_CWORD", last if shell == "fish" else str(len(line.split()) + 1))
    answer: str = run().out.strip("\n")
    if shell == "zsh":  # three lines per word: its kind, the word and its description
        return answer.splitlines()[1::3]
    return [entry.partition(",")[2].partition("\t")[0] for entry in answer.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_commands_options_settings_and_choices(
    shell: str, run: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(line: str, last: str) -> list[str]:
        return completed(run, monkeypatch, shell, line, last)

    (home / "conf" / "preset").mkdir(parents=True)
    (home / "conf" / "preset" / "mine.yaml").touch()
    assert words("", "sta") == ["start", "status"]
    assert words("start", "--no-auto") == ["--no-auto-train", "--no-auto-claim"]
    assert words("start", "epo") == ["epochs="]
    assert words("start epochs=2 --plain", "rewards.mi")[0] == "rewards.min="
    assert words("start", "min_r") == ["min_reward="]
    assert {"epochs=", "rewards.min=", "network="} <= set(words("status", ""))
    assert words("join 1", "network=loc")[-1].removeprefix("network=") == "local"
    assert words("start --preset", "mi") == ["mine"]
    assert words("completion", "z") == ["zsh"]
    assert words("list --status", "exp") == ["expired"]
    assert words("storage", "pin") == ["pin-status"]
    assert words("storage put model.pt", "storage.kubo_a") == ["storage.kubo_address="]
    assert words("config --set", "learn") == ["learning_rate="]
    assert words("start", "pinata_j") == words("start", "allow_p") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("decloud-trainer sta", "start status"),
        ("decloud-trainer start --max", "--max-reward --max-parallel"),
        ("decloud-trainer completion z", "zsh"),
        ("decloud-trainer start network = loc", "local"),
        ("decloud-trainer start network =", "devnet local mainnet solana-cli"),
        ("decloud-trainer localnet --convention = g", "gradient"),
    ],
)
def test_bash_completes(line: str, expected: str, run: Any, tmp_path: Path) -> None:
    script = tmp_path / "completion.sh"
    script.write_text(run("completion", "bash").out)
    program = tmp_path / "decloud-trainer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m decloud_pl.cli "$@"\n')
    program.chmod(0o755)
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}; "
        "_decloud_trainer_completion decloud-trainer; echo ${COMPREPLY[@]}"
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == expected
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_calls_the_program(shell: str, run: Any) -> None:
    script = run("completion", shell).out
    assert f"{COMPLETE}={shell}_complete" in script
    assert "_decloud_trainer_completion" in script


def test_an_answer_to_a_shell_imports_nothing_heavy(home: Path) -> None:
    heavy = {"torch", "lightning", "hydra", "omegaconf", "solders", "solana", "rich", "numpy"}
    script = (
        "import sys\n"
        "from decloud_pl.cli import main\n"
        "main([])\n"
        f"print('imported', sorted({heavy} & set(sys.modules)), file=sys.stderr)\n"
    )
    asked = {COMPLETE: "bash_complete", "COMP_WORDS": "decloud-trainer start epo", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, **asked}
    )
    assert (done.stdout, done.stderr) == ("plain,epochs=\n", "imported []\n")


@pytest.fixture
def own_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with one command."""
    folder = tmp_path / "own_commands"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "say_it.py").write_text(
        '"""Say what a setting is.\n\nExamples:\n  decloud-trainer say-it epochs=2\n"""\n'
        "from decloud_pl.cli.arguments import as_json, command, overrides\n"
        "@command(__doc__)\n@as_json\n@overrides\n"
        "def run(as_json, overrides):\n    print(as_json, *overrides)\n    return 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_commands.say_it", raising=False)
    return folder.name


def test_a_command_is_one_file(own_commands: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(own_commands)
    assert "say-it  Say what a setting is." in program.get_help(click.Context(program))
    assert f"{own_commands}.say_it" not in sys.modules
    assert program.main(["say-it", "a=1", "--json", "b=2"], "decloud-trainer", standalone_mode=False) == 7
    assert capsys.readouterr().out == "True a=1 b=2\n"
    with pytest.raises(click.UsageError, match="No such command 'say'"):
        program.main(["say"], "decloud-trainer", standalone_mode=False)


@pytest.mark.parametrize(
    "arguments", [["7", "a=1", "--json"], ["a=1", "7", "--json"], ["--json", "a=1", "7"], ["--", "a=1", "7"]]
)
def test_settings_may_stand_anywhere(arguments: list[str]) -> None:
    _, command, _ = Program().resolve_command(click.Context(Program()), ["join"])
    assert command is not None
    given = command.make_context("join", arguments).params
    assert (given["round_id"], given["overrides"]) == (7, ("a=1",))


def test_neither_the_value_of_an_option_nor_a_path_is_a_setting() -> None:
    def params(*arguments: str) -> dict[str, Any]:
        program: click.Command | None = Program()
        assert isinstance(program, click.Group)
        rest = list(arguments)
        while isinstance(program, click.Group):
            _, program, rest = program.resolve_command(click.Context(program), rest)
        assert program is not None
        return program.make_context("command", rest).params

    assert params("config", "--set", "a=1")["overrides"] == ()
    put = params("storage", "put", "b=2", "./a=1.pt")
    assert (put["file"], put["overrides"]) == (Path("a=1.pt"), ("b=2",))
