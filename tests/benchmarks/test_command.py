"""``python -m benchmarks``: every benchmark has a page of help, and mistakes end in a sentence."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app


@pytest.mark.parametrize(
    "name",
    [
        "eval",
        "phases",
        "retrieval",
        "rollout",
        "sampling",
        "segments",
        "serving",
        "soak",
        "startup",
        "training",
        "update",
    ],
)
def test_help(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0 and "JSON: {" in result.stdout


def test_retrieval_wants_numbers() -> None:
    result = CliRunner().invoke(app, ["retrieval", "--passages", "many"])
    assert result.exit_code == 2 and "'many' is not a list of numbers" in result.stderr
