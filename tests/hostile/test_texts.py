"""Commands repeat hostile texts of servers in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hostile.conftest import Meet
from tests.hostile.test_rpc_answers import answering
from tests.hostile.wire import TEXTS, answer, serving

# A server that is not written in Python may not be able to send a lone surrogate in JSON.
SAID = {name: text for name, text in TEXTS.items() if name != "nulls and surrogates"}
INPUTS = [(sender, name) for sender in ("an RPC endpoint", "an IPFS node", "Pinata") for name in SAID]


@pytest.mark.parametrize(("sender", "name"), INPUTS)
def test_it_stays_in_one_line(sender: str, name: str, run: Meet, tmp_path: Path) -> None:
    (tmp_path / "update").write_bytes(b"an update")
    text = SAID[name]
    if sender == "an RPC endpoint":
        with serving(answering(json.dumps({"code": -32601, "message": text}), key="error")) as url:
            said = run("list", f"network.rpc_url={url}").in_one_sentence(code=5)
    elif sender == "an IPFS node":
        error = json.dumps({"Message": text, "Code": 0, "Type": "error"})
        with serving(answer(error, status="400 No")) as url:
            node = "/ip4/{}/tcp/{}/http".format(*url.removeprefix("http://").split(":"))
            settings = ("storage=kubo", f"storage.kubo_address={node}", "storage.timeout=1")
            said = replace(run("storage", "put", "update", *settings), steps=1).in_one_sentence(code=7)
    else:
        refusal = json.dumps({"error": {"reason": text[:100], "details": text}})
        with serving(answer(refusal, status="400 No")) as url:
            settings = ("storage=pinata", f"storage.pinata_api_url={url}", "storage.timeout=1")
            keys = {"PINATA_API_KEY": "0123456789abcdefkey0", "PINATA_SECRET_KEY": "5ec2e7" * 10 + "beef"}
            said = replace(run("storage", "put", "update", *settings, **keys), steps=1).in_one_sentence(code=7)
    assert not set(said) & set("\x1b\x9b\x07\u202e\u2066\u200f\ufeff\x85\u2028\x00")
