"""Makes ``.venv``, or the folder given, ready; only the standard library, because nothing is installed yet.

``decloud-setup.json`` in it says what the environment was made from. It is written before pip starts, as
``installing``, and after pip has succeeded, as ``installed``: an environment that an interruption left half
made is thus known and made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = sys.argv[1] if len(sys.argv) > 1 else ".venv"
VENV = ROOT / NAME
PYTHON = VENV / "bin" / "python"
MARKER = VENV / "decloud-setup.json"
LOG = VENV / "decloud-setup.log"
CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
SPACE_NEEDED = 8_000_000_000  # bytes: 6 GB installed, the rest while pip unpacks
WORTH_SAYING = 50.0  # MB of one download
_DOWNLOAD = re.compile(r"(?:Downloading|Using cached) (\w+)-\S+ \((\d+(?:\.\d+)?) (MB|GB)\)")
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Failed to establish a new connection"
    r"|Temporary failure in name resolution|Network is unreachable"
)


class SetupError(Exception):
    """One sentence for the user."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    try:
        if read_marker() != wanted("installed"):
            with locked() as lock:
                # Whoever held the lock before may have done all of it.
                if read_marker() != wanted("installed"):
                    make(lock)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say(f"Interrupted. The next start makes {NAME} from the beginning.")
        return 130
    return 0


def wanted(state: str) -> dict[str, str]:
    """What the marker says of an environment that fits this checkout."""
    digest = hashlib.sha256()
    for path in INPUTS:
        digest.update(path.read_bytes())
    python = python_version()
    return {"state": state, "inputs": digest.hexdigest(), "python": python or "", "root": str(ROOT)}


def read_marker() -> dict[str, str]:
    """What the marker says; empty when there is none or it was cut short."""
    try:
        marker = json.loads(MARKER.read_text())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def python_version() -> str | None:
    """The version of the environment's own Python, None when it does not run."""
    if Path(sys.prefix) == VENV:
        return platform.python_version()
    return ask("import platform; print(platform.python_version())")


def ask(code: str) -> str | None:
    """What the environment's Python prints, None when it does not run or fails."""
    try:
        done = subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def locked() -> Iterator[int]:
    """One set-up at a time; the lock is on a file that exists anyway, so that nothing stays behind."""
    with CONSTRAINTS.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is setting up an environment; waiting for it…")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()


def make(lock: int) -> None:
    """Creates the environment where it is missing or unusable, and installs into it."""
    begun = time.monotonic()
    why = unusable()
    if why is None:
        say(f"Bringing {NAME} up to date…")
    else:
        create(why)
    MARKER.write_text(json.dumps(wanted("installing")))
    install(lock)
    # By renaming, so that no start ever reads half a marker.
    done = MARKER.with_suffix(".new")
    done.write_text(json.dumps(wanted("installed")))
    done.replace(MARKER)
    say(f"{NAME} is ready after {time.monotonic() - begun:.0f} s.")


def unusable() -> str | None:
    """Why the environment must be made anew, None when pip can bring it up to date."""
    if not VENV.exists():
        return "first start only"
    marker = read_marker()
    if marker.get("state") == "installing":
        return "the last installation was interrupted"
    if ask("import pip, sys; print((3, 11) <= sys.version_info[:2] < (3, 14))") != "True":
        return "the old one has no usable Python"
    if marker.get("root", str(ROOT)) != str(ROOT):
        return "the old one belongs to another folder"
    return None


def create(why: str) -> None:
    """An empty environment in place of whatever is there."""
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    free = shutil.disk_usage(ROOT).free
    if free < SPACE_NEEDED:
        raise SetupError(
            f"{free / 1e9:.1f} GB are free at {ROOT} and the installation needs {SPACE_NEEDED / 1e9:.0f} GB: "
            "free some space and start again."
        )
    version = ".".join(platform.python_version_tuple()[:2])
    say(f"Creating {NAME} with Python {version} ({why}; about 2 minutes and 6 GB)…")
    # Not sys.executable: that may be the Python of the environment just removed.
    base = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run([base, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise SetupError(f"Python {version} could not create {NAME}: {output[-1].rstrip('.')}.")


def install(lock: int) -> None:
    """Runs pip with its output in a log file and says only what takes long."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command += ["-c", str(CONSTRAINTS), "-e", f"{ROOT}[dev]"]
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    with LOG.open("w") as log:
        # pip inherits the lock: should this script be killed, the next one waits until pip has ended.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, pass_fds=(lock,)
        )
        with process:
            for line in process.stdout or ():
                log.write(line)
                report(line)
    if process.returncode != 0:
        raise SetupError(failure(LOG.read_text()))


def report(line: str) -> None:
    found = _DOWNLOAD.search(line)
    if found:
        name, size, unit = found.groups()
        megabytes = float(size) * (1000 if unit == "GB" else 1)
        if megabytes >= WORTH_SAYING:
            say(f"  {name.replace('_', '-')}, {megabytes:.0f} MB")
    elif line.startswith("Installing collected packages"):
        say("  unpacking…")


def failure(output: str) -> str:
    """One sentence for pip's output."""
    if "No space left on device" in output:
        return "The disk or the folder for temporary files is full: free some space and start again."
    if _OFFLINE.search(output):
        return "The package index cannot be reached: the first start needs the internet; connect and start again."
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")] or ["ERROR: pip gave no reason"]
    return f"pip could not install the packages: {errors[-1][7:].rstrip('.')} ({LOG} has all of it)."


if __name__ == "__main__":
    sys.exit(main())
