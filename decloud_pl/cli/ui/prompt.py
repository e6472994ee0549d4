"""Ask questions on a terminal, and repeat each question until the answer is valid."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from decloud_pl.errors import ConfigError, DecloudError, UsageError, nearest
from decloud_pl.secrets import NOTIFY_URLS

T = TypeVar("T")


def ask(question: str, default: str, check: Callable[[str], T]) -> T:
    """Ask until the answer is valid; Enter accepts the default.

    Args:
        question: the question without a question mark and without the default.
        default: the default answer, as the user would type it.
        check: converts an answer or raises `DecloudError`, whose message is shown.
    """
    while True:
        answer = click.prompt(question, default=default, show_default=bool(default)).strip() or default
        try:
            return check(answer)
        except DecloudError as error:
            print(f"  {error}")


def ask_hidden(question: str, check: Callable[[str], T], *, keep: Callable[[], T] | None = None) -> T:
    """Ask for a secret without showing it.

    Args:
        question: as for `ask`.
        check: as for `ask`.
        keep: returns the value to keep after an empty answer. If ``keep`` is None, ``check`` gets the empty answer.
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
    """Ask for a secret without showing it. If standard input is not a terminal, read one line from it instead."""
    if sys.stdin.isatty():
        return click.prompt(question, default="", show_default=False, hide_input=True, err=True)
    return sys.stdin.readline()


def checked_secret(name: str, text: str) -> str:
    """Check a secret and return it without surrounding spaces.

    Raises:
        ConfigError: the secret is empty, or contains spaces, line breaks or non-ASCII characters. Only
            ``notify_urls``, which holds several addresses, may contain spaces.
        WalletError: the private key is invalid.
    """
    secret = text.strip()
    if not secret:
        raise ConfigError(f"{name} is empty.", fix=f"Use --unset {name} to remove it.")
    if name == "private_key":
        from decloud_pl.chain.wallet import parse_key

        parse_key(secret, "Your input")
    elif not secret.isascii() or not secret.isprintable() or (" " in secret and name != NOTIFY_URLS):
        raise ConfigError(f"{name} contains invalid characters, such as spaces.", fix="Copy it again in one piece.")
    return secret


def choose(question: str, choices: Sequence[tuple[str, str]], default: str) -> str:
    """Print the numbered choices with their descriptions, and ask for a name or a number. Return the chosen name."""
    print(f"\n{question}")
    names = [name for name, _ in choices]
    size = max(map(len, names))
    for number, (name, about) in enumerate(choices, 1):
        print(f"  {number}  {name:<{size}}  {about}")

    def check(answer: str) -> str:
        name = named(answer, names).lower()
        if name not in names:
            raise UsageError(f"Unknown choice {answer!r}.", fix=nearest(answer, names))
        return name

    return ask("Your choice", default, check)


def named(answer: str, names: Sequence[str]) -> str:
    """If the answer is a position in ``names``, counted from 1, return that name. Return any other answer unchanged."""
    index = int(answer) - 1 if answer.isdecimal() else -1
    return names[index] if 0 <= index < len(names) else answer
