"""Every command, option, setting and variable in the pages exists, and the pages cover every error class."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from decloud_pl import errors
from decloud_pl.cli import Program
from decloud_pl.config.layers import variable_of
from decloud_pl.config.names import ALIASES, find, free_groups, groups, settings_by_name, storages
from decloud_pl.config_dir import config_dir
from decloud_pl.errors import ConfigError
from tests.harness.pages import DOCS, PAGES, ROOT, blocks

PROGRAM = "decloud-trainer"
# Placeholders, and the names of a reader's own choices.
PLACEHOLDERS = ("KEY", "NAME", "GROUP", "COMMAND", "CHOICE")
OWN_CHOICES = {"wallet": "NAME", "network": "mine", "rewards": "young", "storage": "archive", "sweep": "seeds"}
# Variables of PyTorch and WSL.
NOT_SETTINGS = ("weights_only", "systemd")
FOR_ONE_RUN = ("task", "round", "base_model", "experiment", "sweep")


def lines_of_commands() -> Iterator[tuple[Path, str]]:
    """Yield every command line of this program in the documents, from fenced blocks and from code within sentences."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.language not in ("text", "yaml", "python"):
                for line in block.text.replace("\\\n", " ").splitlines():
                    for part in re.split(r"(?:;|&&|\|\||\| )\s*", line.removeprefix("$ ").partition(" #")[0]):
                        if part.strip().startswith((f"{PROGRAM} ", "python -m decloud_pl ")):
                            yield page, part.strip()
        for code in re.findall(r"`+([^`\n]+)`+", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
            if code.startswith((f"{PROGRAM} ", "python -m decloud_pl ")):
                yield page, code


COMMANDS = sorted({(str(page.relative_to(ROOT)), line) for page, line in lines_of_commands()})


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_and_option_exists(page: str, line: str) -> None:
    words = shlex.split(line.replace("…", "x"))
    program, rest = (PROGRAM, words[1:]) if words[0] == PROGRAM else ("", words[3:])
    if program:
        rest = check_options(line, rest)
    for word in rest:
        if re.match(r"[+~]*[a-z][\w./]*=", word):
            check_setting(line, word)


def check_options(line: str, words: list[str]) -> list[str]:
    """Check the command and its options; return the remaining words."""
    command: click.Command = Program()
    with command.make_context(PROGRAM, [], resilient_parsing=True) as context:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            if words[0] in PLACEHOLDERS:
                return []
            name, found, words = command.resolve_command(context, words)
            assert found is not None, f"{line}: {name}"
            command = found
        known = {name: one for one in command.params if isinstance(one, click.Option) for name in one.opts}
    rest = []
    while words:
        word = words.pop(0)
        if word.startswith("-") and word not in ("--", "-h", "--help", "--version"):
            name, equals, _ = word.partition("=")
            assert name in known, f"{line}: {name}"
            if known[name].is_flag or equals:
                continue
            if words and name in ("--set", "--unset") and command.name == "run":
                rest.append(words[0] if "=" in words[0] else f"{words[0]}=")
            words = words[1:]
        else:
            rest.append(word)
    return rest


def check_setting(line: str, word: str) -> None:
    """Check that a setting and its choice exist."""
    name, _, value = word.lstrip("+~").partition("=")
    if name in (*FOR_ONE_RUN, "hydra/launcher") or name.startswith("hydra."):
        return
    if name.partition(".")[0] in ("mappings", "paths", *free_groups()) and "." in name:
        return
    setting = find(name)
    if setting.kind == "choice" and re.fullmatch(r"\w[\w-]*", value) and OWN_CHOICES.get(name) != value:
        assert (config_dir() / name / f"{value}.yaml").is_file(), f"{line}: {word}"


def test_every_setting_in_the_pages_exists() -> None:
    """Code such as ``group.key`` or ``KEY=VALUE`` names a setting, or is one of the listed exceptions."""
    known = {*settings_by_name(), *ALIASES, *ALIASES.values(), *groups()}
    tops = {name.partition(".")[0] for name in known if "." in name} - {"trainer"}
    wrong = []
    for page in PAGES:
        if page.name in ("CONTRIBUTING.md", "architecture.md", "changelog.md"):
            continue  # of the code
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
            found = re.fullmatch(r"((?:[a-z]\w*\.)+\w+)(?:=.*)?", code)
            if found and found[1].partition(".")[0] in tops and not _exists(found[1]):
                wrong.append(f"{page.relative_to(ROOT)}: {code}")
            if (assigned := re.fullmatch(r"([a-z_]+)=[\w.,\[\]-]+", code)) and not _exists(assigned[1]):
                wrong.append(f"{page.relative_to(ROOT)}: {code}")
    assert wrong == []


def _exists(name: str) -> bool:
    if name in (*FOR_ONE_RUN, *NOT_SETTINGS):
        return True
    try:
        find(name)
    except ConfigError:
        return name.endswith((".safetensors", ".json", ".csv", ".yaml", ".py", ".pt"))
    return True


def test_every_variable_in_the_pages_exists() -> None:
    known = {variable_of(name) for name in (*settings_by_name(), *ALIASES, *ALIASES.values())}
    known |= {*storages(None).variables, "DECLOUD_HOME", "DECLOUD_PASS_ENV", "DECLOUD_NO_SKIPS"}
    for page in PAGES:
        named = set(re.findall(r"\b(?:DECLOUD|PINATA)_[A-Z_]+\b", page.read_text(encoding="utf-8")))
        assert named <= known, page


def test_every_link_in_the_readme_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readme_shows_what_the_tutorial_does() -> None:
    """Another test runs the tutorial's demo."""
    shown = next(block.text for block in blocks(ROOT / "README.md") if block.text.startswith("Starting"))
    tutorial = next(block.text for block in blocks(DOCS / "tutorials" / "first-reward.md") if "demo" in block.text)
    assert [line for line in shown.splitlines() if line not in tutorial.splitlines()] == []


def rows(page: Path) -> list[str]:
    """Return the first cell of each table row of a page."""
    return re.findall(r"^\| `?([^`|]+?)`? \|", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_troubleshooting_has_one_row_for_each_class_of_error() -> None:
    named = [name for name in rows(DOCS / "troubleshooting.md") if name in errors.__all__]
    assert sorted(named) == sorted(errors.__all__)


def test_troubleshooting_has_the_cases_of_the_kit_before() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for words in (
        "No private key found",
        "Failed to upload gradients",
        "Dataset not found",
        "decloud-trainer status ID",
    ):
        assert words in text
