"""Passwords in URLs: nothing that is shown or written holds them."""

from __future__ import annotations

import pytest

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.urls import is_address, redacted, refuse_password, without_secrets


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


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("world", "world"),
        ("runs/in@dex?x", "runs/in@dex?x"),
        ("https://ann:s3cret@host:8/k/s3cret?key=s3cret#s3cret", "https://host:8"),
        ("mcp+stdio:/bin/server --key s3cret", "mcp+stdio:/bin/server"),
        ("mcp+stdio:", "mcp+stdio:"),
        ("http://[s3cret", "http://"),
    ],
)
def test_a_log_names_an_index_without_what_may_be_secret(name: str, kept: str) -> None:
    assert without_secrets(name) == kept
    assert is_address(name) == (":" in name)
