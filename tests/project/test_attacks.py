"""Every row of the page about attacks names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path


def test_each_attack_has_its_test(root: Path) -> None:
    page = (root / "docs" / "explanation" / "attacks.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ") and line.count("|") == 5]
    named = [row[3].strip() for row in rows if row[3].strip() != "test"]
    assert len(named) >= 40
    missing = []
    for name in named:
        found = re.fullmatch(r"`(tests/[\w/]+\.py)::(test_\w+)`", name)
        if found is None or f"def {found[2]}(" not in (root / found[1]).read_text(encoding="utf-8"):
            missing.append(name)
    assert missing == []
