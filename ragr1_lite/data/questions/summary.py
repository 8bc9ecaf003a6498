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
    """Counts of a question set, and some of its questions.

    Attributes:
        forms: Questions by the form they came in.
        counts: ``questions``; ``by_kind``, without those that have none; ``hops`` (questions by number of hops, "0"
            where the set does not say it); ``aliases`` (``mean`` and ``max`` of the answers beyond the first);
            ``with`` (how many have gold ``titles``, ``decompositions`` and ``evidences``); ``duplicates`` (questions
            whose text, case and spacing aside, an earlier one has); ``bad`` rows.
        samples: In the set's order.
    """

    forms: dict[str, int]
    counts: dict[str, Any]
    samples: tuple[Question, ...]

    @classmethod
    def of(cls, found: QuestionSet, *, samples: int = 3, seed: int = 0) -> Summary:
        """Counts what was read, at least one question, and draws samples by the seed."""
        questions = found.questions
        examples = [one.example for one in questions]
        aliases = [len(one.answers) - 1 for one in examples]
        hops = Counter(one.hops for one in examples)
        drawn = random.Random(seed).sample(range(len(questions)), min(samples, len(questions)))
        counts = {
            "questions": len(questions),
            "by_kind": dict(Counter(one.kind for one in examples if one.kind).most_common()),
            "hops": {str(number): hops[number] for number in sorted(hops)},
            "aliases": {"mean": round(statistics.fmean(aliases), 3), "max": max(aliases)},
            "with": {
                "titles": sum(bool(one.titles) for one in examples),
                "decompositions": sum(bool(one.hops) for one in questions),
                "evidences": sum(bool(one.triples) for one in questions),
            },
            "duplicates": len(questions) - len({" ".join(one.question.casefold().split()) for one in examples}),
            "bad": found.bad,
        }
        return cls(dict(found.forms.most_common()), counts, tuple(questions[number] for number in sorted(drawn)))

    def to_json(self) -> dict[str, Any]:
        """The counts, ``form`` being the names of all forms, and ``samples`` as rows of question files."""
        return {"form": " + ".join(self.forms), **self.counts, "samples": [to_row(sample) for sample in self.samples]}

    def rows(self) -> dict[str, Any]:
        """The counts for a person to read, by name, without those that are 0 or say nothing."""
        counts = self.counts
        mixed = len(self.forms) > 1
        rows = {"form": self.forms if mixed else "".join(self.forms), "questions": counts["questions"]}
        if counts["by_kind"]:
            rows["kinds"] = counts["by_kind"]
        if list(counts["hops"]) != ["0"]:
            rows["hops"] = {
                f"{hops}-hop" if hops != "0" else "unknown": count for hops, count in counts["hops"].items()
            }
        if counts["aliases"]["max"]:
            rows["aliases"] = f"{counts['aliases']['mean']:.2f} a question, at most {counts['aliases']['max']}"
        if known := {name: count for name, count in counts["with"].items() if count}:
            rows["with gold"] = known
        return rows | {"duplicates": counts["duplicates"], "bad rows": counts["bad"]}


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
