"""`doctor` checks everything and suggests fixes, and its exit code shows whether it found a problem."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from decloud_pl.chain.wallet import create_wallet
from decloud_pl.diagnose.findings import Finding, tried
from tests.store.fakes.pinata import FakePinata

Findings = dict[str, dict[str, str]]


@pytest.fixture
def old_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the installed torch look too old. Then doctor starts no process that imports torch for two seconds."""
    about = tmp_path / "packages" / "torch-2.9.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n")
    monkeypatch.syspath_prepend(about.parent)


@pytest.fixture
def examined_with_torch(run: Any) -> Callable[..., tuple[int, Findings]]:
    def examine(*arguments: str) -> tuple[int, Findings]:
        ran = run("doctor", "--json", "network.rpc_url=http://127.0.0.1:9", *arguments)
        document = ran.document
        assert document["well"] is (ran.code == 0)
        return ran.code, {finding["name"]: finding for finding in document["findings"]}

    return examine


@pytest.fixture
def examined(
    old_torch: None, examined_with_torch: Callable[..., tuple[int, Findings]]
) -> Callable[..., tuple[int, Findings]]:
    return examined_with_torch


def test_without_anything(examined_with_torch: Any) -> None:
    code, found = examined_with_torch()
    assert code == 14
    assert found["settings"]["verdict"] == "note"
    assert "decloud-trainer setup" in found["settings"]["fix"]
    assert found["wallet"]["verdict"] == "problem"
    assert "DECLOUD_PRIVATE_KEY" in found["wallet"]["fix"]
    assert found["rpc"]["verdict"] == "problem"
    assert "decloud-trainer localnet" in found["rpc"]["fix"]
    assert (found["storage"]["verdict"], found["disk"]["verdict"]) == ("ok", "ok")
    assert found["data sets"]["verdict"] == "ok"
    assert "precision" in found["device"]["detail"]


def test_a_torch_that_is_too_old(examined: Any) -> None:
    _, found = examined()
    assert found["device"]["verdict"] == "problem"
    assert found["device"]["detail"].startswith("torch 2.9.1 does not open strangers' files safely; version 2.10 ")


def test_the_proxy_and_the_certificates(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:SECRET@proxy.test:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Path(__file__).parents[1] / "harness" / "tls" / "ca.pem"))
    _, found = examined()
    assert found["proxy"]["verdict"] == "ok"
    assert found["proxy"]["detail"].startswith("HTTPS_PROXY http://…@proxy.test:3128; REQUESTS_CA_BUNDLE /")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:SECRET@proxy.test")
    _, found = examined("network.gateways=[https://ipfs.example.test]")
    assert (found["proxy"]["verdict"], found["rpc"]["verdict"]) == ("note", "problem")
    assert found["proxy"]["detail"].startswith("HTTPS_PROXY is a SOCKS proxy")
    assert "SECRET" not in str(found)


def test_keys_that_others_can_read(examined: Any, home: Path, tmp_path: Path) -> None:
    key = tmp_path / "id.json"
    create_wallet(key)
    key.chmod(0o644)
    home.mkdir()
    (home / "config.json").write_text(f'{{"keypair_path": "{key}", "pinata_jwt": "0123456789abcdef"}}')
    (home / "config.json").chmod(0o640)
    _, found = examined()
    assert found["wallet"]["fix"] == f"Run: chmod 600 {key}"
    assert found["settings"]["fix"] == f"Run: chmod 600 {home / 'config.json'}"
    key.chmod(0o600)
    (home / "config.json").chmod(0o600)
    _, found = examined()
    assert (found["wallet"]["verdict"], found["settings"]["verdict"]) == ("ok", "ok")


def test_only_the_key_file_in_use_is_checked(
    examined: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = create_wallet(tmp_path / "id.json")
    (tmp_path / "id.json").chmod(0o644)
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"keypair_path": str(tmp_path / "id.json")}))
    monkeypatch.setenv("DECLOUD_PRIVATE_KEY", str(wallet.signer))
    assert examined()[1]["wallet"]["verdict"] == "ok"


async def test_a_check_without_space_for_its_files_is_a_problem() -> None:
    async def check() -> Finding:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    found = await tried("gateways", check)
    assert (found.name, found.verdict) == ("gateways", "problem")
    assert "No usable temporary directory" in found.detail


def test_folders_that_others_can_look_into(examined: Any, home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    _, found = examined()
    assert (found["folders"]["verdict"], found["folders"]["detail"]) == ("note", f"other users can open {home}")
    assert found["folders"]["fix"] == f"Run: chmod 700 {home}, unless you share them on purpose."
    assert home.stat().st_mode & 0o777 == 0o755
    home.chmod(0o700)
    assert examined()[1]["folders"]["verdict"] == "ok"


def test_storage_credentials_are_tried(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakePinata() as pinata:
        monkeypatch.setenv("DECLOUD_STORAGE_PINATA_API_URL", pinata.url)
        monkeypatch.setenv("PINATA_JWT", "a-token-of-nobody")
        _, found = examined("storage=pinata")
    assert found["storage"]["verdict"] == "problem"
    assert "a-token-of-nobody" not in str(found)


def test_an_update_that_validators_would_misread(examined: Any) -> None:
    _, found = examined("network.convention=gradient", "update.convention=delta")
    assert found["convention"]["verdict"] == "problem"
    assert found["convention"]["detail"] == "updates are read as gradient, rate 0.1; written as delta"
    assert found["convention"]["fix"].startswith("Set update.convention=gradient, or network.convention=delta if")
    _, found = examined("network.convention=gradient")
    assert found["convention"]["verdict"] == "ok"


def test_a_data_set_that_nothing_leads_to(examined: Any, run: Any) -> None:
    _, found = examined("datasets=[food101]")
    assert found["data sets"]["verdict"] == "problem"
    text = run("doctor", "network.rpc_url=http://127.0.0.1:9").out
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'decloud_pl[ray]'")
def test_a_ray_cluster_that_is_not_there(examined: Any) -> None:
    _, found = examined("daemon.executor=ray", "daemon.ray.address=127.0.0.2:9")
    assert found["ray"]["verdict"] == "problem"
    assert "127.0.0.2:9 cannot be reached: Connection refused" in found["ray"]["detail"]
    assert "daemon.ray.address" in found["ray"]["fix"]
