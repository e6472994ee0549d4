"""The container files are valid, and the commands in them work as they are written.

These tests need no container engine: they read the instructions and services, and run the commands as child processes.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from decloud_pl.chain.wallet import create_wallet

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE = 60.0
COMMAND = (sys.executable, "-m", "decloud_pl.cli")

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
INSTRUCTIONS |= {"ENTRYPOINT", "CMD"}
# The keys of the Compose specification that these files use. Some engines would ignore an unknown key.
SERVICE = {"build", "cap_drop", "command", "depends_on", "env_file", "environment", "expose", "image", "init", "ports"}
SERVICE |= {"read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes"}


def instructions(root: Path) -> list[tuple[str, str]]:
    """Return the Containerfile's instructions, with continued lines joined and comments removed."""
    text = (root / "deploy" / "Containerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines if line)]


def last(root: Path, name: str) -> str:
    return [rest for found, rest in instructions(root) if found == name][-1]


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    found = yaml.safe_load((root / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def image_environment(root: Path) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(last(root, "ENV")))


def probe(root: Path) -> list[str]:
    """Return the health check's command."""
    check = last(root, "HEALTHCHECK").partition("CMD ")[2]
    return [str(word) for word in json.loads(check)]


def test_the_containerfile(root: Path) -> None:
    found = instructions(root)
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert found[0][0] == "FROM"
    for name, rest in found:
        if name == "FROM":
            assert re.fullmatch(r"docker\.io/[\w./-]+:[\w.-]*\d[\w.-]*( AS \w+)?", rest), rest
        if name == "COPY" and not rest.startswith("--from"):
            assert all((root / source).exists() for source in rest.split()[:-1]), rest
        if name in ("ENTRYPOINT", "CMD", "VOLUME"):
            assert all(isinstance(word, str) for word in json.loads(rest)), rest
        assert not re.search("KEY|SECRET|TOKEN|JWT", rest), rest
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(root, "USER"))
    assert [name for name, _ in found].index("USER") < [name for name, _ in found].index("ENTRYPOINT")
    version = re.search(r"python:(3\.\d+)", found[0][1])
    assert version is not None
    assert f"Python :: {version[1]}" in (root / "pyproject.toml").read_text()


def test_the_image_has_all_that_the_build_takes(root: Path) -> None:
    copied = {source for name, rest in instructions(root) if name == "COPY" and "--from" not in rest
              for source in rest.split()[:-1]}  # fmt: skip
    ignored = (root / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    built = (root / "pyproject.toml").read_text()
    (inside,) = re.findall(r"^only-include = (\[.*\])$", built, re.MULTILINE)
    assert set(json.loads(inside)) <= copied


def test_the_pins_become_constraints(root: Path, tmp_path: Path) -> None:
    (script,) = (rest for name, rest in instructions(root) if name == "RUN" and rest.startswith("sed"))
    (tmp_path / "requirements.txt").write_bytes((root / "requirements.txt").read_bytes())
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(found) > 100
    assert not any(one.extras for one in found)
    assert {"torch", "lightning", "apprise"} <= {one.name for one in found}


def test_the_services(compose: dict[str, Any], root: Path) -> None:
    assert set(compose) == {"name", "services", "volumes"}
    assert set(compose["services"]) == {"trainer", "kubo", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE, name
        assert re.fullmatch(r"docker\.io/[\w./-]+:v?\d[\w.]*", service["image"]) or "build" in service, name
        assert not str(service["user"]).startswith("0"), name
        assert service["cap_drop"] == ["ALL"]
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
        for port in service.get("ports", ()):
            assert port.startswith(("127.0.0.1:", "4001:")), port
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            place = (DEPLOY / source).resolve()
            assert place.is_file() if source.startswith(".") else source in compose["volumes"], volume
    trainer = compose["services"]["trainer"]
    assert (root / "deploy" / trainer["build"]["context"]).resolve() == root
    assert (root / trainer["build"]["dockerfile"]).is_file()
    assert trainer["user"] == last(root, "USER")
    assert [entry.split(":")[1] for entry in trainer["volumes"]] == json.loads(last(root, "VOLUME"))
    assert "deploy/trainer.env" in (root / ".gitignore").read_text().splitlines()


def test_prometheus_and_grafana_find_what_they_show(compose: dict[str, Any], root: Path) -> None:
    services = compose["services"]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scraped for config in job["static_configs"] for target in config["targets"]]
    assert targets == [f"trainer:{services['trainer']['environment']['DECLOUD_METRICS_PORT']}"]
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text())["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert services[host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    board = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert board.startswith(provider["options"]["path"])
    mounted = {target: source for source, target, *_ in (one.split(":") for one in services["grafana"]["volumes"])}
    shown = (DEPLOY / mounted[board]).resolve()
    assert shown == root / "decloud_pl" / "dashboard" / "grafana.json"
    assert json.loads(shown.read_text())["templating"]["list"][0]["query"] == source["type"]


@dataclass(frozen=True)
class Network:
    """A local network, and the settings that connect a daemon to it."""

    settings: Mapping[str, str]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    home = tmp_path_factory.mktemp("network")
    arguments = ["localnet", "--json", "--no-agents", "--rpc-port", "0", "--gateway-port", "0", "--home", str(home)]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        endpoints = json.loads(child.stdout.readline())
        yield Network(
            {
                "DECLOUD_NETWORK": "local",
                "DECLOUD_NETWORK_RPC_URL": endpoints["rpc_url"],
                "DECLOUD_NETWORK_GATEWAYS": endpoints["gateway_url"],
                "DECLOUD_STORAGE": "embedded",
            }
        )
        child.send_signal(signal.SIGINT)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    create_wallet(found / "id.json")
    return found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with the command, as an installation provides it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "decloud-trainer"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    return folder


def environment(network: Network, home: Path, program: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{program}:{os.environ['PATH']}",
        **more,
        "DECLOUD_HOME": str(home),
        "DECLOUD_KEYPAIR_PATH": str(home / "id.json"),
        **network.settings,
    }


def until(condition: Callable[[], Any], child: subprocess.Popen[Any]) -> None:
    """Wait for a condition that a child process will meet."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert child.poll() is None, f"it ended with exit code {child.returncode}"
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.slow
def test_the_containers_command_and_its_health_check(
    network: Network, home: Path, program: Path, compose: dict[str, Any], root: Path
) -> None:
    trainer = compose["services"]["trainer"]
    port = str(free_port())
    given = {**image_environment(root), **trainer["environment"], "DECLOUD_METRICS_PORT": port}
    given = {name: value for name, value in given.items() if name not in ("PATH", "HOME")}
    environ = environment(network, home, program, **given)
    command = [*json.loads(last(root, "ENTRYPOINT")), *trainer["command"]]

    def healthy() -> bool:
        done = subprocess.run(
            [str(program / "python"), *probe(root)[1:]], env=environ, capture_output=True, check=False
        )
        return done.returncode == 0

    assert probe(root)[0] == "python"
    assert not healthy()
    with subprocess.Popen(command, env=environ, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        until(lambda: (home / "activity.sqlite").exists() and answers(port), child)
        assert healthy()
        # Prometheus sends the service's name as the host.
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Host": f"trainer:{port}"})
        assert b"decloud_up 1.0" in urllib.request.urlopen(request, timeout=10).read()
        child.send_signal(getattr(signal, last(root, "STOPSIGNAL")))
        assert child.stdout is not None
        child.stdout.read()
        assert child.wait(PATIENCE) == 0


def answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
def test_the_units_command_says_that_it_is_ready(network: Network, home: Path, program: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    (root / ".venv").mkdir(parents=True)
    (root / ".venv" / "bin").symlink_to(program)
    (root / "scripts").mkdir()
    script = root / "scripts" / "install-service"
    script.write_bytes((Path(__file__).parents[2] / "scripts" / "install-service").read_bytes())
    printed = subprocess.run(
        ["bash", str(script), "--print", "poll_interval=1"],
        env={**os.environ, "DECLOUD_HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys are case-sensitive
    unit.read_string(printed.stdout)
    service = unit["Service"]
    assert service["Type"] == "notify"
    name, _, value = shlex.split(service["Environment"])[0].partition("=")
    environ = {**environment(network, home, program), name: value}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"\0decloud-test-{os.getpid()}"
        manager.bind(address)
        manager.settimeout(PATIENCE)
        watched = {"NOTIFY_SOCKET": f"@{address[1:]}", "WATCHDOG_USEC": str(int(service["WatchdogSec"]) * 1_000_000)}
        log = tmp_path / "journal"
        with log.open("wb") as file, subprocess.Popen(
            shlex.split(service["ExecStart"]), env={**environ, **watched}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        ) as child:  # fmt: skip
            assert manager.recv(4096) == b"READY=1"
            until(lambda: "Looking for rounds" in log.read_text(), child)
            child.send_signal(signal.SIGTERM)
            assert child.wait(PATIENCE) == 0
        assert b"STOPPING=1" in [manager.recv(4096), manager.recv(4096)]  # a WATCHDOG=1 may come first


@pytest.mark.slow
def test_nohup_keeps_it_running_when_its_terminal_goes(
    network: Network, home: Path, program: Path, tmp_path: Path
) -> None:
    log = tmp_path / "trainer.log"
    line = f"nohup decloud-trainer start > {log} 2>&1"
    environ = environment(network, home, program)
    with subprocess.Popen(["sh", "-c", f"exec {line}"], env=environ, stdin=subprocess.DEVNULL) as child:
        until(lambda: log.exists() and "Looking for rounds" in log.read_text(), child)
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGHUP)
        # Only a daemon that has survived both SIGHUPs exits with code 0.
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == 0
    assert "\x1b" not in log.read_text()
    assert "Traceback" not in log.read_text()
