"""schemathesis asks every server what its document allows and what it does not: ``make test-openapi``.

It draws requests from docs/openapi/, right and wrong ones, and checks statuses, types and contents of the answers.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from ragr1_lite.core.events import Notice
from tests.support.openapi import DOCUMENTS, application, document

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: make test-openapi")

CASES = 60
"""Drawn for an operation, besides those at the edges of its schema."""
CONFIG = {
    "seed": 18,
    "generation": {"max-examples": CASES, "mode": "all", "deterministic": True, "no-shrink": True},
    "checks": {"negative_data_rejection": {"expected-statuses": ["400", "404", "413", "415", "422"]}},
    "warnings": False,
}
HOME = re.compile(r"Traceback|\.py\b|site-packages|/(home|root|usr|tmp|work)/|Error: |event: error")
"""What only we may know: where things lie, and what broke."""

notices: list[object] = []


def schema(name: str) -> Any:
    config = schemathesis.config.SchemathesisConfig.from_dict(CONFIG)
    found = schemathesis.openapi.from_dict(document(name), config=config)
    found.app = application(name, notices.append)
    return found


@schemathesis.pytest.parametrize(**{name: schema(name) for name in DOCUMENTS})
def test_every_answer_is_as_its_document_has_it(case: Any) -> None:
    notices.clear()
    response = case.call_and_validate(headers={"Host": "127.0.0.1"})
    told = HOME.search(response.text)
    assert not told, response.text[max(0, told.start() - 200) : told.end() + 200]
    assert [one for one in notices if isinstance(one, Notice) and one.level == "warning"] == []
