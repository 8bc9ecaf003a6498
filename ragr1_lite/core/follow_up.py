"""A follow-up made whole by what was asked before it: *And of Niger?* after *What is the capital of Chad?*.

By rule, for English: models small enough for a laptop search with the words that they are given, and cannot be relied
on to rewrite them. The rules would rather miss a follow-up than change a question that is whole by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PREPOSITION = "(?:of|in|for|from|by|to|at|on|with)"
_BE = "(?:is|are|was|were)"
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
_FRAGMENT = re.compile(r"(?:(?:and )?(?:what|how) about|and) ([^,;?]+?)[?.! ]*", re.IGNORECASE)
_OWNED = re.compile(
    rf"((?:(?:what|who|which|when|where|how(?: \w+)?) )?(?:{_BE}|does|do|did|has|have) (?:the \w+ of )*)"
    r"(its|his|her|their) ([^,;?]+?)[?.! ]*",
    re.IGNORECASE,
)
_OF_FORM = re.compile(rf"(?:what|who|which|how \w+) {_BE}\b", re.IGNORECASE)
_PARTICIPLE = re.compile(r"(?:ed|en|built|made)$", re.IGNORECASE)
_WORDS, _BY_SOMEBODY = r"((?:\w+\s+){0,3}\w+)[?.!\s]*", rf"who\s+(?!{_BE}\b)\w+\s+"
_TAIL = re.compile(rf"(.*\s{_PREPOSITION}\s+|{_BY_SOMEBODY}){_WORDS}", re.IGNORECASE)
"""A question whose last words are what it asks about, as *who found radium*, *the symbol of gold*."""
_TOPIC = re.compile(rf"(?:\bof\s+|^{_BY_SOMEBODY}){_WORDS}$", re.IGNORECASE)
"""Where those words are surely a thing's name."""
_PRONOUN = re.compile(
    r"\b(it|he|she|they|him|them|her(?=\W*$)|(?<!is )(?<!are )(?<!was )(?<!were )there(?=\W*$))\b", re.IGNORECASE
)
_EMPTY_IT = re.compile(
    r"\bit (?:take|takes|took|cost|costs|true|possible|called|rain|rains|snow|snows|get|gets)\b"
    r"|\bit\b.*\b(?:to|that|when|if|whether)\b|\btime (?:is|was) it\b|^why\b",
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
            answer = message["content"].strip()
    return question


def _made_whole(text: str, question: str, answer: str) -> str:
    """A question after another one and its answer."""
    asked = " ".join(text.split())
    if not question or not asked:
        return text
    match = _FRAGMENT.fullmatch(asked)
    fragment = match[1] if match else ""
    first, *others = fragment.lower().split() or [""]
    if not first or first in _OPENERS or len(others) > 4:  # a question or remark of its own
        asked = re.sub("^and ", "", asked, flags=re.IGNORECASE)
        return _named(asked[0].upper() + asked[1:], question, answer) or text
    if first == "the" and re.match(r"... [a-z].* of ", fragment):
        asked = f"What {_is(fragment.partition(' of ')[0])} {fragment}?"
        return _named(asked, question, answer) or asked
    if first in ("the", "its", "his", "her", "their") and others and not _names(fragment):
        thing = fragment.partition(" ")[2]
        owner = "its" if first == "the" else first
        return _named(f"What {_is(thing)} {owner} {thing}?", question, answer) or text
    return _continued(fragment, question) or text


def _continued(fragment: str, question: str) -> str | None:
    """The question again, with the fragment in the place of what it asked about."""
    spans, new = _names(question), fragment
    if match := re.fullmatch(rf"({_PREPOSITION}) (.+)", fragment, re.IGNORECASE):
        new, before = match[2], re.compile(rf"\b{match[1]}\s+(?:the\s+)?$", re.IGNORECASE)
        spans = [span for span in spans if before.search(question[: span[0]])] or spans
    if len(spans) == 1:
        ((start, end),) = spans
        return f"{question[:start]}{new}{question[end:]}"
    tail = None if spans else _TAIL.fullmatch(question)  # nothing has a capital, or several things have
    return f"{tail[1]}{new}?" if tail else None


def _named(asked: str, question: str, answer: str) -> str | None:
    """The question with what its pronoun means in the pronoun's place; ``None`` where it has none, or its own."""
    if owned := _OWNED.fullmatch(asked):
        opening, pronoun, thing = owned.groups()
        if (name := _meaning(pronoun.lower(), question, answer)) is None:
            return None
        if len(thing.split()) <= 2 and _OF_FORM.match(opening) and not _PARTICIPLE.search(thing):
            return f"{opening}the {thing} of {name}?"
        owner = name + ("'" if name.endswith("s") else "'s")
        return f"{opening}{owner} {thing}?"
    found = _PRONOUN.search(asked)
    if found is None or (found[1].lower() == "it" and _EMPTY_IT.search(asked)):
        return None
    before, pronoun, after = asked[: found.start()], found[1].lower(), asked[found.end() :]
    first, *words = re.sub(f"^{_PREPOSITION} ", "", before.lower() + pronoun).split()
    if first not in _OPENERS or re.search(r"[,;:]", before) or not _CLAUSES.isdisjoint(words):
        return None
    if _names(before) or _names("-" + re.sub(r"\bthan\s.*", "", after)):
        return None  # it may be meant
    name = _meaning(pronoun, question, answer)
    return None if name is None else f"{before}{'in ' if pronoun == 'there' else ''}{name}{after}"


def _meaning(pronoun: str, question: str, answer: str) -> str | None:
    """What a pronoun stands for after a question and its answer: what was asked about, or what was answered."""
    spans = _names(question)
    names = [question[start:end] for start, end in spans]
    if pronoun in ("they", "them", "their") and len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    tail = None if names else _TOPIC.search(question)
    topic = names[0] if len(names) == 1 else tail[1] if tail else None
    answered = answer if _is_name(answer) else None
    is_person = pronoun in ("he", "she", "him", "his", "her")
    by_person = re.match("(?:by )?who", question, re.IGNORECASE)
    if by_person and not is_person:
        return topic
    asks_for_it = re.match(r"(?:\w+\s+)?(?:what|which)\b", question, re.IGNORECASE) and not is_person
    before = question[: spans[-1][0]] if spans else question
    of_topic = re.search(r"\bof\s+(?:the\s+)?$" if spans else r"\bof\s", before)  # as *the capital of Chad*
    if by_person or pronoun == "there" or (asks_for_it and not of_topic):
        return answered or topic
    return topic or answered


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
    other = re.search(r"[\d,;]|[.!?]$|^(?:yes|no)\b", answer, re.IGNORECASE)
    return len(answer.split()) <= 5 and answer[:1].isupper() and other is None


def _is(noun: str) -> str:
    return "are" if re.search(r"[^s]s$", noun) else "is"
