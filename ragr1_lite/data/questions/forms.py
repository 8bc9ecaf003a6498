"""The forms in which question sets come: how each is recognised, and under which keys its rows keep what.

A row is recognised by its own keys, so that a file may mix sets; the first of :data:`FORMS` that fits is its form.
Gold titles, decompositions and evidence are read wherever a row has them, whatever its form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ragr1_lite.core.types import Example
from ragr1_lite.data.other_forms import chat_form
from ragr1_lite.data.questions import fields
from ragr1_lite.data.questions.question import Question
from ragr1_lite.files.json_lines import BadLine, Row

TARGET = "reward_model.ground_truth.target"
ANSWERS = ("answers", "golden_answers", "answer", TARGET)
IDS = ("id", "_id", "question_id", "questionid", "qid")
KINDS = ("kind", "type", "data_source")
_MUSIQUE_ID = re.compile(r"(\dhop\d?)__")


@dataclass(frozen=True, slots=True)
class Form:
    """How a set's rows look. A key may name what stands within another: ``answer.value``.

    Attributes:
        name: The set's usual name.
        fits: Recognises a row.
        answers: The keys that hold its answers; the first one's first is the canonical one.
        aliases: These hold more of them.
        kinds: The first of these that a row has is the question's kind.
        hops: Facts that an answer rests on, where the rows do not say.
        title: The key with the title of the one passage that the question is about.
    """

    name: str
    fits: Callable[[Row], bool]
    answers: tuple[str, ...] = ANSWERS
    aliases: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    hops: int = 0
    title: str = ""


def _has(key: str) -> Callable[[Row], bool]:
    return lambda row: fields.value_of(row, key) is not None


def _is_hotpotqa(row: Row) -> bool:
    """Whether it has supporting facts; where these were left out, its level and type show."""
    if row.get("supporting_facts") is not None:
        return True
    return row.get("level") in ("easy", "medium", "hard") and row.get("type") in ("bridge", "comparison")


OWN = Form("ragr1-lite", lambda row: {"answers", "hops", "pass_rate"} <= {*row}, ("answers",), kinds=("kind",))
RECORD = Form("trajectories", _has("turns"), ("answers",), kinds=("kind",))
"""What a model answered is no answer to go by, so a trajectory's ``answer`` is not read."""
FORMS = (
    OWN,
    RECORD,
    Form("MuSiQue", _has("question_decomposition"), aliases=("answer_aliases",)),
    Form("2WikiMultiHopQA", _has("evidences")),
    Form("HotpotQA", _is_hotpotqa, hops=2),
    Form("SQuAD", lambda row: fields.is_span(row.get("answers")), ("answers",), hops=1, title="title"),
    Form(
        "TriviaQA",
        _has("answer.value"),
        answers=("answer.value",),
        aliases=("answer.aliases", "answer.normalized_aliases", "answer.normalizedaliases"),
    ),
    Form(
        "PopQA",
        _has("possible_answers"),
        answers=("obj", "possible_answers"),
        aliases=("possible_answers", "o_aliases"),
        kinds=("prop",),
    ),
    Form("Search-R1", _has(TARGET)),
    Form("RAG-R1", _has("golden_answers")),
    Form("NQ-open", lambda row: isinstance(row.get("answer"), list)),
    Form("DPR", lambda row: isinstance(row.get("answers"), str) and row["answers"].lstrip().startswith("[")),
    Form("plain", lambda row: True, aliases=("answer_aliases", "aliases")),
)
KEYS = (
    *IDS,
    *KINDS,
    *(key for form in FORMS for key in (*form.answers, *form.aliases, *form.kinds) if "." not in key),
    *"question prompt reward_model metadata level hops pass_rate answerable turns trajectory".split(),
    *"question_decomposition paragraphs evidences supporting_facts gold_titles title is_impossible".split(),
)
"""Every key that is read."""


def parse_question(row: dict[str, Any], number: int) -> tuple[Form, Question]:
    """The question of a row, and the row's form; ``number`` is the question's id where the row has none.

    Raises BadLine where the row has no question or no answer, or a key is of a form it never has.
    """
    row = fields.flattened(row)
    if row.get("trajectory") is not None:
        raise BadLine("is a trajectory, not a question")
    form = next(form for form in FORMS if form.fits(row))
    text, answers = fields.question_of(row), _answers(row, form)
    if text is None:
        if form_of_chat := chat_form(row):
            raise BadLine(f"is a row for chat training in {form_of_chat}'s form, not a question")
        lacking = "" if answers else f" and no `answers`, only {', '.join(f'`{key}`' for key in row) or 'nothing'}"
        raise BadLine(f"has no `question`{lacking}")
    if not answers:
        raise BadLine("has no `answers`")
    id = fields.label_of(row, IDS) or str(number)
    musique = None if form is OWN else _MUSIQUE_ID.match(id)
    kind = fields.label_of(row, form.kinds) or (musique[1] if musique else "")
    hops, triples = fields.hops_of(row), fields.triples_of(row)
    titles = fields.titles_of(row, () if form is OWN else hops) or tuple(
        fields.texts_of(row.get(form.title), form.title)
    )
    facts = 0 if form is OWN else len(hops) or len(triples) or len(titles) or form.hops
    example = Example(id, text, answers, kind, fields.count_of(row) or facts, fields.share_of(row), titles)
    return form, Question(example, hops, triples)


def _answers(row: Row, form: Form) -> tuple[str, ...]:
    """The canonical answer and its aliases, each once."""
    keys = dict.fromkeys((*form.answers, *form.aliases))
    return tuple(dict.fromkeys(text for key in keys for text in fields.answers_of(fields.value_of(row, key), key)))
