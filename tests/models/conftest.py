"""Real tokenizers, and the option that writes what they say anew: ``pytest tests/models --update-golden``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ragr1_lite.models.tokenizer import ChatTokenizer

Get = Callable[[str], ChatTokenizer]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """False where the option is not known: pytest reads this file too late when it runs all tests."""
    return bool(request.config.getoption("--update-golden", default=False))


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> ChatTokenizer:
    from ragr1_lite.core.errors import RagR1Error
    from ragr1_lite.models.builtin import ensure

    try:
        return ChatTokenizer.load(ensure("smollm2-135m"))
    except RagR1Error as error:
        pytest.skip(f"the built-in model cannot be had: {error}")


@pytest.fixture(scope="session", params=["smollm2", "qwen2", "qwen3"])
def named_tokenizer(request: pytest.FixtureRequest) -> tuple[str, ChatTokenizer]:
    """Each tokenizer with its name; one that cannot be had is skipped."""
    if request.param == "smollm2":
        return request.param, request.getfixturevalue("smollm2_tokenizer")
    return request.param, ChatTokenizer.load(request.getfixturevalue(f"{request.param}_tokenizer_folder"))
