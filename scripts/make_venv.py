"""Prepare ``.venv`` or the given folder: install the pins of requirements.txt and the project, with uv if available."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (sys.argv[1] if len(sys.argv) > 1 else ".venv")
PYTHON, MARK, PINS = VENV / "bin" / "python", VENV / "decloud-setup", "requirements.txt"
HALF = "the last installation was interrupted"  # the content of MARK until an installation succeeds
OFFLINE = "Cannot reach the package index. The first start needs the internet: connect and start again."
FULL = "The disk or the folder for temporary files is full. Free some space (6 GB) and start again."
SIGNS = {"new connection": OFFLINE, "ConnectTimeout": OFFLINE, "error sending request": OFFLINE, "No space left": FULL}


def marks() -> tuple[str, str | None]:
    """Return MARK's content, and the content that the current inputs require (None without a usable Python)."""
    is_here = PYTHON.exists() and str(VENV) in (VENV / "pyvenv.cfg").read_text()  # an environment cannot be moved
    code = "import pip, sys; (3, 11) <= sys.version_info < (3, 14) and print(sys.version)"
    version = is_here and subprocess.run([PYTHON, "-c", code], capture_output=True, check=False).stdout
    inputs = [(ROOT / name).read_bytes() for name in (PINS, "pyproject.toml", "scripts/make_venv.py")]
    fits = hashlib.sha256(b"\0".join([version, *inputs])).hexdigest() if version else None
    return MARK.read_text() if MARK.exists() else "", fits


def run(*command: str) -> None:
    """Run one step. It inherits the lock: if this script is killed, the next start waits until the step has ended."""
    # Two packages have no wheel. uv builds them with pinned tools; pip cannot check the tools of a build.
    environ = os.environ | {"UV_BUILD_CONSTRAINT": PINS}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, pass_fds=[lock.fileno()])  # noqa: PLW1510
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower() or "cause:" in line]
        sys.exit(
            next(
                (words for sign, words in SIGNS.items() if sign in done.stderr),
                (errors or [f"{command[0]} failed."])[-1],
            )
        )


sys.tracebacklimit = 0  # print one line for an interruption as well
mark, fits = marks()
if mark != fits:
    lock = (ROOT / PINS).open()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for another start to finish its set-up…", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    mark, fits = marks()
if mark != fits:
    if fits is None or mark == HALF:
        print(f"Creating {VENV.name} ({HALF if mark == HALF else 'about 2 minutes and 6 GB'})…", file=sys.stderr)
        run(getattr(sys, "_base_executable", sys.executable), "-I", "-m", "venv", "--clear", str(VENV))
    else:
        print(f"Bringing {VENV.name} up to date…", file=sys.stderr)
    MARK.write_text(HALF)
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", str(PYTHON)] if uv else [str(PYTHON), "-I", "-m", "pip", "install"]
    run(*pip, "--require-hashes", "-r", PINS)
    run(*pip, "--no-deps", "--no-build-isolation", "-e", ".")
    MARK.write_text(marks()[1] or HALF)
