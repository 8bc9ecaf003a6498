"""Comparisons written step by step, so that a very small model can carry them out.

The rivals get letters. Their numbers of digits are compared first, then the digits from the left. Both
digits of a pair are written before their sign, which has nothing else to be judged from; the sign at the first
difference alone says which letter wins; and the letter is followed by its name as it was before. Where the name
came straight after the sign, a 135M model took either name; where the sign came between the digits, either sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tools.world.attributes import AREA, DISCOVERED, HEIGHT, INDEPENDENCE, NUMBER, POPULATION, Attribute

_LETTERS: Final = "ABC"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared and what wins.

    Attributes:
        least: The smallest number wins, as with years; otherwise the largest.
        counted: Numbers differ in length, so their digits are counted first; years are not.
    """

    least: bool = False
    counted: bool = True

    def winner(self, numbers: Sequence[int]) -> int:
        """Index of the number that wins."""
        best = min(numbers) if self.least else max(numbers)
        return list(numbers).index(best)

    def explain(self, names: Sequence[str], numbers: Sequence[int]) -> str:
        """The thought that finds the winner, as a running best over the names.

        >>> Comparison().explain(["Chad", "Niger"], [3445, 2022])
        'A is Chad: 3,445 (4 digits). B is Niger: 2,022 (4 digits). A B: 4 4 =, 3 2 >: A. A is Chad.'
        >>> Comparison(least=True, counted=False).explain(["Mali", "Iraq"], [1960, 1932])
        'A is Mali: 1960. B is Iraq: 1932. A B: 1 1 =, 9 9 =, 6 3 after: B. B is Iraq.'
        """
        rows = zip(_LETTERS, names, numbers, strict=False)
        thoughts = [f"{letter} is {name}: {self._write(number)}." for letter, name, number in rows]
        best = 0
        for other in range(1, len(names)):
            walk = self._walk(numbers[best], numbers[other])
            rivals = f"{_LETTERS[best]} {_LETTERS[other]}"
            best = other if self.winner((numbers[best], numbers[other])) else best
            thoughts.append(f"{rivals}: {walk}: {_LETTERS[best]}.")
        return " ".join([*thoughts, f"{_LETTERS[best]} is {names[best]}."])

    def _write(self, number: int) -> str:
        digits = len(str(number))
        return f"{number:,} ({digits} digit{'s' * (digits > 1)})" if self.counted else str(number)

    def _walk(self, left: int, right: int) -> str:
        """Lengths, then digits, up to the first that differs. A sign means the same winner at every digit."""
        less, more = ("before", "after") if self.least else ("<", ">")
        pairs = [(int(a), int(b)) for a, b in zip(str(left), str(right), strict=False)]
        if self.counted:
            pairs.insert(0, (len(str(left)), len(str(right))))
        steps = []
        for a, b in pairs:
            steps.append(f"{a} {b} {more if a > b else less if a < b else '='}")
            if a != b:
                break
        return ", ".join(steps)


@dataclass(frozen=True, slots=True)
class Rivals:
    """A comparison by one attribute.

    Attributes:
        attribute: What is looked up.
        number: The field of the entity that is compared.
        rule: How it is compared.
        two: Wordings for two entities, ``{a}`` and ``{b}``.
        more: Wordings for three: ``{all}`` joins them with "and", ``{any}`` with "or".
    """

    attribute: Attribute
    number: str
    rule: Comparison
    two: tuple[str, ...]
    more: tuple[str, ...]


RIVALS: Final = (
    Rivals(
        HEIGHT,
        "metres",
        Comparison(),
        (
            "Which has the higher highest point, {a} or {b}?",
            "Which country has the higher highest point, {a} or {b}?",
            "Of {a} and {b}, which has the higher highest point?",
        ),
        (
            "Which of {all} has the highest highest point?",
            "Whose highest point is the highest: {any}?",
        ),
    ),
    Rivals(
        AREA,
        "area",
        Comparison(),
        (
            "Which has the larger area, {a} or {b}?",
            "Which country is larger in area, {a} or {b}?",
            "Of {a} and {b}, which has the larger area?",
        ),
        ("Which of {all} has the largest area?", "Which country is the largest in area: {any}?"),
    ),
    Rivals(
        POPULATION,
        "population",
        Comparison(),
        (
            "Which has the larger population, {a} or {b}?",
            "Which country has more people, {a} or {b}?",
            "Of {a} and {b}, which has the larger population?",
        ),
        ("Which of {all} has the largest population?", "Which country has the most people: {any}?"),
    ),
    Rivals(
        INDEPENDENCE,
        "independence",
        Comparison(least=True, counted=False),
        (
            "Which became independent earlier, {a} or {b}?",
            "Which country gained independence first, {a} or {b}?",
            "Of {a} and {b}, which became independent earlier?",
        ),
        ("Which of {all} became independent first?", "Which country gained independence earliest: {any}?"),
    ),
    Rivals(
        NUMBER,
        "number",
        Comparison(),
        (
            "Which has the larger atomic number, {a} or {b}?",
            "Which element has the larger atomic number, {a} or {b}?",
            "Of {a} and {b}, which has the larger atomic number?",
        ),
        ("Which of {all} has the largest atomic number?", "Which element has the largest atomic number: {any}?"),
    ),
    Rivals(
        DISCOVERED,
        "discovered",
        Comparison(least=True, counted=False),
        (
            "Which was discovered earlier, {a} or {b}?",
            "Which element was discovered first, {a} or {b}?",
            "Of {a} and {b}, which was discovered earlier?",
        ),
        ("Which of {all} was discovered first?", "Which element was discovered earliest: {any}?"),
    ),
)
