"""Questions on a terminal: each answer is checked, and asked for again until it is right."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from decloud_pl.errors import ConfigError, DecloudError, UsageError

T = TypeVar("T")


def require_terminal() -> None:
    """Refuses to ask where nobody can answer.

    Raises:
        UsageError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "setup asks questions and needs a terminal.", fix="Without one: decloud-trainer config --set …"
        )


def ask(question: str, default: str, check: Callable[[str], T]) -> T:
    """Asks until the answer passes; Enter gives the default.

    Args:
        question: without a question mark or the default.
        default: as the user would type it.
        check: turns an answer into a value or raises `DecloudError`, whose sentence is shown.
    """
    while True:
        answer = click.prompt(question, default=default, show_default=bool(default)).strip() or default
        try:
            return check(answer)
        except DecloudError as error:
            print(f"  {error}")


def ask_hidden(question: str, check: Callable[[str], T], *, keep: Callable[[], T] | None = None) -> T:
    """Asks for a secret without showing it.

    Args:
        question: as for `ask`.
        check: as for `ask`.
        keep: what an empty answer means, where it may be left as it is.
    """
    while True:
        answer = ask_secret(question).strip()
        if not answer and keep is not None:
            return keep()
        try:
            return check(answer)
        except DecloudError as error:
            print(f"  {error}")


def ask_secret(question: str) -> str:
    """Reads a secret without showing it; from a pipe, its first line."""
    if sys.stdin.isatty():
        return click.prompt(question, default="", show_default=False, hide_input=True, err=True)
    return sys.stdin.readline()


def checked_secret(name: str, text: str) -> str:
    """A secret as it is kept.

    Raises:
        ConfigError: it is empty or has blanks or line breaks inside.
        WalletError: a private key that is none.
    """
    secret = text.strip()
    if not secret:
        raise ConfigError(f"{name} is empty.", fix=f"Use --unset {name} to forget it.")
    if name == "private_key":
        from decloud_pl.chain.wallet import parse_key

        parse_key(secret, "The text you gave")
    elif not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError(f"{name} holds characters that no such key has.", fix="Copy it again, in one piece.")
    return secret


def choose(question: str, choices: Sequence[tuple[str, str]], default: str) -> str:
    """Asks for one of several names, with a line about each; its number does as well."""
    print(f"\n{question}")
    names = [name for name, _ in choices]
    size = max(map(len, names))
    for number, (name, about) in enumerate(choices, 1):
        print(f"  {number}  {name:<{size}}  {about}")

    def check(answer: str) -> str:
        from decloud_pl.errors import nearest

        name = named(answer, names).lower()
        if name not in names:
            raise UsageError(f"There is no choice {answer!r}.", fix=nearest(answer, names))
        return name

    return ask("Your choice", default, check)


def named(answer: str, names: Sequence[str]) -> str:
    """The name that a number stands for in a list that begins with 1; any other answer as it is."""
    index = int(answer) - 1 if answer.isdecimal() else -1
    return names[index] if 0 <= index < len(names) else answer
