"""Secrets are masked, never part of the tree, and can be in the system keyring."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from decloud_pl.cli.config.shown import Shown, show
from decloud_pl.config import Secrets, load
from decloud_pl.config.layers import sources
from decloud_pl.config.load import composed
from decloud_pl.errors import ConfigError
from decloud_pl.secrets import keyring_delete, keyring_get, keyring_set, mask

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.payload.signature"


def shown(environ: dict[str, str]) -> list[Shown]:
    given = sources(environ=environ)
    return show(composed(given))


class MemoryKeyring(KeyringBackend):
    """A keyring like that of a desktop."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


@pytest.fixture
def desktop() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


@pytest.fixture
def headless() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (JWT, "eyJh…ture"),
        ("0123456789abcdef", "0123…cdef"),
        ("0123456789abcde", "…"),
        ("", "…"),
        ("[1,2,3,4,5,6,7,8,9]", "[1,2…8,9]"),
    ],
)
def test_first_and_last_four_characters(secret: str, shown: str) -> None:
    assert mask(secret) == shown


def test_nothing_gives_a_secret_away(environ: dict[str, str], keep: Any) -> None:
    keep({"pinata_jwt": JWT, "private_key": [7] * 64})
    settings = load(environ=environ)
    assert settings.secrets.get("pinata_jwt") == JWT
    assert settings.secrets.get("private_key") == str([7] * 64)
    for text in (repr(settings), str(settings), repr(settings.secrets), str(dataclasses.asdict(settings))):
        assert "payload" not in text
        assert "7, 7, 7, 7" not in text
    assert not any("payload" in str(entry.value) for entry in shown(environ))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(settings.secrets)
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(settings)
    assert copy.deepcopy(settings.secrets) is settings.secrets


def test_the_environment_beats_the_file(environ: dict[str, str], keep: Any) -> None:
    keep({"pinata_jwt": "from-the-file", "pinata_api_key": "kept"})
    both = {
        **environ,
        "PINATA_JWT": "from-the-environment",
        "PINATA_SECRET_API_KEY": "secret",
        "DECLOUD_PRIVATE_KEY": "key",
    }
    secrets = load(environ=both).secrets
    names = ("private_key", "pinata_api_key", "pinata_secret_key", "pinata_jwt")
    assert [secrets.get(name) for name in names] == ["key", "kept", "secret", "from-the-environment"]
    origins = {entry.name: entry.origin for entry in shown(both) if entry.name in names}
    assert origins == {
        "private_key": "DECLOUD_PRIVATE_KEY",
        "pinata_api_key": "config.json",
        "pinata_secret_key": "PINATA_SECRET_API_KEY",
        "pinata_jwt": "PINATA_JWT",
    }


def test_the_keyring_holds_a_secret(desktop: MemoryKeyring, home: Path, environ: dict[str, str], keep: Any) -> None:
    path = keep({"pinata_jwt": "@keyring"})
    keyring_set("pinata_jwt", str(home), JWT)
    settings = load(environ=environ)
    assert settings.secrets.get("pinata_jwt") == JWT
    assert settings.secrets.shown("pinata_jwt") == "in the system keyring"
    assert JWT not in path.read_text()
    assert keyring_get("pinata_jwt", "/another/home") is None
    keyring_delete("pinata_jwt", str(home))
    keyring_delete("pinata_jwt", str(home))
    assert desktop.held == {}
    with pytest.raises(ConfigError, match=r"pinata_jwt is missing in the system keyring\. Enter it again"):
        settings.secrets.get("pinata_jwt")


@pytest.mark.usefixtures("headless")
def test_a_machine_without_a_keyring() -> None:
    with pytest.raises(ConfigError, match=r"The system keyring cannot be used: .*\. Unlock it, or keep"):
        Secrets({"pinata_jwt": "@keyring"}, home="/x").get("pinata_jwt")
