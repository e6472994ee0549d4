"""A redacted address has only its scheme, host and port, because any other part may be a key."""

from __future__ import annotations

import logging

import pytest

from decloud_pl.errors import StoreError
from decloud_pl.observers.log import RedactingFormatter
from decloud_pl.redact import LONGEST, legible, redact, redact_tree, spreadsheet_cell
from tests.harness.strangers import HOSTILE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://rpc.example.org/?api-key=KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org?api-key=KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org/v2/KEY", "https://rpc.example.org/…"),
        ("https://rpc.example.org#KEY", "https://rpc.example.org/…"),
        ("https://user:KEY@rpc.example.org", "https://…@rpc.example.org"),
        ("https://user:K@EY@rpc.example.org:8899/KEY", "https://…@rpc.example.org:8899/…"),
        ("WSS://[::1]:8900/KEY?KEY", "WSS://[::1]:8900/…"),
        ("http://127.0.0.1:8899", "http://127.0.0.1:8899"),
        ("http://127.0.0.1:8899/", "http://127.0.0.1:8899/"),
        ("Write it like http://127.0.0.1:8899. Then go on.", "Write it like http://127.0.0.1:8899. Then go on."),
        ("(see https://a.example/KEY)", "(see https://a.example/…)"),
        ("a=[https://a.example/KEY,https://b.example/?k=KEY,KEY]", "a=[https://a.example/…,https://b.example/…]"),
        ("'https://a.example/KEY' \"https://b.example/KEY\"", "'https://a.example/…' \"https://b.example/…\""),
        ("file:///data/conf", "file:///data/conf"),
        ("mnist:/data/mnist", "mnist:/data/mnist"),
        ("https://a.example/…", "https://a.example/…"),
        ("://KEY", "://KEY"),
    ],
)
def test_what_is_left_of_an_address(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_in_every_place_of_a_tree() -> None:
    tree = {"a": [{"b": "https://a.example/KEY"}, 3, None], "c": ("ws://b.example?KEY",)}
    assert redact_tree(tree) == {"a": [{"b": "https://a.example/…"}, 3, None], "c": ["ws://b.example/…"]}


def test_a_sentence_holds_no_key() -> None:
    error = StoreError("https://a.example/KEY does not answer.", fix="Try https://b.example/?k=KEY.")
    assert str(error) == "https://a.example/… does not answer. Try https://b.example/…."
    assert "KEY" not in repr(error)


def test_a_log_line_and_its_traceback_hold_no_key() -> None:
    try:
        raise ValueError("https://a.example/KEY")
    except ValueError:
        record = logging.LogRecord("httpx", logging.INFO, __file__, 1, "POST %s", ("https://a.example/KEY",), None)
        import sys

        record.exc_info = sys.exc_info()
    line = RedactingFormatter("%(levelname)s %(message)s").format(record)
    assert line.startswith("INFO POST https://a.example/…\nTraceback")
    assert "KEY" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]8;;http://evil.test\x07link\x1b]8;;\x07", r"\x1b[2J\x1b]8;;http://evil.test\x07link\x1b]8;;\x07"),
        ("\x9b31mred", r"\x9b31mred"),
        ("cid\u202edic\u2066x\u2069", r"cid\u202edic\u2066x\u2069"),
        ("one\r\ntwo\u2028three\x85four\tfive", "one  two three four five"),
        ("\ud800", r"\ud800"),
        ("<b>'\"&</b> [bold]", "<b>'\"&</b> [bold]"),
        ("Москва 東京 é …", "Москва 東京 é …"),
        ("x" * 5_000_000, "x" * 4_000 + "…"),
    ],
    ids=["escape sequences", "C1", "bidi", "line breaks", "surrogate", "markup", "scripts", "5 MB"],
)
def test_a_strangers_text_is_one_harmless_line(text: str, shown: str) -> None:
    assert legible(text) == shown
    assert str(StoreError(f"It says {text}")).startswith(redact(f"It says {shown}"[:4_000]))


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"])
def test_a_formula_is_no_formula_in_a_spreadsheet(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{legible(text)}"
    assert [spreadsheet_cell(value) for value in ("digits", -1, None, -0.5)] == ["digits", -1, None, -0.5]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_strangers_text_is_one_short_line_that_can_be_seen(text: str) -> None:
    shown = legible(text)
    assert shown.isprintable()
    assert len(shown) <= len(r"\x1b") * LONGEST + 1
    assert legible(shown, len(shown)) == shown
    assert not spreadsheet_cell(text).startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
