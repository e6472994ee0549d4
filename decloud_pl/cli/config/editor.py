"""A text in the user's editor, until it is right."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from decloud_pl.errors import ConfigError, DecloudError


def edited(file: Path, otherwise: str, check: Callable[[str], None]) -> str | None:
    """What a user makes of a copy of a file; None where that is the same text.

    Args:
        file: to copy; it is not written here.
        otherwise: the text where there is no such file.
        check: raises `DecloudError` for a text that is wrong.

    Raises:
        ConfigError: the editor cannot be started or fails, or the text stays wrong; the user's copy is kept then.
    """
    before = _text(file, otherwise)
    # Beside the file itself: it can hold secrets, which do not belong into a folder that others read.
    descriptor, name = tempfile.mkstemp(prefix=f"{file.stem}-edit-", suffix=file.suffix, dir=file.parent)
    copy = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as handle:
        handle.write(before)
    try:
        while True:
            _run_editor(copy)
            text = _text(copy, otherwise)
            try:
                check(text)
                break
            except DecloudError as error:
                if not _again(error):
                    raise ConfigError(
                        f"{file} was left as it is: {error.message}", fix=f"Your text is in {copy}."
                    ) from None
    except BaseException:
        # Ctrl-C as well: a copy that the user changed is kept, one that says nothing new is not left about.
        if copy.exists() and _text(copy, otherwise) == before:
            copy.unlink()
        raise
    if _text(file, otherwise) != before:
        raise ConfigError(f"{file} was changed meanwhile and left as it is.", fix=f"Your text is in {copy}.")
    copy.unlink()
    return None if text == before else text


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return otherwise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", fix="Check its owner and mode.") from error


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The editor {editor!r} cannot be started: {error}.", fix="Set EDITOR, for example EDITOR=nano."
        ) from error
    if code:
        raise ConfigError(f"The editor ended with code {code}.", fix="The file was left as it is.")


def _again(error: DecloudError) -> bool:
    """Whether the user wants to mend the text now; nobody can be asked where there is no terminal."""
    if not sys.stdin.isatty():
        return False
    print(error, file=sys.stderr)
    return click.confirm("Edit again", default=True)
