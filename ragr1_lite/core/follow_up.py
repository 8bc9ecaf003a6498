"""A follow-up made whole by what was asked before it: *And of Niger?* after *What is the capital of Chad?*.

By rule, for English: models small enough for a laptop search with the words that they are given, and cannot be relied
on to rewrite them. The rules would rather miss a follow-up than change a question that is whole by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PREPOSITIONS = "of in for from by to at on with".split()
_OPENERS = frozenset(
    "what which who whom whose when where why how is are was were do does did has have had can could will would "
    "name list then now so yet also not you me us it he she they them him her there this that these those".split()
)
"""How questions begin, and remarks; a fragment after *and* that begins so is one of its own."""
_CLAUSES = frozenset(
    "that which who whose whom when where while before after because since until if as and or but than".split()
)
"""What stands between a pronoun and the beginning of its question, where the question may say whom it means."""
_WITHIN_NAMES = frozenset("of the de da do del di du la le van von der den el al bin".split())
_FRAGMENT = re.compile(r"(?:(?:and\s+)?(?:what|how)\s+about|and)\s+([^,;?]+?)[?.!\s]*", re.IGNORECASE)
_WITH_PREPOSITION = re.compile(rf"({'|'.join(_PREPOSITIONS)})\s+(.+)", re.IGNORECASE)
_PROPERTY = re.compile(r"(the|its|his|her|their)\s+(.+)", re.IGNORECASE)
_LEADING_AND = re.compile(r"and\s+", re.IGNORECASE)
_LEADING_PREPOSITION = re.compile(rf"(?:{'|'.join(_PREPOSITIONS)})\s+", re.IGNORECASE)
_BE = "is|are|was|were"
_OWNED = re.compile(
    rf"((?:what|who|which|when|where|how(?:\s+\w+)?)\s+(?:{_BE}|does|do|did)\s+(?:the\s+\w+\s+of\s+)*"
    rf"|(?:{_BE}|does|do|did|has|have)\s+)(its|his|her|their)\s+([^,;?]+?)[?.!\s]*",
    re.IGNORECASE,
)
_OF_FORM = re.compile(rf"(?:what|who|which|how\s+\w+)\s+(?:{_BE})\b", re.IGNORECASE)
_PARTICIPLE = re.compile(r"(?:ed|en|built|made)$", re.IGNORECASE)
_WORDS = r"(?:\w+\s+){0,3}\w+[?.!\s]*"
_BY_SOMEBODY = rf"who\s+(?!(?:{_BE})\b)\w+\s+"
_TAIL = re.compile(rf"(.*\s(?:{'|'.join(_PREPOSITIONS)})\s+|{_BY_SOMEBODY}){_WORDS}", re.IGNORECASE)
"""A question whose last words are what it asks about, as *who found radium*, *the symbol of gold*."""
_PRONOUN = re.compile(
    r"\b(it|he|she|they|him|them|her(?=\W*$)|(?<!is )(?<!are )(?<!was )(?<!were )there(?=\W*$))\b", re.IGNORECASE
)
_EMPTY_IT = re.compile(
    r"\bit\s+(?:take|takes|took|cost|costs|true|possible|called|rain|rains|snow|snows|get|gets)\b"
    r"|\bit\b.*\b(?:to|that|when|if|whether)\b|\btime\s+(?:is|was)\s+it\b|^why\b",
    re.IGNORECASE,
)
"""*How long does it take?* means nothing that was named before."""


def whole_question(messages: Sequence[Mapping[str, str]]) -> str:
    """The last question of a conversation, as it would be asked without the others; unchanged where it stands alone.

    Args:
        messages: ``{"role": "user" | "assistant", "content": TEXT}`` each, in order; other roles are passed over.

    Example:
        >>> asked = [{"role": "user", "content": "What is the capital of Chad?"}]
        >>> whole_question([*asked, {"role": "user", "content": "And of Niger?"}])
        'What is the capital of Niger?'
        >>> whole_question([*asked, {"role": "user", "content": "How large is it?"}])
        'How large is Chad?'
    """
    question, answer = "", ""
    for message in messages:
        if message["role"] == "user":
            question, answer = _made_whole(message["content"], question, answer), ""
        elif message["role"] == "assistant":
            answer = message["content"]
    return question


def _made_whole(text: str, question: str, answer: str) -> str:
    """A question after another one and its answer."""
    asked = " ".join(text.split())
    if not question or not asked:
        return text
    if not (match := _FRAGMENT.fullmatch(asked)) or not _is_fragment(fragment := match[1]):
        asked = _LEADING_AND.sub("", asked, count=1)
        return _named(asked[0].upper() + asked[1:], question, answer) or text
    if re.match(r"[Tt]he\s+[a-z].*\s+of\s+", fragment):
        asked = f"What {_is(fragment.partition(' of ')[0])} {fragment}?"
        return _named(asked, question, answer) or asked
    if (own := _PROPERTY.fullmatch(fragment)) and not _names(f"- {own[2]}"):
        owner = "its" if own[1].lower() == "the" else own[1]
        return _named(f"What {_is(own[2])} {owner} {own[2]}?", question, answer) or text
    return _continued(fragment, question) or text


def _is_fragment(text: str) -> bool:
    """Whether what follows *and* or *what about* is a few words, and no question or remark of its own."""
    words = text.lower().split()
    return len(words) <= 5 and words[0] not in _OPENERS


def _continued(fragment: str, question: str) -> str | None:
    """The question again, with the fragment in the place of what it asked about."""
    spans, new = _names(question), fragment
    if with_preposition := _WITH_PREPOSITION.fullmatch(fragment):
        new = with_preposition[2]
        before = rf"\b{with_preposition[1]}\s+(?:the\s+)?$"
        spans = [span for span in spans if re.search(before, question[: span[0]], re.IGNORECASE)] or spans
    if len(spans) == 1:
        ((start, end),) = spans
        return f"{question[:start]}{new}{question[end:]}"
    tail = None if spans else _TAIL.fullmatch(question)  # nothing has a capital, or several things have
    return f"{tail[1]}{new}?" if tail else None


def _named(asked: str, question: str, answer: str) -> str | None:
    """The question with what its pronoun means in the pronoun's place; ``None`` where it has none, or its own."""
    if owned := _OWNED.fullmatch(asked):
        opening, pronoun, thing = owned.groups()
        if (name := _meaning(pronoun, question, answer)) is None:
            return None
        if len(thing.split()) <= 2 and _OF_FORM.match(opening) and not _PARTICIPLE.search(thing):
            return f"{opening}the {thing} of {name}?"
        owner = name + ("'" if name.endswith("s") else "'s")
        return f"{opening}{owner} {thing}?"
    found = _PRONOUN.search(asked)
    if found is None or (found[1].lower() == "it" and _EMPTY_IT.search(asked)):
        return None
    before, after = asked[: found.start()], asked[found.end() :]
    first, *words = _LEADING_PREPOSITION.sub("", before + found[1], count=1).lower().split()
    if first not in _OPENERS or re.search(r"[,;:]", before) or not _CLAUSES.isdisjoint(words):
        return None
    if _names(before) or _names("-" + re.sub(r"\bthan\s.*", "", after)):
        return None  # it may be meant
    if (name := _meaning(found[1], question, answer)) is None:
        return None
    return f"{before}{'in ' if found[1].lower() == 'there' else ''}{name}{after}"


def _meaning(pronoun: str, question: str, answer: str) -> str | None:
    """What a pronoun stands for after a question and its answer."""
    pronoun, topic = pronoun.lower(), _topic(question)
    named = answer if _is_name(answer := answer.strip()) else None
    by_person = re.match(r"(?:by\s+)?who", question, re.IGNORECASE) is not None
    if pronoun in ("he", "she", "him", "his", "her"):
        return named or topic if by_person else topic or named
    if pronoun in ("they", "them", "their") and len(spans := _names(question)) > 1:
        *first, last = (question[start:end] for start, end in spans)
        return f"{', '.join(first)} and {last}"
    if by_person:
        return topic
    if pronoun == "there":
        return named or topic
    asks_for_it = re.match(r"(?:\w+\s+)?(?:what|which)\b", question, re.IGNORECASE) is not None
    return named or topic if asks_for_it and not _of_topic(question) else topic or named


def _topic(question: str) -> str | None:
    """What a question is about: its one name; in lower case its last words."""
    if spans := _names(question):
        ((start, end), *others) = spans
        return None if others else question[start:end]
    tail = re.search(rf"(?:\bof\s+|^{_BY_SOMEBODY})({_WORDS})$", question, re.IGNORECASE)
    return tail[1].rstrip("?.! ") if tail else None


def _of_topic(question: str) -> bool:
    """Whether a question asks for something of its topic, as *the capital of Chad*."""
    spans = _names(question)
    before = question[: spans[-1][0]] if spans else question
    return re.search(r"\bof\s+(?:the\s+)?$" if spans else r"\bof\s", before) is not None


def _names(text: str) -> list[tuple[int, int]]:
    """Where the names in a text begin and end: words with capitals, the first word of all left out."""
    found: list[tuple[int, int]] = []
    last = -1  # where the name, with what may lead on to more of it, ends
    for word in list(re.finditer(r"[^\s,;:?!\"()“”]+", text))[1:]:
        plain = re.sub(r"(?:['’]s|\.)$", "", word[0])
        start, end = word.start(), word.start() + len(plain)
        goes_on = last >= 0 and text[last:start] == " "
        if plain != "I" and any(letter.isupper() for letter in plain):
            found.append((found.pop()[0] if goes_on else start, end))
            last = end
        else:
            last = end if goes_on and plain in _WITHIN_NAMES else -1
    return found


def _is_name(answer: str) -> bool:
    """Whether an answer is a few words with a capital first, and no sentence, list, number, yes or no."""
    words = answer.split()
    other = re.search(r"[\d,;]|[.!?]$|^(?:yes|no)\b", answer, re.IGNORECASE)
    return 0 < len(words) <= 5 and words[0][0].isupper() and other is None


def _is(noun: str) -> str:
    return "are" if re.search(r"[^s]s$", noun) else "is"
