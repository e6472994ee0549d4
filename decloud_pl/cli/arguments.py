"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from decloud_pl.errors import UsageError

Commands = argparse._SubParsersAction  # noqa: SLF001 (argparse has no public name for it)


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    examples: str,
    text: str = "",
) -> argparse.ArgumentParser:
    """A command whose ``--help`` ends with examples.

    Args:
        commands: where to add it.
        name: as users type it.
        summary: one line for the list of commands.
        examples: command lines, one a line; further text may follow a blank line.
        text: what it does, in full; the summary where there is no more to say.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=text or f"{summary[:1].upper()}{summary[1:]}.",
        epilog=f"examples:\n{_indented(examples)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, nothing else")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings for this run, as Hydra overrides")


def add_round(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("round_id", type=round_number, metavar="ID", help="the round's number")


def round_number(text: str) -> int:
    """A round's number.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a round's number")
    return int(text)


def round_and_overrides(words: Sequence[str]) -> tuple[int | None, list[str]]:
    """Splits words into at most one round's number and overrides.

    Raises:
        UsageError: a word that is neither, or a second number.
    """
    numbers = [word for word in words if "=" not in word]
    if len(numbers) > 1:
        raise UsageError(f"There is more than one round: {' '.join(numbers)}.", fix="Give one round's number.")
    try:
        number = round_number(numbers[0]) if numbers else None
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{error}.", fix="Give a whole number, as `decloud-trainer list` shows it.") from None
    return number, [word for word in words if "=" in word]


def _indented(text: str) -> str:
    lines, blank, rest = text.strip().partition("\n\n")
    examples = "\n".join(f"  {line}" for line in lines.splitlines())
    return f"{examples}{blank}{rest}"
