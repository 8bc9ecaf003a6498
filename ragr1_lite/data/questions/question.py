"""Questions of a set, with what the set says about how they are answered; their rows; and the whole set, counted."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ragr1_lite.core.types import Example


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a decomposed question, as MuSiQue has them; ``title`` names the passage with the answer, if known.

    In the question ``#1`` stands for the answer of the first hop, ``#2`` for the second's.
    """

    question: str
    answer: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An example, and what its set says about a perfect run; empty where it says nothing.

    ``hops`` are the decomposition, in order; ``triples`` subject, relation and object, as 2WikiMultiHopQA has them.
    """

    example: Example
    hops: tuple[Hop, ...] = ()
    triples: tuple[tuple[str, str, str], ...] = ()


def to_row(question: Question) -> dict[str, Any]:
    """The question as a row of JSON, which is read back equal.

    Returns:
        ``{"id", "question", "answers", "kind", "hops", "pass_rate"}``, and where known ``gold_titles``,
        ``question_decomposition`` and ``evidences``, in the forms of HotpotQA, MuSiQue and 2WikiMultiHopQA.
    """
    row = asdict(question.example) | {"answers": list(question.example.answers)}
    del row["hidden"]  # a training's or an evaluation's own doing
    known = {
        "gold_titles": list(row.pop("titles")),
        "question_decomposition": [asdict(hop) for hop in question.hops],
        "evidences": [list(triple) for triple in question.triples],
    }
    return row | {key: value for key, value in known.items() if value}


def digest(questions: Iterable[Question]) -> str:
    """A name for these questions in this order, wherever they were read from."""
    lines = "\n".join(json.dumps(to_row(question)) for question in questions)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


@dataclass(slots=True)
class QuestionSet:
    """Questions, each with an id of its own, by which forms they came in, and how many rows were left out.

    ``bad`` rows could not be used; ``unanswerable`` ones say so themselves, as some of MuSiQue's and SQuAD's do.
    """

    questions: list[Question]
    forms: Counter[str]
    bad: int = 0
    unanswerable: int = 0


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
