"""Facts of a decomposed question, as MuSiQue has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragr1_lite.data.questions import Hop, Question
from ragr1_lite.datagen.gold.facts import NO_WAY, Fact, Query, Rejected
from ragr1_lite.datagen.gold.relations import relation
from ragr1_lite.datagen.gold.text import clean, content, keywords, names, trusted


def of_hops(question: Question) -> tuple[Fact, ...]:
    """One fact a sub-question; those that its ``#1`` names are found before."""
    answers = [hop.answer for hop in question.hops]
    last = len(answers) - 1
    return tuple(
        _of_hop(hop, answers, question.example.answers if at == last else ()) for at, hop in enumerate(question.hops)
    )


def _of_hop(hop: Hop, answers: Sequence[str], accepted: Sequence[str]) -> Fact:
    after = tuple(int(number) - 1 for number in re.findall(r"#(\d+)", hop.question))
    if not all(0 <= at < len(answers) for at in after):
        raise Rejected(NO_WAY)
    filled = re.sub(r"#(\d+)(?: (?='s))?", lambda number: _bare(answers[int(number[1]) - 1]), hop.question)
    subject, arrow, name = filled.partition(">>")
    if not arrow:
        return _worded(hop, clean(filled).rstrip(" ?"), accepted, after)
    subject, form = clean(subject), relation(clean(name))
    objects, known = form.objects(hop.answer), tuple(content(subject))
    return Fact(
        queries=(Query(form.query.format(s=subject), known), Query(subject, known)),
        asks=form.asks.format(s=subject),
        says=form.says.format(s=subject, o=_said(objects[0])),
        subject=subject,
        values=(*objects, *trusted(accepted)),
        title=hop.title,
        after=after,
    )


def _worded(hop: Hop, question: str, accepted: Sequence[str], after: tuple[int, ...]) -> Fact:
    """The fact of a sub-question in words."""
    known = tuple(names(question))
    return Fact(
        queries=tuple(Query(text, known) for text in dict.fromkeys((keywords(question), question))),
        asks=f"{question[:1].upper()}{question[1:]}?",
        says=f"it is {_said(hop.answer)}",
        subject=" ".join(known),
        values=(hop.answer, *trusted(accepted)),
        title=hop.title,
        after=after,
        worded=True,
    )


def _bare(answer: str) -> str:
    """An answer as part of a question: ``in London`` is ``London`` there."""
    return re.sub(r"^(?:in|at|on|under|by|from|to) ", "", _said(answer))


def _said(answer: str) -> str:
    """An answer without quotation marks and the full stop in them."""
    return clean(answer.replace('."', '"'))
