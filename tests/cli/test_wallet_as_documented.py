"""Every documented way to provide a key, checked with the wallet's address."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import base58
import pytest

from decloud_pl.chain.wallet import create_wallet

WAYS = ("a key file", "pasted", "pasted as an array", "pasted at the prompt", "environment")


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_found_and_never_shown(way: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.json"
    wallet = create_wallet(file)
    array, text = file.read_text(), base58.b58encode(bytes(wallet.signer)).decode()
    value = {"a key file": f"keypair_path={file}", "pasted": f"private_key={text}"}
    value |= {"pasted as an array": f"private_key={array}", "pasted at the prompt": "private_key=-"}
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{text}\n"))
    said = []
    if way == "environment":
        monkeypatch.setenv("DECLOUD_PRIVATE_KEY", text)
    else:
        said.append(run("config", "--set", value[way]))
    said += [run("wallet", "address"), run("config", "--show", "--origin")]
    assert [ran.code for ran in said] == [0] * len(said)
    assert said[-2].out.strip() == str(wallet.address)
    shown = "".join(ran.out + ran.err for ran in said)
    assert text not in shown
    assert array not in shown
    assert ("Your shell's history contains private_key" in shown) is (way in ("pasted", "pasted as an array"))
