"""Foreign text without what a terminal, a browser or a reader would obey or not see. Pure text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # strings for the terminal: titles, links
    r"|\x1b.?",
    re.DOTALL,
)
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # controls, halves of characters
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # direction and line breaks
    "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # seen by nobody
)
"""Characters that do something and show nothing."""
_JOINERS = re.compile("(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]+|(?<=[\u200c\u200d])[\u200c\u200d]+")
"""Those with nothing to join: Persian, Hindi and emoji need one after a letter of theirs."""


def clean(text: str) -> str:
    r"""Foreign text without escapes, control characters, changes of direction, and characters without a width.

    >>> clean("a \x1b[31mred\x1b[0m word\x07")
    'a red word'
    """
    plain = _ESCAPE.sub("", text.replace("\r\n", "\n").replace("\t", " "))
    return _JOINERS.sub("", CONTROL.sub("", plain))


def cleaned(value: Any) -> Any:
    """A JSON value with all of its texts :func:`clean`, those of keys as well."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(one) for key, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, list | tuple) else value
