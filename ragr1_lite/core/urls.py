"""URLs that may carry a password: refused where they are given, redacted where they are shown.

An index may also be a command of this machine, ``mcp+stdio:COMMAND``, whose arguments may be as secret.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ragr1_lite.core.errors import ConfigError

__all__ = ["COMMAND", "is_address", "redacted", "refuse_password", "without_secrets"]

COMMAND = "mcp+stdio:"
"""How an index's name begins that is a command to be run."""
_CREDENTIALS = re.compile(r"^([\w+.-]*://)?.*@", re.DOTALL)


def is_address(name: str) -> bool:
    """Whether an index's name is a URL or a command, and no path."""
    return "://" in name or name.startswith(COMMAND)


def redacted(url: str) -> str:
    """The URL without user name and password, for messages and files.

    All up to the last ``@`` goes, as a password may hold ``/``, ``?`` and ``@`` that nobody escaped.

    Example:
        >>> redacted("https://ann:secret@search.example.org/retrieve")
        'https://***@search.example.org/retrieve'
    """
    return _CREDENTIALS.sub(r"\1***@", url)


def without_secrets(name: str) -> str:
    """An index's name as a log may keep it: of a URL the host, of a command the program, a path as it is.

    >>> without_secrets("https://search.example.org/mcp?key=abc"), without_secrets("mcp+stdio:server --token abc")
    ('https://search.example.org', 'mcp+stdio:server')
    """
    if name.startswith(COMMAND):
        return COMMAND + (name.removeprefix(COMMAND).split() or [""])[0]
    if not is_address(name):
        return name
    try:
        parts = urlsplit(name)
    except ValueError:
        return name.partition("://")[0] + "://"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


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
