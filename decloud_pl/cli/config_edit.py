"""``config --edit``: config.json in the user's editor; it counts only once it is right."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from decloud_pl.cli.config_change import check_kept
from decloud_pl.errors import ConfigError, DecloudError
from decloud_pl.settings.file import ConfigFile, parse, to_json
from decloud_pl.settings.schema import default_home


def edit() -> int:
    """Edits a copy, checks it, and puts it in place; a broken config.json can be mended this way."""
    home = default_home(os.environ)
    file = ConfigFile(home)
    before = _text(file.path)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Beside the file itself: it can hold secrets, which do not belong into a folder that others read.
    descriptor, name = tempfile.mkstemp(prefix="config-edit-", suffix=".json", dir=home)
    copy = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as handle:
        handle.write(before)
    try:
        while True:
            _run_editor(copy)
            text = _text(copy)
            try:
                check_kept(parse(text.encode("utf-8", "surrogateescape"), "The edited text"), home)
            except DecloudError as error:
                if not _again(error):
                    raise ConfigError(
                        f"{file.path} was left as it is: {error.message}", fix=f"Your text is in {copy}."
                    ) from None
                continue
            break
    except BaseException:
        # Ctrl-C as well: a copy that the user changed is kept, one that says nothing new is not left about.
        if copy.exists() and _text(copy) == before:
            copy.unlink()
        raise
    if _text(file.path) != before:
        raise ConfigError(f"{file.path} was changed meanwhile and left as it is.", fix=f"Your text is in {copy}.")
    copy.unlink()
    if text == before:
        print("Nothing was changed.")
        return 0
    file.write_text(text)
    print(f"Kept in {file.path}")
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return to_json({})
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
        raise ConfigError(f"The editor ended with code {code}.", fix="config.json was left as it is.")


def _again(error: DecloudError) -> bool:
    """Whether the user wants to mend the text now; nobody can be asked where there is no terminal."""
    if not sys.stdin.isatty():
        return False
    print(error, file=sys.stderr)
    return input("Edit again? [Y/n] ").strip().lower() in ("", "y", "yes")
