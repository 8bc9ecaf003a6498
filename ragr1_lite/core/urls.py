"""URLs that may carry a password: refused where they are given, redacted where they are shown."""

from __future__ import annotations

import re

from ragr1_lite.core.errors import ConfigError

__all__ = ["redacted", "refuse_password"]

_CREDENTIALS = re.compile(r"^([\w+.-]*://)?.*@", re.DOTALL)


def redacted(url: str) -> str:
    """The URL without user name and password, for messages and files.

    All up to the last ``@`` goes, as a password may hold ``/``, ``?`` and ``@`` that nobody escaped.

    Example:
        >>> redacted("https://ann:secret@search.example.org/retrieve")
        'https://***@search.example.org/retrieve'
    """
    return _CREDENTIALS.sub(r"\1***@", url)


def refuse_password(url: str) -> None:
    """Makes sure that a URL holds no user name and no password; not for folders, whose names may hold ``@``.

    Raises:
        ConfigError: It holds one. The message does not repeat it.
    """
    if "@" in url:
        raise ConfigError(
            f"The URL {redacted(url)!r} holds a user name or password, which runs would write down",
            "Leave it out; for OpenSearch, set OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD in the environment.",
        )
