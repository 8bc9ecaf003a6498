"""What every question must stand: its passages are found again, and it is not answered without them."""

from __future__ import annotations

from collections.abc import Sequence

from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.data.questions import to_row
from ragr1_lite.datagen.questions.asking import Asker
from ragr1_lite.datagen.questions.facts import holds
from ragr1_lite.datagen.questions.rules import Made, Sought
from ragr1_lite.files.journal import Rows

Found = tuple[Passage, ...]


def judge(made: Sequence[Made], searcher: Searcher, k: int, asker: Asker | None) -> Rows:
    """A row per question, in order: ``{"question": …}`` as question files have it, or ``{"rejected": reason}``.

    Args:
        made: The questions.
        searcher: Has to find their passages.
        k: Among so many per query.
        asker: A teacher, which must not know the answers, and must see them in what was found; without one, neither
            is tried.
    """
    found = _search(made, searcher, k)
    reasons = [one.reason or _not_found(one, their) for one, their in zip(made, found, strict=True)]
    if asker is not None:
        left = [number for number, reason in enumerate(reasons) if not reason]
        for number, reply in zip(left, asker.answer_unread([_text(made[one]) for one in left]), strict=True):
            reasons[number] = "known without reading" if _answers(made[number], reply) else ""
        left = [number for number in left if not reasons[number]]
        documents = [[*dict.fromkeys(passage for each in found[one] for passage in each)] for one in left]
        replies = asker.answer_read([_text(made[one]) for one in left], documents)
        for number, reply in zip(left, replies, strict=True):
            reasons[number] = "" if _answers(made[number], reply) else "not answered from what is found"
    return [
        {"question": to_row(one.question)} if one.question and not reason else {"rejected": reason}
        for one, reason in zip(made, reasons, strict=True)
    ]


def _search(made: Sequence[Made], searcher: Searcher, k: int) -> list[list[Found]]:
    """What each question's searches find, all of them in one call."""
    results = iter(searcher.search([sought.query for one in made for sought in one.sought], k))
    return [[next(results) for _ in one.sought] for one in made]


def _not_found(made: Made, found: Sequence[Found]) -> str:
    there = all(map(_is_among, made.sought, found))
    return "" if there else "passage not found again"


def _is_among(sought: Sought, found: Found) -> bool:
    own = [passage for passage in found if passage.title == sought.title]
    return any(not sought.forms or holds(passage.text, sought.forms) for passage in own)


def _text(made: Made) -> str:
    return made.question.example.question if made.question else ""


def _answers(made: Made, reply: str) -> bool:
    return made.question is not None and holds(reply, made.question.example.answers)
