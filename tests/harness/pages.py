"""Read the site's pages: their fenced blocks, and the commands with their output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    page
    for page in sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.rst"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
    if "_build" not in page.parts
]
"""The pages of the site, and the documents outside docs/."""
INTERRUPT = "^C"
LEFT_OUT = "…"

_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r'^:(\w+): "?(.*?)"?$')


@dataclass(frozen=True)
class Block:
    """A fenced block with its language, caption and text."""

    language: str
    caption: str
    text: str

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the commands of a ``console`` block, each with the lines that follow it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
        yield from found


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [_block(found["info"].strip(), found["body"]) for found in _FENCE.finditer(page.read_text("utf-8"))]


def _block(info: str, body: str) -> Block:
    directive = re.fullmatch(r"\{code-block\}\s*(\S*)", info)
    if directive is None:
        return Block(info, "", body)
    lines = body.splitlines(keepends=True)
    options = {}
    while lines and (option := _OPTION.match(lines[0].rstrip("\n"))):
        options[option[1]] = option[2]
        del lines[0]
    return Block(directive[1], options.get("caption", ""), "".join(lines).removeprefix("\n"))


def pattern(line: str) -> re.Pattern[str]:
    """Return a pattern for a line: a number matches any number, a word with ``…`` any word, a single ``…`` any text."""
    words = [_word(word) for word in line.split()]
    return re.compile(r"\s*" + r"\s+".join(words).replace(r"\s+.*", ".*").replace(r".*\s+", ".*") + r"\s*")


def _word(word: str) -> str:
    if word == LEFT_OUT:
        return ".*"
    if LEFT_OUT in word:
        return r"\S*"
    return re.sub(r"\d+(?:(?:\\[.\-]|[,:])\d+)*", r"[\\d.,:\\-]+", re.escape(word))
