"""Varied texts for tokenizers: the same in every run."""

from __future__ import annotations

import random

_KINDS = [
    "the The of Paris don't I'LL we've naïve Straße ΑΘΗΝΑ Москва İstanbul co-op e.g. U.S.A. O’Neill étude".split(),
    "0 7 12 345 1,234,567 3.14 1e-5 0x1F ٣٤ ½ ² 2021-05-04 +49(30)1 １２ Ⅷ 99%".split(),
    [" ", "  ", "   ", " " * 7, " " * 31, " " * 40, "\t", "\t\t", "\n", "\n\n", "\n" * 5, "\r\n", "\u00a0", "\u2003"],
    "東京都 한국어 ไทย हिन्दी العربية עברית e\u0301 é ﬁ 🏰 👩🏽\u200d🚀 \U0001f1eb\U0001f1f7 \x00 \ufffd ▁ Ġ ÿ".split(),
    "def f(x): return {'a':[1,2]} !== -> :: // #include<a.h> $x; \\n ` ~~~ a_b_C HTTPServer x+=1 /* */ λ".split(),
    (
        "<|im_end|> <|im_start|>user <|endoftext|> <bos> <eos> <end_of_turn> <start_of_turn> <tool_call> <table> "
        "<unused7> <0x0A> [PAD151665] <think> </search> <|fim_prefix|> [multimodal] <mask> </div> <pad> <unk>"
    ).split(),
]
"""Words, digits, spaces, other scripts, code, and what is or looks like a token of its own."""


def texts(number: int) -> list[str]:
    """So many texts: each kind alone, in turn with all kinds together."""
    draw = random.Random(14)
    kinds = [*_KINDS, [piece for kind in _KINDS for piece in kind]]
    made = []
    for at in range(number):
        pieces = draw.choices(kinds[at % len(kinds)], k=draw.randint(1, 12))
        made.append(draw.choice(["", " ", ", ", "\n"]).join(pieces))
    return made
