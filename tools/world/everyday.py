"""Everyday questions that need no search: a very small model knows the answer or can work it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from tools.world.tables import pick


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its thought and its accepted answers, the canonical one first."""

    id: str
    question: str
    think: str
    answers: tuple[str, ...]


_OPPOSITES = """
hot cold, big small, up down, left right, day night, black white, open closed, old young, fast slow, high low, rich
poor, happy sad, full empty, wet dry, hard soft, heavy light, early late, long short, strong weak, good bad, near
far, in out, on off, first last, true false, clean dirty, loud quiet, wide narrow, thick thin, sweet sour, push
pull, win lose, buy sell, start stop, love hate, friend enemy, war peace, life death, summer winter, inside outside,
before after, above below, front back, alive dead, safe dangerous, easy difficult, always never, everything nothing,
remember forget, give take, laugh cry, north south, east west, male female, top bottom
"""
_PLURALS = """
child children, man men, woman women, foot feet, tooth teeth, mouse mice, goose geese, person people, leaf leaves,
knife knives, wolf wolves, city cities, baby babies, box boxes, bus buses, dog dogs, cat cats, house houses, book
books, tree trees, car cars, apple apples, church churches, story stories, country countries, wife wives, life
lives, half halves, loaf loaves, glass glasses, watch watches, lady ladies, potato potatoes, hero heroes
"""
_PAST = """
go went, eat ate, see saw, run ran, come came, take took, give gave, write wrote, drink drank, sing sang, swim swam,
break broke, speak spoke, drive drove, fly flew, know knew, grow grew, begin began, buy bought, think thought, bring
brought, teach taught, find found, make made, say said, walk walked, play played, jump jumped, talk talked, look
looked, sleep slept, keep kept, feel felt, leave left, lose lost, sit sat, stand stood
"""
_SOUNDS = """
dog bark, cat meow, cow moo, duck quack, lion roar, pig oink, sheep baa, horse neigh, bee buzz, snake hiss, frog croak,
owl hoot
"""
_YOUNG = """
dog puppy, cat kitten, cow calf, sheep lamb, horse foal, pig piglet, duck duckling, goose gosling, hen chick, bear
cub, lion cub, deer fawn, goat kid, kangaroo joey, frog tadpole, swan cygnet
"""
_COLOURS = """
grass green, snow white, coal black, blood red, a banana yellow, a ripe lemon yellow, an orange orange, a carrot
orange, milk white, a clear sky blue, a strawberry red, an emerald green, a ruby red, chocolate brown, spinach green
"""
_SIDES = """
a triangle 3 three, a square 4 four, a rectangle 4 four, a pentagon 5 five, a hexagon 6 six, a heptagon 7 seven,
an octagon 8 eight
"""
_LEGS = """
a dog 4 four, a cat 4 four, a horse 4 four, a cow 4 four, a bird 2 two, a spider 8 eight, an ant 6 six, a bee 6 six,
a chicken 2 two, a snake 0 zero, an elephant 4 four, a fish 0 zero
"""
_AMOUNTS = """
days|a week|7|seven; months|a year|12|twelve; hours|a day|24|twenty-four; minutes|an hour|60|sixty; seconds|a
minute|60|sixty; days|a leap year|366|366 days; years|a century|100|one hundred; years|a decade|10|ten; eggs|a
dozen|12|twelve; cents|a dollar|100|one hundred; centimetres|a metre|100|one hundred; metres|a kilometre|1000|1,000;
grams|a kilogram|1000|1,000; letters|the English alphabet|26|twenty-six; seasons|a year|4|four; weeks|a
year|52|fifty-two; players|a football team|11|eleven; wheels|a bicycle|2|two; wheels|a tricycle|3|three; colours|a
rainbow|7|seven; fingers|one hand|5|five; sides|a coin|2|two; quarters|a whole|4|four; halves|a whole|2|two
"""
_MONTHS = """
January February March April May June July August September October November December
"""
_DAYS = """
Monday Tuesday Wednesday Thursday Friday Saturday Sunday
"""
_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen
"""


def _rows(text: str) -> list[tuple[str, str]]:
    """``"a dog 4, grass green"`` as pairs: the last word, and all that is before it."""
    return [(left, right) for left, _, right in (" ".join(row.split()).rpartition(" ") for row in text.split(","))]


def _pairs(kind: str, text: str, ask: tuple[str, ...], fact: str) -> Iterator[Item]:
    for left, right in _rows(text):
        aliases = {"sound": (f"{right}s", f"{right}ing"), "young": (f"a {right}",)}.get(kind, ())
        yield _item(f"{kind}-{left}", ask, fact, left, (right, *aliases))


def _item(id: str, ask: tuple[str, ...], fact: str, left: str, answers: tuple[str, ...]) -> Item:
    id = id.lower().replace(" ", "-")
    question = pick(ask, f"{id}:ask").format(a=left)
    return Item(id, question, f"No search is needed: {fact.format(a=left, b=answers[0])}.", answers)


def _numbers(kind: str, text: str, ask: tuple[str, ...], fact: str) -> Iterator[Item]:
    for row in text.split(","):
        left, number, word = " ".join(row.split()).rsplit(" ", 2)
        yield _item(f"{kind}-{left}", ask, fact, left, (number, word))


def _amounts() -> Iterator[Item]:
    for row in _AMOUNTS.split(";"):
        unit, whole, number, word = " ".join(row.split()).split("|")
        ask = (f"How many {unit} are in {{a}}?", f"How many {unit} does {{a}} have?")
        fact = f"{{a}} has {{b}} {unit}"
        yield _item(f"amount-{unit}-{whole}", ask, fact, whole, (number, word, f"{number} {unit}", f"{word} {unit}"))


def _calendar(kind: str, names: list[str]) -> Iterator[Item]:
    unit = "day" if len(names) == 7 else "month"
    for index, name in enumerate(names):
        after, before = names[(index + 1) % len(names)], names[index - 1]
        ask = (f"Which {unit} comes after {{a}}?", f"What is the {unit} after {{a}}?")
        yield _item(f"{kind}-after-{name}", ask, "after {a} comes {b}", name, (after,))
        ask = (f"Which {unit} comes before {{a}}?", f"What is the {unit} before {{a}}?")
        yield _item(f"{kind}-before-{name}", ask, "before {a} comes {b}", name, (before,))


def _sums() -> Iterator[Item]:
    words = _WORDS.split()
    ask = ("What is {a}?", "How much is {a}?")
    for a in range(1, 10):
        for b in range(1, 10):
            if (a * 7 + b * 3) % 2 == 0:
                yield _item(f"sum-{a}-{b}", ask, "{a} = {b}", f"{a} + {b}", (str(a + b), words[a + b]))
            elif a > b:
                yield _item(f"difference-{a}-{b}", ask, "{a} = {b}", f"{a} - {b}", (str(a - b), words[a - b]))


def _letters() -> Iterator[Item]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ask = ("Which letter comes after {a} in the alphabet?", "What is the next letter of the alphabet after {a}?")
    for left, right in zip(alphabet, alphabet[1:], strict=False):
        yield _item(f"letter-{left}", ask, "after {a} comes {b}", left, (right,))


_PAIRS: Final = (
    (
        "opposite",
        _OPPOSITES,
        ("What is the opposite of {a}?", "Which word is the opposite of {a}?"),
        "the opposite of {a} is {b}",
    ),
    (
        "plural",
        _PLURALS,
        ("What is the plural of {a}?", "What is the plural form of the word {a}?"),
        "the plural of {a} is {b}",
    ),
    (
        "past",
        _PAST,
        ("What is the past tense of {a}?", "What is the past tense of the verb {a}?"),
        "the past tense of {a} is {b}",
    ),
    (
        "sound",
        _SOUNDS,
        ("What sound does the {a} make?", "Which sound is made by the {a}?"),
        "the sound of the {a} is {b}",
    ),
    (
        "young",
        _YOUNG,
        ("What is a young {a} called?", "What is a baby {a} called?"),
        "a young {a} is called {b}",
    ),
    ("colour", _COLOURS, ("What colour is {a}?", "Which colour does {a} have?"), "the colour of {a} is {b}"),
)


@cache
def items() -> tuple[Item, ...]:
    """All everyday items, always the same and in the same order."""
    pairs = [item for kind, text, ask, fact in _PAIRS for item in _pairs(kind, text, ask, fact)]
    corners = ("How many sides does {a} have?", "How many corners does {a} have?")
    return (
        *pairs,
        *_numbers("sides", _SIDES, corners, "{a} has {b}"),
        *_numbers("legs", _LEGS, ("How many legs does {a} have?",), "{a} has {b} legs"),
        *_amounts(),
        *_calendar("month", _MONTHS.split()),
        *_calendar("day", _DAYS.split()),
        *_letters(),
        *_sums(),
    )
