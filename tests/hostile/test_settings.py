"""config.json, presets, variables and settings on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.test_file import BROKEN
from tests.hostile.conftest import Meet

KEPT: dict[str, Callable[[Path], object]] = {
    "bytes that are not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{\x00}\x00"),
    "noise": lambda path: path.write_bytes(os.urandom(1 << 20)),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "fifty megabytes of spaces": lambda path: path.write_bytes(b" " * (50 << 20)),
    "a number of a megabyte": lambda path: path.write_text('{"epochs": ' + "9" * (1 << 20) + "}"),
    "a name in escape sequences": lambda path: path.write_text('{"\\u001b[31m\\u202eepochs": 1}'),
    "a name of a megabyte": lambda path: path.write_text('{"' + "e" * (1 << 20) + '": 1}'),
    "a value in escape sequences": lambda path: path.write_text('{"optimizer": "\\u001b[2J\\r\\n"}'),
    "an interpolation": lambda path: path.write_text('{"network": "${oc.env:HOME}"}'),
    "half a character": lambda path: path.write_text('{"metrics.host": "\\udcff"}'),
}


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_broken_config_json(number: int, run: Meet, home: Path) -> None:
    (home / "config.json").write_text(BROKEN[number][0])
    run("list").in_one_sentence(code=3)


@pytest.mark.parametrize("name", KEPT)
def test_a_hostile_config_json(name: str, run: Meet, home: Path) -> None:
    KEPT[name](home / "config.json")
    run("list").in_one_sentence(code=3)


ON_THE_LINE = {
    "an interpolation of itself": "epochs=${epochs}",
    "an interpolation of the environment": "epochs=${oc.env:HOME}",
    "an interpolation with an unknown resolver": "epochs=${nothing:1}",
    "endless brackets": "datasets=" + "[" * 2_000,
    "an open quote": "datasets=['x",
    "not a number": "learning_rate=nan",
    "an infinite number": "learning_rate=inf",
    "a number of 5,000 digits": "epochs=" + "1" * 5_000,
    "an escape sequence": "epochs=\x1b[31m1",
    "a name in escape sequences": "\x1b[31mepochs=1",
    "a line break": "epochs=1\nepochs=2",
    "a choice outside the folder": "optimizer=../../../etc/passwd",
    "a choice of a choice": "network@storage=local",
    "a sweep": "epochs=1,2",
    "an address with a password": "network.rpc_url=ftp://user:hidden@host",
    "an invalid address": "network.rpc_url=http://[",
    "an invalid gateway": "network.gateways=[javascript:alert(1)]",
    "an invalid program id": "network.program_id=" + "1" * 500,
}


@pytest.mark.parametrize("name", ON_THE_LINE)
def test_a_setting_on_the_command_line(name: str, run: Meet) -> None:
    said = run("list", "network.rpc_url=http://127.0.0.1:9", ON_THE_LINE[name]).in_one_sentence(code=3)
    assert "hidden" not in said


PRESETS: dict[str, str] = {
    "a Python object": "epochs: !!python/object/apply:os.system ['true']\n",
    "itself": "defaults:\n  - mine\n",
    "invalid YAML": "epochs: [1\n\t- {",
    "control characters": "epochs: \x1b[31m1\n",
    "a list": "- 1\n- 2\n",
    "endless brackets": "epochs: " + "[" * 20_000,
    "a key twice": "epochs: 1\nepochs: 2\n",
    "an interpolation of itself": "# @package _global_\nepochs: ${batch_size}\nbatch_size: ${epochs}\n",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset(name: str, run: Meet, home: Path) -> None:
    folder = home / "conf" / "preset"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(PRESETS[name])
    run("list", "preset=mine", "network.rpc_url=http://127.0.0.1:9").in_one_sentence(code=3)


# The network does not exist, so the command also ends if it accepts the variable, with another exit code.
VARIABLES = {
    "a number in words": {"DECLOUD_EPOCHS": "many"},
    "an escape sequence": {"DECLOUD_OPTIMIZER": "\x1b[31madam"},
    "an interpolation": {"DECLOUD_NETWORK": "${oc.env:HOME}"},
    "a megabyte": {"DECLOUD_DATASETS": "x" * 100_000},
    "a home that is a file": {"DECLOUD_HOME": "/dev/null"},
    "a home that cannot be created": {"DECLOUD_HOME": "/proc/nothing/here"},
    "a key in quotes": {"DECLOUD_PRIVATE_KEY": '"x"'},
    "a key of brackets": {"DECLOUD_PRIVATE_KEY": "[" * 100_000},
    "a key in escape sequences": {"DECLOUD_PRIVATE_KEY": "\x1b[31m" * 20},
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable(name: str, run: Meet) -> None:
    run(
        "start", "network.rpc_url=http://127.0.0.1:9", **{"DECLOUD_PRIVATE_KEY": KEY, **VARIABLES[name]}
    ).in_one_sentence()


KEY = "4NMwxzmYj2uvHuq8xoqhY8RXg63KSVJM1DXkpbmkUY7YQWuoyQgFnnzn6yo3CMnqZasnNPNuAT2TLwQsCaKkUddp"
INPUTS = [*BROKEN, *KEPT, *ON_THE_LINE, *PRESETS, *VARIABLES]
