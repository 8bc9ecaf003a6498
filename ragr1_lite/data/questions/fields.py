"""What a row of a question set says, key by key, in every form a key has: lists, tables, lists within texts.

Each function raises :class:`~ragr1_lite.files.json_lines.BadLine` where a key is of a form it never has.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ragr1_lite.data.questions.question import Hop
from ragr1_lite.files.json_lines import BadLine, Row

_LONGEST_LIST = 2**16
"""Characters of a text that may be read as Python's list; JSON's may be longer."""
_LIST = re.compile(r"\s*\[\s*['\"\d\]]")
"""How a spelled list begins; *[REC]* is a film."""
_SPANS = re.compile(r"\s*\{\s*['\"]text['\"]\s*:")
_QUESTION_LABEL = re.compile(r"question\s*:", re.IGNORECASE)
_UNKNOWN = "<unk>"
"""What TriviaQA's test questions have for an answer."""
_ODD_FORM = (AttributeError, KeyError, StopIteration, TypeError, ValueError)


def flattened(row: Row) -> Row:
    """The row with its keys in lower case, and what stands under ``metadata`` next to the rest."""
    row = _lowered(row)
    if isinstance(row.get("metadata"), dict):
        row = _lowered(row.pop("metadata")) | row
    if isinstance(row.get("answer"), dict):
        row["answer"] = _lowered(row["answer"])
    if isinstance(row.get("answers"), str) and _SPANS.match(row["answers"]):
        row["answers"] = _spelled(row["answers"], "answers")
    return row


def value_of(row: Row, key: str) -> Any:
    """What stands under a key, which may be a path such as ``answer.value``; ``None`` where nothing does."""
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def is_unanswerable(row: Row) -> bool:
    """Whether the set itself says so, as some of MuSiQue's and SQuAD 2.0's questions do."""
    answers = row.get("answers")
    none = isinstance(answers, dict) and "text" in answers and not len(_listed(answers["text"]) or ())
    return row.get("answerable") is False or row.get("is_impossible") is True or none


def question_of(row: Row) -> str | None:
    """The question, or the one that a prompt ends with, as Search-R1's do; ``None`` where there is none."""
    question = row.get("question")
    if question is None and (prompt := _last_message(row.get("prompt"))):
        *before, last = _QUESTION_LABEL.split(prompt)
        question = last.partition("<|im_end|>")[0].strip().partition("\n")[0] if before else None
    return (_plain(question) or None) if isinstance(question, str) else None


def answers_of(value: Any, key: str) -> list[str]:
    """The :func:`texts_of` answers, where numbers are texts as well, and yes and no."""
    value = _listed(value)
    if is_span(value):
        columns = isinstance(value, dict)
        value = value["text"] if columns else [one.get("text") if isinstance(one, dict) else one for one in value]
    return texts_of(value, key, _as_answer)


def is_span(value: Any) -> bool:
    """Whether answers are texts with their places in a context, as SQuAD has them: a list of objects, or of columns."""
    value = _listed(value)
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "text" in first


def texts_of(value: Any, key: str, spelled: Callable[[Any], str | None] = lambda one: None) -> list[str]:
    """The texts of a list, of one text, or of a text that spells a list; blank ones are left out.

    ``spelled`` says what other values are as texts; ``None`` where they are none.
    """
    if value is None:
        return []
    if isinstance(value, str):
        value = _spelled(value, key) if _LIST.match(value) else [value]
    value, texts = _listed(value), []
    for one in value if isinstance(value, list) else [value]:
        text = one if isinstance(one, str) and one is not value else spelled(one)
        if text is None:
            raise BadLine(f"has `{key}` that are no texts but {_kind(one)}")
        texts.append(_plain(text))
    return [text for text in texts if text and text != _UNKNOWN]


def _as_answer(value: Any) -> str | None:
    """A number or a truth as text; a whole one has no point, as columns with gaps make fractions of all."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return str(int(value) if whole else value) if isinstance(value, int | float) else None


def label_of(row: Row, keys: Sequence[str]) -> str | None:
    """What stands under the first key that has text or a whole number, as text; ``None`` where none has."""
    labels = (row.get(key) for key in keys)
    found = (str(one) for one in labels if isinstance(one, str | int) and not isinstance(one, bool))
    return next((label for one in found if (label := _plain(one))), None)


def count_of(row: Row) -> int:
    """The row's ``hops``; 0 where it says none."""
    value = row.get("hops") or 0
    if isinstance(value, str) and len(value) < 4 and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadLine("has `hops` that is no whole number")
    return value


def share_of(row: Row) -> float | None:
    """The row's ``pass_rate``, from 0 to 1."""
    value = row.get("pass_rate")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise BadLine("has a `pass_rate` that is no number from 0 to 1")
    return float(value)


def hops_of(row: Row) -> tuple[Hop, ...]:
    """The steps of MuSiQue's ``question_decomposition``; a step's title may stand in the paragraph it points to."""
    steps = _opened(row, "question_decomposition")
    paragraphs = _opened(row, "paragraphs") if steps else ()
    try:
        titles = {one.get("idx", number): one["title"] for number, one in enumerate(paragraphs)}
        return tuple(Hop(_plain(step["question"]), _plain(step["answer"]), _title(step, titles)) for step in steps)
    except _ODD_FORM:
        raise BadLine("has a `question_decomposition` or `paragraphs` of an unknown form") from None


def triples_of(row: Row) -> tuple[tuple[str, str, str], ...]:
    """The subject, relation and object of each of 2WikiMultiHopQA's ``evidences``."""
    evidence = _opened(row, "evidences")
    try:
        found = _tuples(evidence, ("fact", "subject"), ("relation",), ("entity", "object"))
        return tuple((_plain(s), _plain(r), _plain(o)) for s, r, o in found)
    except _ODD_FORM:
        raise BadLine("has `evidences` of an unknown form") from None


def titles_of(row: Row, hops: Sequence[Hop] = ()) -> tuple[str, ...]:
    """The titles of the gold passages: ``gold_titles``, else of the ``supporting_facts``, else of the hops."""
    if row.get("gold_titles") is not None:
        return tuple(dict.fromkeys(texts_of(row["gold_titles"], "gold_titles")))
    facts = _opened(row, "supporting_facts")
    try:
        found = [title for title, *_ in _tuples(facts, ("title",))] or [hop.title for hop in hops]
        return tuple(dict.fromkeys(title for one in found if (title := _plain(one))))
    except _ODD_FORM:
        raise BadLine("has `supporting_facts` of an unknown form") from None


def _title(step: Row, titles: dict[Any, str]) -> str:
    support = step.get("support_paragraph")
    title = support["title"] if isinstance(support, dict) else step.get("title")
    return _plain(title or titles.get(step.get("paragraph_support_idx")) or "")


def _opened(row: Row, key: str) -> Any:
    """The list or the object under a key, be it spelled in a text; an empty list where there is nothing."""
    value = _listed(row.get(key))
    if isinstance(value, str):
        value = _spelled(value, key) if value.strip() else None
    return [] if value is None else value


def _tuples(value: Any, *names: tuple[str, ...]) -> list[list[Any]]:
    """Tuples that come as lists, as objects, or as an object of columns.

    ``names`` are, for each place in a tuple, what it may be called in an object. Raises TypeError, StopIteration or
    ValueError where they come as something else.
    """

    def under(one: dict[str, Any]) -> list[Any]:
        return [next(one[name] for name in some if name in one) for some in names]

    if isinstance(value, dict):
        return [list(one) for one in zip(*map(_items, under(value)), strict=True)]
    return [under(one) if isinstance(one, dict) else _items(one) for one in _items(value)]


def _items(value: Any) -> list[Any]:
    """A list; a text raises TypeError rather than be taken for a list of its letters."""
    value = _listed(value)
    if not isinstance(value, list | tuple):
        raise TypeError
    return list(value)


def _spelled(text: str, key: str) -> Any:
    """What a text spells in JSON or in Python, which is how tables hold lists."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape is the text's own affair
            if len(text) <= _LONGEST_LIST and not _lacks_commas(text):
                return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        pass
    raise BadLine(f"has `{key}` in a text that should spell a list and does not")


def _lacks_commas(text: str) -> bool:
    """Whether texts stand next to each other, as NumPy prints them: Python would take them for one."""
    every = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
    tokens = [token.type for token in every if token.type != tokenize.NL]
    return any(pair == (tokenize.STRING, tokenize.STRING) for pair in zip(tokens, tokens[1:], strict=False))


def _last_message(prompt: Any) -> str | None:
    """The text of a prompt, or of the last message of a conversation."""
    prompt = _listed(prompt)
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict):
        prompt = prompt[-1].get("content")
    return prompt if isinstance(prompt, str) else None


def _listed(value: Any) -> Any:
    """An array of NumPy's as a list, anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _plain(text: str) -> str:
    """The text without spaces around it; raises AttributeError where it is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLine("has half of a surrogate pair") from None
    return text.strip()


def _lowered(row: Row) -> Row:
    return {key.lower(): value for key, value in row.items()}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list within a list", bool: "yes or no", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
