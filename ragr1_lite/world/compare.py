"""Comparisons written step by step, so that a very small model can carry them out.

First it is compared how many digits the numbers have, then their digits from the left; the first difference decides.
Each step is a few tokens. The step that decides is followed by the winning number, not by its owner: a digit just
written is continued to a number seen above, and the name stands before that number. Asked for the name at once, a
135M model wrote the right digits and then took either name half the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ragr1_lite.world.attributes import AREA, DISCOVERED, HEIGHT, INDEPENDENCE, NUMBER, POPULATION, Attribute


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared and what wins.

    Attributes:
        adjective: Of the winner, such as "higher".
        least: The smallest number wins, as with years; otherwise the largest.
        counted: Numbers differ in length, so their digits are counted first; years are not.
    """

    adjective: str
    least: bool = False
    counted: bool = True

    def winner(self, numbers: Sequence[int]) -> int:
        """Index of the number that wins."""
        best = min(numbers) if self.least else max(numbers)
        return list(numbers).index(best)

    def explain(self, names: Sequence[str], numbers: Sequence[int]) -> str:
        """The thought that finds the winner, as a running best over the names.

        >>> Comparison("higher").explain(["Chad", "Niger"], [3445, 2022])
        'Chad 3,445 (4 digits), Niger 2,022 (4 digits). Chad vs Niger: 4 = 4, 3 > 2, higher: 3,445 of Chad.'
        >>> Comparison("earlier", least=True, counted=False).explain(["Mali", "Iraq"], [1960, 1932])
        'Mali 1960, Iraq 1932. Mali vs Iraq: 1 = 1, 9 = 9, 6 > 3, earlier: 1932 of Iraq.'
        """
        facts = [self._copy(name, number) for name, number in zip(names, numbers, strict=True)]
        thoughts, best = [", ".join(facts) + "."], 0
        for other in range(1, len(names)):
            walk = self._walk(numbers[best], numbers[other])
            rivals = f"{names[best]} vs {names[other]}"
            best = other if self.winner((numbers[best], numbers[other])) else best
            thoughts.append(f"{rivals}: {walk}, {self.adjective}: {self._write(numbers[best])} of {names[best]}.")
        return " ".join(thoughts)

    def _copy(self, name: str, number: int) -> str:
        digits = len(str(number))
        count = f" ({digits} digit{'s' * (digits > 1)})" if self.counted else ""
        return f"{name} {self._write(number)}{count}"

    def _write(self, number: int) -> str:
        return f"{number:,}" if self.counted else str(number)

    def _walk(self, left: int, right: int) -> str:
        """Lengths, then digits, up to the first that differs."""
        pairs = [(int(a), int(b)) for a, b in zip(str(left), str(right), strict=False)]
        if self.counted:
            pairs.insert(0, (len(str(left)), len(str(right))))
        steps = []
        for a, b in pairs:
            steps.append(f"{a} {'>' if a > b else '<' if a < b else '='} {b}")
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
        Comparison("higher"),
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
        Comparison("larger"),
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
        Comparison("larger"),
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
        Comparison("earlier", least=True, counted=False),
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
        Comparison("larger"),
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
        Comparison("earlier", least=True, counted=False),
        (
            "Which was discovered earlier, {a} or {b}?",
            "Which element was discovered first, {a} or {b}?",
            "Of {a} and {b}, which was discovered earlier?",
        ),
        ("Which of {all} was discovered first?", "Which element was discovered earliest: {any}?"),
    ),
)
