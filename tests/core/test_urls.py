"""Passwords in URLs: nothing that is shown or written holds them."""

from __future__ import annotations

import pytest

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.urls import redacted, refuse_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:secret@host/retrieve", "https://***@host/retrieve"),
        ("opensearch+https://ann:secret@host:9200/wiki", "opensearch+https://***@host:9200/wiki"),
        ("http://secret@host", "http://***@host"),
        ("http://ann:sec/r@e?t#secret\n@host/x", "http://***@host/x"),
        ("ann:secret@host/retrieve", "***@host/retrieve"),
    ],
)
def test_a_password_is_redacted_and_refused(url: str, shown: str) -> None:
    assert redacted(url) == shown
    with pytest.raises(ConfigError) as refused:
        refuse_password(url)
    assert "secret" not in str(refused.value) and shown in str(refused.value)


@pytest.mark.parametrize("url", ["http://host:8000/retrieve?k=3", "web+brave://", "world", "runs/index"])
def test_a_url_without_a_password_stays(url: str) -> None:
    assert redacted(url) == url
    refuse_password(url)
