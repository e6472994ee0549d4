"""Output that is closed, full, unread, or of an encoding without our characters stops nothing and breaks nothing."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from decloud_pl.cli import main

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


# The reporter alone, as the daemon uses it.
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


@pytest.mark.skipif(not FULL.exists(), reason="Linux alone has a device that is always full")
def test_a_document_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    arguments = f"localnet --json --no-agents --rpc-port 0 --gateway-port 0 --home {tmp_path / 'net'}"
    done = shell(f"{COMMAND} {arguments} >{FULL}", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("decloud-trainer: The output cannot be written: No space left on device.")


def test_a_pipe_in_place_of_the_settings_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    done = shell(f"{COMMAND} config --show", tmp_path)
    assert (done.returncode, done.stderr.count("is no file")) == (3, 1)


def test_a_user_without_a_home_folder_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container with a number for its user."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "DECLOUD_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert main(["config", "--show"]) == 3
    assert "no home folder" in capsys.readouterr().err
