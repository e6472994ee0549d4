"""The program continues with output that is closed, full, unread or in a limited encoding."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = f"{sys.executable} -m decloud_pl.cli"
FULL = Path("/dev/full")


def shell(line: str, tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DECLOUD_HOME": str(tmp_path), **environ}
    environment.pop("DECLOUD_PRIVATE_KEY", None)
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("arguments", "code"), [("--help", 0), ("fly", 2), ("wallet address --keypair absent.json", 4)]
)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_keep_the_exit_code(arguments: str, code: int, closed: str, tmp_path: Path) -> None:
    assert shell(f"{COMMAND} {arguments} {closed}", tmp_path).returncode == code


def test_what_goes_to_a_closed_stderr_is_not_written_to_stdout(tmp_path: Path) -> None:
    assert shell(f"{COMMAND} fly 2>&-", tmp_path).stdout == ""


# Only the reporter, as the daemon uses it.
REPORT = """
import sys
from decloud_pl.cli.ui.report import TerminalReporter
from decloud_pl.cli.ui.streams import prepare_streams
prepare_streams()
with TerminalReporter() as reporter:
    for number in range(5000):
        reporter.say(f'Round {number}: training…')
sys.stdout.flush()
print('still here', file=sys.stderr)
"""


@pytest.mark.parametrize("sink", ["| head -1", ">&-"])
def test_a_reader_that_leaves_does_not_stop_the_reporter(sink: str, tmp_path: Path) -> None:
    script = tmp_path / "report.py"
    script.write_text(REPORT, encoding="utf-8")
    done = shell(f"set -o pipefail; {sys.executable} {script} {sink}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "still here\n")


def test_an_encoding_without_the_characters(tmp_path: Path) -> None:
    script = tmp_path / "report.py"
    script.write_text(REPORT, encoding="utf-8")
    done = shell(f"{sys.executable} {script}", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Round 0: training?")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
def test_a_document_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    arguments = f"localnet --json --no-agents --rpc-port 0 --gateway-port 0 --home {tmp_path / 'net'}"
    done = shell(f"{COMMAND} {arguments} >{FULL}", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("decloud-trainer: The output cannot be written: No space left on device.")


PRINTS = [
    "-m decloud_pl.cli --help",
    "-m decloud_pl.cli --version",
    "-m decloud_pl.cli history",
    "-m decloud_pl.cli history --json",
    "-m decloud_pl.cli history --csv",
    "-m decloud_pl.cli completion bash",
    "-m decloud_pl.cli sweeps",
    "-m decloud_pl --help",
    "-m decloud_pl --cfg job",
]


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", PRINTS)
def test_output_that_cannot_be_written_is_one_sentence(arguments: str, tmp_path: Path) -> None:
    done = shell(f"{sys.executable} {arguments} >{FULL}", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "The output cannot be written: No space left on device." in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
def test_the_shells_completion_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    asks = {"COMP_WORDS": "decloud-trainer li", "COMP_CWORD": "1", "_DECLOUD_TRAINER_COMPLETE": "bash_complete"}
    done = shell(f"{COMMAND} >{FULL}", tmp_path, **asks)
    assert done.stderr.startswith("decloud-trainer: The output cannot be written")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_gigabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


def a_broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


ODD: dict[Callable[[Path], None], str] = {
    os.mkfifo: "is not a regular file. Move it to another place.",
    a_folder: "is not a regular file. Move it to another place.",
    a_gigabyte: "is larger than 1 MB, too large for settings.",
    a_broken_link: "nowhere, which does not exist. Restore that file, or remove the link.",
}
"""What can be at the path of config.json, and the expected error."""


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        *[(make, "decloud_pl.cli config --show") for make in ODD],
        *[(a_gigabyte, other) for other in ("decloud_pl.cli list", "decloud_pl --cfg job")],
    ],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_odd_settings_files_are_one_sentence(make: Callable[[Path], None], arguments: str, tmp_path: Path) -> None:
    make(tmp_path / "config.json")
    limited = f"ulimit -v 2000000; {sys.executable} -m {arguments}"
    done = shell(limited, tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert ODD[make] in done.stderr


def open_to_others(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 == 0 and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can change the user")
def test_settings_that_may_not_be_read_are_one_sentence(tmp_path: Path) -> None:
    open_to_others(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "config.json").chmod(0)
    done = shell(f"setpriv --reuid=65534 --clear-groups {COMMAND} config --show", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "config.json cannot be read: Permission denied." in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can change the user")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("config --show", "config.json cannot be read"),
        ("start", "config.json cannot be read"),
        ("config --set epochs=2", "conf cannot be used"),
        ("config --preset list", "preset cannot be used"),
        ("logs", "daemon.log cannot be used"),
    ],
)
def test_a_home_that_may_not_be_entered_is_one_sentence(arguments: str, words: str, tmp_path: Path) -> None:
    open_to_others(tmp_path)
    (home := tmp_path / "home").mkdir(mode=0)
    done = shell(f"setpriv --reuid=65534 --clear-groups {COMMAND} {arguments}", home)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    said = f"{words}: Permission denied. Check its permissions, or set DECLOUD_HOME to another folder."
    assert said in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can change the user")
@pytest.mark.parametrize("arguments", ["decloud_pl.cli config --show", "decloud_pl.cli start", "decloud_pl --cfg job"])
def test_a_user_who_is_nobody_gets_a_sentence(arguments: str, tmp_path: Path) -> None:
    """As in a container whose user has only a number: no HOME and no entry in the list of users."""
    nobody = "env -u HOME -u DECLOUD_HOME setpriv --reuid=54321 --clear-groups"
    done = shell(f"{nobody} {sys.executable} -m {arguments}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "The home folder of this user is unknown. Set HOME to a folder of this user." in done.stderr
