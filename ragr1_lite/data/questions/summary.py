"""What a question set is made of, counted."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ragr1_lite.data.questions.question import Question, to_row
from ragr1_lite.data.questions.reading import QuestionSet


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a question set.

    Attributes:
        forms: Questions by the form they came in.
        questions: How many there are.
        by_kind: Questions by kind; without those that have none.
        hops: Questions by number of hops, fewest first; 0 where the set does not say it.
        aliases: ``mean`` and ``max`` of the answers beyond the first.
        known: How many have gold ``titles``, ``decompositions`` and ``evidences``.
        duplicates: Questions whose text, case and spacing aside, an earlier one has.
        bad: Rows that cannot be used.
        samples: Some questions, in the set's order.
    """

    forms: dict[str, int]
    questions: int
    by_kind: dict[str, int]
    hops: dict[int, int]
    aliases: dict[str, float]
    known: dict[str, int]
    duplicates: int
    bad: int
    samples: tuple[Question, ...]

    @classmethod
    def of(cls, found: QuestionSet, *, samples: int = 3, seed: int = 0) -> Summary:
        """Counts what was read, at least one question, and draws samples by the seed."""
        questions = found.questions
        texts = {" ".join(one.example.question.casefold().split()) for one in questions}
        aliases = [len(one.example.answers) - 1 for one in questions]
        drawn = random.Random(seed).sample(range(len(questions)), min(samples, len(questions)))
        return cls(
            forms=dict(found.forms.most_common()),
            questions=len(questions),
            by_kind=dict(Counter(one.example.kind for one in questions if one.example.kind).most_common()),
            hops=dict(sorted(Counter(one.example.hops for one in questions).items())),
            aliases={"mean": round(statistics.fmean(aliases), 3), "max": max(aliases)},
            known={
                "titles": sum(bool(one.example.titles) for one in questions),
                "decompositions": sum(bool(one.hops) for one in questions),
                "evidences": sum(bool(one.triples) for one in questions),
            },
            duplicates=len(questions) - len(texts),
            bad=found.bad,
            samples=tuple(questions[number] for number in sorted(drawn)),
        )

    @property
    def form(self) -> str:
        """The form's name; where there are several, all of them."""
        return " + ".join(self.forms)

    def to_json(self) -> dict[str, Any]:
        """The counts, ``samples`` being rows of question files."""
        return {
            "form": self.form,
            "questions": self.questions,
            "by_kind": self.by_kind,
            "hops": {str(hops): count for hops, count in self.hops.items()},
            "aliases": self.aliases,
            "with": self.known,
            "duplicates": self.duplicates,
            "bad": self.bad,
            "samples": [to_row(sample) for sample in self.samples],
        }

    def rows(self) -> dict[str, Any]:
        """The counts for a person to read, by name, without those that are 0 or say nothing."""
        mixed = len(self.forms) > 1
        rows: dict[str, Any] = {"form": self.forms if mixed else self.form, "questions": self.questions}
        if self.by_kind:
            rows["kinds"] = self.by_kind
        if list(self.hops) != [0]:
            rows["hops"] = {f"{hops}-hop" if hops else "unknown": count for hops, count in self.hops.items()}
        if self.aliases["max"]:
            rows["aliases"] = f"{self.aliases['mean']:.2f} a question, at most {self.aliases['max']}"
        if known := {name: count for name, count in self.known.items() if count}:
            rows["with gold"] = known
        return rows | {"duplicates": self.duplicates, "bad rows": self.bad}


def described(question: Question) -> dict[str, str]:
    """A question for a person to read, by name, without what it does not say."""
    example = question.example
    hops = f"{example.hops} hop{'s' * (example.hops > 1)}" if example.hops else ""
    rows = {
        "Question": example.question,
        "Answers": "; ".join(example.answers),
        "Kind": ", ".join(filter(None, (example.kind, hops))),
        "Gold titles": "; ".join(example.titles),
        "Steps": "\n".join(f"{hop.question} → {hop.answer}" for hop in question.hops),
        "Evidence": "\n".join(" | ".join(triple) for triple in question.triples),
    }
    return {name: text for name, text in rows.items() if text}
