"""Hostile key files, and hostile configurations of the Solana CLI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.conftest import Meet


def big(path: Path) -> Path:
    """Make a sparse file of a terabyte."""
    path.touch(0o600)
    os.truncate(path, 1 << 40)
    return path


FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(os.urandom(64)),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a terabyte": lambda path: path.symlink_to(big(path.with_name("big"))),
    "a hundred megabytes": lambda path: path.write_bytes(b"1" * (100 << 20)),
    "endless brackets": lambda path: path.write_text("[" * 200_000),
    "numbers above 255": lambda path: path.write_text("[" + ",".join(["256"] * 64) + "]"),
    "a byte of 0.5": lambda path: path.write_text("[" + ",".join(["0.5"] * 64) + "]"),
    "a byte that is true": lambda path: path.write_text("[" + ",".join(["true"] * 64) + "]"),
    "a too large byte": lambda path: path.write_text("[" + "9" * 100_000 + "]"),
    "63 bytes": lambda path: path.write_text(str(list(range(63)))),
    "two halves that do not match": lambda path: path.write_text(str(list(range(64)))),
    "a document": lambda path: path.write_text('{"key": "x"}'),
    "characters outside base58": lambda path: path.write_text("0OIl" * 22),
    "escape sequences": lambda path: path.write_text("\x1b[2J\u202e" * 10),
}
SOLANA: dict[str, bytes] = {
    "a configuration of nested aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)),
    "a configuration with an object": b"keypair_path: !!python/object/apply:os.system ['true']\n",
    "a configuration that is not UTF-8": b"\xff\xfe\x00keypair_path: \x00",
    "a configuration of brackets": b"[" * 50_000,
    "a hardware wallet in escape sequences": b'keypair_path: "usb://\\e[2Jledger"\n',
}
INPUTS = [*FILES, *SOLANA]


@pytest.mark.parametrize("name", FILES)
def test_an_invalid_key_file(name: str, run: Meet, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    FILES[name](path)
    if path.is_file():
        path.chmod(0o600)
    run("start", f"wallet.keypair_path={path}").in_one_sentence(code=4)


@pytest.mark.parametrize("name", SOLANA)
def test_an_invalid_configuration(name: str, run: Meet, tmp_path: Path) -> None:
    place = tmp_path / ".config" / "solana" / "cli" / "config.yml"
    place.parent.mkdir(parents=True)
    place.write_bytes(SOLANA[name])
    run("wallet", "address").in_one_sentence()
