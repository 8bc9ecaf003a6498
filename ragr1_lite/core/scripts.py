"""Scripts that are written without spaces between words, or with endings joined to them."""

from __future__ import annotations

import re

JOINED = (
    "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\U0001b000-\U0001b16f"  # Hiragana, Katakana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\uac00-\ud7a3"  # Hangul
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ece\u0edc-\u0edf"  # Lao
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "\u1000-\u103f\u1050-\u108f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a-\uaa7f"  # Burmese
)
"""Letters and marks of these scripts, for a regular expression; their digits and punctuation are not among them."""

_CHARACTER = re.compile(f"([{JOINED}])")


def spread(text: str) -> str:
    """The text with every character of these scripts as a word, so that words in it can be looked for as elsewhere.

    >>> spread("老板是Ann")
    '老 板 是 Ann'
    """
    return text if text.isascii() else " ".join(_CHARACTER.sub(r" \1 ", text).split())
