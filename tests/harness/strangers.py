"""Hostile texts that untrusted parties may put into a round, an error message or a file."""

from __future__ import annotations

HOSTILE = {
    "escape": "bad\x1b[2J\x1b]0;title\x07",
    "osc-8": "\x1b]8;;http://evil.test\x1b\\\\click\x1b]8;;\x1b\\\\",
    "c1": "\x9b31mred\x9d0;title\x9c",
    "bidi": "abc\u202efdp.exe\u2066x\u2069\u200f",
    "lines": "one\r\ntwo\u2028three\x0bfour\x85five",
    "markup": "<b>bold</b> [red]red[/red] [link=http://evil.test]x[/link] *x* `y`",
    "quotes": "'\"\\\\`${HOME}$(id)%s{0}\\n",
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "formula": '=HYPERLINK("http://evil.test","x")',
    "minus": "-2+3+cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "return": "\r=1+1",
    "full-width": "＝1+1",
    "label": 'x"} 1\ndecloud_up{a="',
    "long": "x" * 5_000_000,
    "long-escape": "\x1b" * 5_000_000,
}
