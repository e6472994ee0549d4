"""Generate the reference from the code during the build of the site.

The function NAME replaces the line ``<!-- generated: NAME -->`` of a page with text in the page's markup. An object
without a description is an error.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from generated import commands, configuration, kept, observed, protocol

PAGES = {
    "reference/commands": (commands.commands,),
    "reference/settings": (configuration.settings,),
    "reference/groups": (configuration.groups,),
    "reference/exit-codes": (commands.exit_codes,),
    "reference/events": (observed.daemon_events, observed.chain_events),
    "reference/metrics": (observed.metrics,),
    "reference/journal": (kept.states, kept.journal),
    "reference/results": (kept.result,),
    "explanation/protocol": (protocol.revisions, protocol.program_errors),
}
"""The functions for the marks of each page, in order. Other pages have no marks."""

_MARK = re.compile(r"^(?:<!-- generated: (\w+) -->|\.\. generated: (\w+))$", re.MULTILINE)


def _read(app: Sphinx, docname: str, source: list[str]) -> None:  # noqa: ARG001 - an event's signature
    made = {one.__name__: one for one in PAGES.get(docname, ())}
    found = [mark[1] or mark[2] for mark in _MARK.finditer(source[0])]
    if found != list(made):
        raise ValueError(f"{docname} has marks for {found}, not for {list(made)}.")
    source[0] = _MARK.sub(lambda mark: made[mark[1] or mark[2]](), source[0])


def _outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:  # noqa: ARG001
    return [page for page in PAGES if page in env.found_docs]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    app.connect("sphinx-click-process-epilog", commands.literal_examples)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
