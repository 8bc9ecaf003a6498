"""Relations in English: how a question asks for one, describes something by one, or compares two things by one."""

from __future__ import annotations

import re

from ragr1_lite.datagen.gold.values import Date, Quantity, read_date, read_quantity

_SAME = {
    "birth date": "date of birth", "birthdate": "date of birth", "death date": "date of death",
    "birthplace": "place of birth", "birth place": "place of birth", "nationality": "country of citizenship",
    "citizenship": "country of citizenship", "release date": "publication date", "released": "publication date",
    "date of release": "publication date", "published": "publication date", "established": "date of founding",
    "date of foundation": "date of founding", "foundation": "date of founding", "directed by": "director",
    "located": "located in", "location": "located in", "born": "date of birth", "died": "date of death",
    "composed by": "composer", "performed by": "performer", "alma mater": "educated at", "written by": "writer",
    "led by": "leader", "built by": "builder", "owned by": "owner", "run by": "manager",
    "discovered by": "discoverer", "made by": "maker", "invented by": "inventor", "designed by": "designer",
    "published by": "publisher", "produced by": "producer", "edited by": "editor", "created by": "creator",
    "painted by": "painter", "opening": "date of opening", "long": "length", "high": "height", "tall": "height",
    "wide": "width", "deep": "depth",
}  # fmt: skip
_ASK = {
    "date of birth": "When was {} born?",
    "date of death": "When did {} die?",
    "place of birth": "Where was {} born?",
    "place of death": "Where did {} die?",
    "place of burial": "Where is {} buried?",
    "cause of death": "What was the cause of death of {}?",
    "country of citizenship": "What is the nationality of {}?",
    "country": "Which country does {} belong to?",
    "inception": "When was {} founded?",
    "publication date": "When did {} come out?",
    "educated at": "Where was {} educated?",
    "located in": "Where is {} located?",
    "founded by": "Who founded {}?",
}
DONE_BY = sorted(name.removesuffix(" by") for name in (*_SAME, *_ASK) if name.endswith(" by"))
"""What is done by someone that a question asks for."""
_PHRASE = {
    "country of citizenship": "the country that {} is a citizen of",
    "educated at": "the school where {} was educated",
    "founded by": "the founder of {}",
    "place of birth": "the birthplace of {}",
    "place of death": "the place where {} died",
    "located in": "the place where {} is located",
}
_COMPARE = {
    "date of birth": "Who was born {}, {} or {}?",
    "date of death": "Who died {}, {} or {}?",
    "inception": "Which was founded {}, {} or {}?",
    "publication date": "Which came out {}, {} or {}?",
}
_DATED = frozenset({*_COMPARE, "start", "end", "beginning"})
_PERSONS = frozenset("""
    actor actress admiral architect artist author baker brother builder captain chair chairman chairperson
    chairwoman chancellor chef chief child coach commander composer conductor consort creator curator daughter
    dean designer developer director discoverer editor emperor engineer explorer farmer father founder general
    governor harbourmaster head headmaster heir husband inventor keeper king leader librarian maker manager
    mayor miller minister mother musician narrator organist owner painter parent partner performer philosopher
    pilot player poet president principal producer professor queen rector ruler scientist screenwriter sculptor
    secretary sibling singer sister son songwriter spouse successor teacher translator warden wife winner writer
""".split())  # fmt: skip
_PERSON_ENDS = ("master", "keeper", "woman", "wright", "smith", "ologist", "ographer")
_DONE = {"building": "built", "beginning": "begun", "making": "made", "writing": "written", "signing": "signed"}
_BECAME = re.compile(r"date of ([a-z]+ing)")
_SMALL = frozenset(
    "about after also as at before by during for from in is near of on since than to under was with".split()
)
_MANY = frozenset(
    "award brother child daughter genre hobby language member occupation profession sibling sister son".split()
)
"""Most subjects have several of these, even where a source names one."""
_NOT_NOUNS = frozenset("active available closed complete dead done known new old open public true false".split())
_LABELS = frozenset("chapter code edition grade id isbn issn number page phone position rank version year zip".split())
_RELATION = re.compile(r"[^\W\d_][^\W\d_'’-]*(?:[ '’-][^\W\d_]+)*")
_LONGEST = 5


class NoWording(Exception):
    """No question that reads as English is known for a relation."""


def relation_name(text: str) -> str:
    """A relation as it stands within a sentence; its different names become one.

    >>> relation_name("Birth date"), relation_name("Highest Point"), relation_name("GDP")
    ('date of birth', 'highest point', 'GDP')
    """
    words = [word if word.isupper() and len(word) > 1 else word.lower() for word in text.replace("_", " ").split()]
    name = " ".join(words)
    return _SAME.get(name) or _date_of(name) or name


def _date_of(name: str) -> str:
    """``date of opening`` for ``opened``: a fact needs a noun for its name."""
    known = next((f"date of {doing}" for doing, done in _DONE.items() if done == name), "")
    return known or (f"date of {name[:-2]}ing" if re.fullmatch(r"[a-z]{2,}[^e\W]ed", name) else "")


def _done(relation: str) -> str:
    """``opened`` for ``date of opening``."""
    doing = _BECAME.fullmatch(relation)
    return (_DONE.get(doing[1]) or doing[1].removesuffix("ing") + "ed") if doing else ""


def is_dated(relation: str) -> bool:
    """Whether a bare number of four digits is a year here."""
    words = relation.split()
    return relation in _DATED or "date" in words or words[-1:] == ["year"]


def value_of(relation: str, text: str) -> Date | Quantity | None:
    """What a relation's object can be compared by."""
    if day := read_date(text, years=is_dated(relation)):
        return day
    return None if is_dated(relation) or _LABELS & {*relation.lower().split()[-1:]} else read_quantity(text)


def ask(relation: str, subject: str, answer: str) -> str:
    """The question for one fact; raises NoWording where the relation or the answer is of another form.

    >>> ask("director", "Get Low", "Dillon Francis"), ask("rooms", "Gull House", "12")
    ('Who is the director of Get Low?', 'How many rooms does Gull House have?')
    """
    value = value_of(relation, answer)
    if is_dated(relation) and not isinstance(value, tuple):
        raise NoWording
    if relation in _ASK:
        return _ASK[relation].format(subject)
    if done := _done(relation):
        return f"When was {subject} {done}?"
    if _is_plural(relation):
        if isinstance(value, Quantity) and not value.unit and value.number.is_integer():
            return f"How many {relation} does {subject} have?"
        raise NoWording
    person = _head(relation) in _PERSONS or _head(relation).endswith(_PERSON_ENDS)
    return f"{'Who' if person else 'What'} is the {_noun(relation)} of {subject}?"


def phrase(relation: str, subject: str) -> str:
    """An object by its fact: ``the director of Get Low``; raises NoWording where the relation is no singular noun."""
    if relation in _PHRASE:
        return _PHRASE[relation].format(subject)
    if _is_plural(relation):
        raise NoWording
    return f"the {_noun(relation)} of {subject}"


def compare(relation: str, value: Date | Quantity, more: bool, one: str, other: str) -> str:
    """The question which of two has more or less, or the later or earlier date; raises NoWording as :func:`ask`.

    >>> compare("population", Quantity(3210), True, "Oakvale", "Ashby")
    'Which has the greater population, Oakvale or Ashby?'
    """
    if isinstance(value, tuple):
        when = "later" if more else "earlier"
        if relation in _COMPARE:
            return _COMPARE[relation].format(when, one, other)
        if done := _done(relation):
            return f"Which was {done} {when}, {one} or {other}?"
        return f"Which has the {when} {_noun(relation)}, {one} or {other}?"
    if _is_plural(relation):
        if value.unit or not value.number.is_integer():
            raise NoWording
        return f"Which has {'more' if more else 'fewer'} {relation}, {one} or {other}?"
    return f"Which has the {'greater' if more else 'smaller'} {_noun(relation)}, {one} or {other}?"


def _noun(relation: str) -> str:
    """The relation, if it is a noun phrase of which a subject has one."""
    words = relation.lower().split()
    if len(words) > _LONGEST or re.search("[^e]ed$", words[-1]):
        raise NoWording
    if {_head(relation), words[0]} & _MANY or {words[0], words[-1]} & _SMALL or words[-1] in _NOT_NOUNS:
        raise NoWording
    return relation


def _is_plural(relation: str) -> bool:
    """Whether it is a noun of which a subject has several; raises NoWording where it is no noun."""
    if not _RELATION.fullmatch(relation) or relation.split()[0] in ("the", "our", "ours"):
        raise NoWording
    return re.search(r"(?<![suio])s$", _head(relation)) is not None


def _head(relation: str) -> str:
    """The noun that the rest of a relation says more about: ``trains`` of ``trains each way``."""
    words = re.split(r" (?:of|each|per|in|on|at|for|from|to|by|above) ", relation.lower())[0].split()
    return words[-1] if words else ""
