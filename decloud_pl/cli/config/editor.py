"""Edit a file in the user's editor until it is valid."""

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
    """Let the user edit a copy of a file. Return the new text, or None if the text is unchanged.

    Args:
        file: the file to copy; this function does not write it.
        otherwise: the initial text if the file does not exist.
        check: raises `DecloudError` for an invalid text.

    Raises:
        ConfigError: the editor cannot be started or fails, or the text stays invalid; the user's copy is kept.
    """
    before = _text(file, otherwise)
    # The copy is in the same folder, because it can contain secrets that other users must not read.
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
                    raise ConfigError(f"{file} is unchanged: {error.message}", fix=f"Your text is in {copy}.") from None
    except BaseException:
        # This includes Ctrl-C. A changed copy is kept, an unchanged one is deleted.
        if copy.exists() and _text(copy, otherwise) == before:
            copy.unlink()
        raise
    if _text(file, otherwise) != before:
        raise ConfigError(f"Another program changed {file} meanwhile.", fix=f"Your text is in {copy}.")
    copy.unlink()
    return None if text == before else text


def _text(path: Path, otherwise: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return otherwise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", fix="Check its permissions.") from error


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The editor {editor!r} cannot be started: {error}.", fix="Set EDITOR, for example EDITOR=nano."
        ) from error
    if code:
        raise ConfigError(f"The editor failed with exit code {code}.", fix="The file is unchanged. Edit it again.")


def _again(error: DecloudError) -> bool:
    """Ask whether the user wants to correct the text now. Return False if there is no terminal to ask on."""
    if not sys.stdin.isatty():
        return False
    print(error, file=sys.stderr)
    return click.confirm("Edit again", default=True, err=True)
