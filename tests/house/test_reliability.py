"""Every test that docs/reliability.md and SECURITY.md rest on is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    """In these two pages a test's name is always given in full, so none is missed here."""
    both = PAGE + SECURITY
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", both)
    assert len(named) == both.count("tests/") >= 30
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"def {name}\(", (ROOT / path).read_text("utf-8") if (ROOT / path).exists() else "")
    ]
    assert missing == []


def test_every_row_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert [row for row in rows if "`tests/" not in row] == []


def test_security_says_how_to_report() -> None:
    assert "## To report" in SECURITY and "docs/reliability.md" in SECURITY
