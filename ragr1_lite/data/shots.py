"""Questions that a prompt answers for example, drawn from a training split."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from ragr1_lite.config import WORLD
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Example, Shot
from ragr1_lite.data.questions import Question, read_questions


def load_shots(
    count: int, data: str, source: str | None, asked: Sequence[Example], *, seed: int = 0, report: Report = ignore
) -> tuple[Shot, ...]:
    """Draws ``count`` answered questions by ``seed``, none of which is ``asked``.

    They come from ``source``, a question file or ``hub:OWNER/NAME``, or where ``data`` is the embedded world by default
    from its training split. Their thoughts are what the set says of the way to the answer; else there is none.

    Raises:
        ConfigError: No source is named, and there is none by default.
        DataError: The source cannot be used, or has too few other questions.
    """
    if source is None and data != WORLD:
        raise ConfigError(
            f"--shots needs --shots-from: where the examples for the questions of {data} come from",
            "Name a file of its training split; questions that are asked are left out.",
        )
    taken = {_key(example.question) for example in asked}
    pool = _world(count, seed) if source is None else _others(source, seed, report)
    shots = [shot for shot in pool if _key(shot.question) not in taken][:count]
    if len(shots) < count:
        raise DataError(
            f"{source or 'The world'} has {len(shots)} questions that are not asked, fewer than --shots {count}",
            "Name another file, or take fewer shots.",
        )
    return tuple(shots)


def _key(question: str) -> str:
    return " ".join(question.casefold().split())


def _world(count: int, seed: int) -> Iterator[Shot]:
    from ragr1_lite.world import questions

    for one in questions("train", seed=seed, limit=count):
        yield Shot(one.example.question, one.example.answers[0], one.multi.think)


def _others(source: str, seed: int, report: Report) -> Iterator[Shot]:
    read = read_questions(source, report=report)
    for one in random.Random(seed).sample(read, len(read)):
        yield Shot(one.example.question, one.example.answers[0], _thought(one))


def _thought(question: Question) -> str:
    """The steps or the facts of a set that has them."""
    if not question.hops:
        return " ".join(f"{' '.join(triple)}." for triple in question.triples)
    said = " ".join(f"{hop.question} {hop.answer}." for hop in question.hops)
    for number, hop in enumerate(question.hops, start=1):
        said = said.replace(f"#{number}", hop.answer)
    return said
