"""Hostile answers of RPC endpoints, to the client and to a command."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from decloud_pl.chain.dialects import get_dialect
from tests.hostile.conftest import Meet
from tests.hostile.wire import ANSWERS, DRIPPING, TEXTS, Behaviour, serving
from tests.store.fakes.server import Request

PROGRAM = str(get_dialect().program_id)
NOBODY = "1" * 32
GENESIS = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
HUGE = "9" * 400
CONTEXT = '{"slot":5}'


def account(data: bytes | str, owner: str = PROGRAM, lamports: str = "5") -> str:
    """Return an account as an endpoint returns it."""
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    rest = '"executable":false,"rentEpoch":0,"space":0'
    return f'{{"data":["{text}","base64"],"owner":"{owner}","lamports":{lamports},{rest}}}'


def in_context(value: str, context: str = CONTEXT) -> str:
    return f'{{"context":{context},"value":{value}}}'


# The request, and the result as a text, because it may be invalid JSON.
RESULTS: dict[str, tuple[str, str]] = {
    "a negative balance": ("balance", in_context("-1")),
    "a too large balance": ("balance", in_context(HUGE)),
    "a balance of 0.5": ("balance", in_context("0.5")),
    "a balance in words": ("balance", in_context('"many"')),
    "a balance of brackets": ("balance", in_context("[" * 100_000)),
    "no balance": ("balance", in_context("null")),
    "a slot of 2^64-1": ("balance", in_context("5", '{"slot":18446744073709551615}')),
    "a negative slot": ("balance", in_context("5", '{"slot":-1}')),
    "no context": ("balance", '{"value":5}'),
    "an invalid account": ("round", in_context('"\\u0000"')),
    "an account of another program": ("round", in_context(account(bytes(200), NOBODY))),
    "an account of zeros": ("round", in_context(account(bytes(200)))),
    "an account of one byte": ("round", in_context(account(b"x"))),
    "an account of two megabytes": ("round", in_context(account(b"\xff" * (2 << 20)))),
    "an account in an unknown encoding": ("round", in_context(account("\\ud800!!"))),
    "an account with an invalid owner": ("round", in_context(account(bytes(8), "0OIl"))),
    "lamports of 2^64": ("round", in_context(account(bytes(8), PROGRAM, "18446744073709551616"))),
    "a counter of zeros": ("counter", in_context(account(bytes(64)))),
    "a truncated submission": ("submission", in_context(account(bytes(9)))),
    "a clock of five bytes": ("clock", in_context(account(b"clock"))),
    "no clock": ("clock", in_context("null")),
    "too few accounts": ("accounts", in_context("[null]")),
    "too many accounts": ("accounts", in_context("[" + ",".join(["null"] * 10_000) + "]")),
    "an invalid blockhash": ("blockhash", in_context('{"blockhash":"x","lastValidBlockHeight":5}')),
    "a height of 2^64": ("height", '{"absoluteSlot":18446744073709551616,"blockHeight":1,"epoch":0}'),
    "a rent in words": ("rent", '"a lot"'),
    "a negative rent": ("rent", "-5"),
    "two statuses for one": ("statuses", in_context("[null,null]")),
    "an unknown status": ("statuses", in_context('[{"slot":5,"err":{"Custom":-1},"confirmationStatus":"sure"}]')),
    "accounts that are not a list": ("listed", '{"pubkey":"x"}'),
    "invalid signatures": ("sent", '[{"signature":"\\u202e","slot":5,"err":null}]'),
    "an invalid genesis hash": ("network", '"\\u001b[2J"'),
    "a genesis hash that is a list": ("network", "[[]]"),
}
# The error object as a text, because it may be invalid.
ERRORS: dict[str, str] = {
    "an error in words": '"no"',
    "an error that is a list": "[1]",
    "an endless error": "[" * 100_000,
    "an error without a code": '{"message":"no"}',
    "an error with a code in words": '{"code":"no","message":"no"}',
    "an error with a too large code": f'{{"code":-{HUGE},"message":"no"}}',
    "an error with a message that is a list": '{"code":-32000,"message":["no"]}',
} | {
    f"an error with {name}": json.dumps({"code": -32600, "message": text})
    for name, text in TEXTS.items()
    if name != "nulls and surrogates"
}
BODIES: dict[str, Behaviour] = {
    name: answer for name, answer in {**ANSWERS, **DRIPPING}.items() if name != "an endless body"
}
INPUTS = [*RESULTS, *ERRORS, *BODIES]


def answering(result: str | Mapping[str, str], *, key: str = "result") -> Behaviour:
    """Answer every request, or every method by its name, with JSON text."""

    def send(request: Request) -> None:
        call: dict[str, Any] = json.loads(request.body())
        text = result if isinstance(result, str) else result[call["method"]]
        body = f'{{"jsonrpc":"2.0","id":{call["id"]},"{key}":{text}}}'.encode()
        request.send(200, body, {"Content-Type": "application/json"})

    return send


@pytest.mark.parametrize("name", RESULTS)
def test_an_impossible_result(name: str, call: Meet) -> None:
    request, result = RESULTS[name]
    with serving(answering(result)) as url:
        call("rpc", url, request).in_one_sentence(code=5)


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_object(name: str, call: Meet) -> None:
    with serving(answering(ERRORS[name], key="error")) as url:
        call("rpc", url, "balance").in_one_sentence(code=5)


@pytest.mark.parametrize("name", BODIES)
def test_an_invalid_answer(name: str, call: Meet) -> None:
    with serving(BODIES[name]) as url:
        call("rpc", url, "balance").in_one_sentence(code=5)
