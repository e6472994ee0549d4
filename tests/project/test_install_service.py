"""scripts/install-service writes a unit that systemd can read, with any characters in the settings."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "install-service"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout after its set-up."""
    root = tmp_path / "check out"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "install-service").write_bytes(SCRIPT.read_bytes())
    (root / "scripts" / "install-service").chmod(0o755)
    command = root / ".venv" / "bin" / "decloud-trainer"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return root


def install(checkout: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    script = checkout / "scripts" / "install-service"
    return subprocess.run(
        [str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(checkout.parent), **environ},
    )


def test_the_unit(checkout: Path) -> None:
    done = install(checkout, "--print", "network=devnet", 'a="b c"', "p=100%$HOME\\", DECLOUD_HOME="/my home")
    assert done.returncode == 0, done.stderr
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys are case-sensitive
    unit.read_string(done.stdout)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["Restart"] == "on-failure"
    assert service["OOMPolicy"] == "continue"
    assert service["Environment"] == '"DECLOUD_HOME=/my home"'
    command = checkout / ".venv" / "bin" / "decloud-trainer"
    assert service["ExecStart"] == f'"{command}" start "network=devnet" "a=\\"b c\\"" "p=100%%$$HOME\\\\"'


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_it(checkout: Path, tmp_path: Path) -> None:
    unit = tmp_path / "decloud-trainer.service"
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    def complaints(text: str) -> list[str]:
        unit.write_text(text)
        command = ["systemd-analyze", "--user", "verify", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        return [line for line in (done.stdout + done.stderr).splitlines() if str(unit) in line or done.returncode]

    text = install(checkout, "--print", "network=devnet", 'a="b c"', "p=100%$HOME\\").stdout
    assert complaints(text) == []
    assert "WatchdogSecs" in complaints(text.replace("WatchdogSec", "WatchdogSecs"))[0]


def test_it_is_installed_for_this_user_alone(checkout: Path) -> None:
    done = install(checkout, "network=devnet", XDG_CONFIG_HOME=str(checkout / "config"))
    assert done.returncode == 0, done.stderr
    unit = checkout / "config" / "systemd" / "user" / "decloud-trainer.service"
    assert unit.read_text() == install(checkout, "--print", "network=devnet").stdout
    assert "systemctl --user enable --now decloud-trainer" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(("devnet",), 2, "'devnet' does not have the form KEY=VALUE"), (("a=b\nExecStart=/bin/sh",), 2, "line break")],
)
def test_what_is_no_setting_is_refused(checkout: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = install(checkout, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert not (checkout.parent / ".config").exists()


def test_without_the_set_up_it_says_what_to_do(checkout: Path) -> None:
    (checkout / ".venv" / "bin" / "decloud-trainer").unlink()
    done = install(checkout)
    assert done.returncode == 3
    assert "Run ./scripts/setup first" in done.stderr
