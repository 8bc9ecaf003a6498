"""Question sets, training material and shots by name: the embedded world, or files of the user's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragr1_lite.config import WORLD, Recipe
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, GoldPlan, Passage, Searcher, Shot, Step, Tokenizer, Trajectory
from ragr1_lite.data.benchmarks import BENCHMARKS
from ragr1_lite.data.gold import gold_trajectories
from ragr1_lite.data.questions import Question, read_questions
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.data.unanswerable import as_hidden, with_hidden
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.world import questions


def load_examples(
    data: str,
    split: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    mix: Mapping[str, float] | None = None,
    report: Report = ignore,
) -> list[Example]:
    """Questions of the embedded world or of a question set, at most ``limit``, drawn by ``seed``.

    ``data`` is ``world``, a benchmark's name, a file or ``hub:OWNER/NAME``. ``split`` (``train``, ``dev`` or ``test``)
    and ``mix`` (weights by kind) are of the world only; with ``kinds``, other questions are left out.
    """
    if data == WORLD:
        drawn = questions(split, seed=seed, limit=limit, kinds=kinds, mix=mix or None)
        return [question.example for question in drawn]
    source = BENCHMARKS[data].source if data in BENCHMARKS else data
    read = read_questions(source, limit=limit, seed=seed, kinds=kinds, report=report)
    return [question.example for question in read]


def training_material(recipe: Recipe, report: Report = ignore) -> Callable[[Tokenizer], list[Trajectory]]:
    """Opens what an SFT recipe trains on; what comes back encodes its gold trajectories for a model.

    The world's are composed from its plans with real retrieval results, a file's replayed with its passages.

    Raises:
        DataError: The file is missing, or of another form.
        RetrievalIndexError: The index that the world's plans are searched in is missing.
    """
    protocol, limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
    if recipe.data.train != WORLD:
        records = read_records(Path(recipe.data.train), limit=recipe.data.limit, report=report)
        planned = len(records)

        def encoded(tokenizer: Tokenizer) -> list[Trajectory]:
            return [one for record in records for one in replay(record, tokenizer, protocol, limits)]

    else:
        needed = recipe.data.limit or recipe.train.steps * recipe.train.batch_size
        drawn = questions("train", seed=recipe.train.seed, limit=needed, mix=recipe.data.mix or None)
        share, seed = recipe.data.unanswerable, recipe.train.seed
        examples = with_hidden([question.example for question in drawn], WORLD, share, seed)[: len(drawn)]
        golden = {question.example.question: question.plan(recipe.rollout.mode) for question in drawn}
        plans = as_hidden(examples, [golden[one.question] for one in examples])
        searcher, planned = open_searcher(recipe.retrieval.index, report), len(examples)

        def encoded(tokenizer: Tokenizer) -> list[Trajectory]:
            return gold_trajectories(examples, plans, tokenizer, searcher, protocol=protocol, limits=limits)

    def kept(tokenizer: Tokenizer) -> list[Trajectory]:
        found = encoded(tokenizer)
        if len(found) < planned:
            why = "they need more queries, rounds or room than the recipe's `rollout` allows"
            report(Notice(f"{planned - len(found)} of {planned} trajectories are left out: {why}.", "warning"))
        return found

    return kept


def training_trajectories(recipe: Recipe, tokenizer: Tokenizer, report: Report = ignore) -> list[Trajectory]:
    """The gold trajectories an SFT recipe names, encoded for its model; see :func:`training_material`."""
    return training_material(recipe, report)(tokenizer)


def require_expert(recipe: Recipe) -> None:
    """Raises DataError where the recipe wants expert rows of a file that holds no trajectories."""
    if recipe.grpo.expert and recipe.data.expert not in (None, WORLD):
        read_records(Path(str(recipe.data.expert)))


def expert_trajectories(
    recipe: Recipe, examples: Sequence[Example], tokenizer: Tokenizer, searcher: Searcher, report: Report = ignore
) -> list[tuple[Trajectory, ...]]:
    """Of each question at most ``grpo.expert`` gold trajectories of ``data.expert``, encoded as SFT has them.

    A question is known by its text; where a file has several of it, those with its id as well come first. Reports how
    many questions have none. Raises DataError where none has one.
    """
    source, wanted = recipe.data.expert, recipe.grpo.expert
    if source is None or not wanted:
        return [()] * len(examples)
    protocol, limits = recipe.rollout.protocol(), recipe.rollout.limits(recipe.retrieval.k)
    asked = list(dict.fromkeys(examples))
    if source == WORLD:
        plans = {one.example.question: one.plan(protocol.mode) for one in questions("train")}
        known = [one for one in asked if one.question in plans]
        golden = [plans[one.question] for one in known]
        golden = as_hidden(known, golden)
        made = gold_trajectories(known, golden, tokenizer, searcher, protocol=protocol, limits=limits)
    else:
        records = _of_questions(asked, read_records(Path(source), report=report))
        made = [one for record in records for one in replay(record, tokenizer, protocol, limits)]
    experts: dict[Example, list[Trajectory]] = {}
    for one in made:
        experts.setdefault(one.example, []).append(replace(one, expert=True))
    if not experts:
        hint = "Name a file that `data generate` wrote of these questions, or set grpo.expert to 0."
        raise DataError(f"No trajectory of {source} is of a question of the training and fits its `rollout`", hint)
    if missing := len(asked) - len(experts):
        without = f"{missing} of {len(asked)} questions have no trajectory of {source} that fits"
        report(Notice(f"{without}: their groups are sampled as a whole.", "warning"))
    return [tuple(experts.get(one, ())[:wanted]) for one in examples]


def require_titles(examples: Sequence[Example], report: Report = ignore) -> None:
    """Reports how many questions name no gold passages, without which no rollout is a near miss.

    Raises:
        DataError: None does.
    """
    unnamed = sum(1 for example in examples if not example.titles)
    if unnamed == len(examples):
        hint = "Take a set with gold titles, which `ragr1-lite data inspect` shows, or set it to 0."
        raise DataError("grpo.continue_near_misses goes by gold passages, and no question names any", hint)
    if unnamed:
        without = f"{unnamed} of {len(examples)} questions name no gold passages"
        report(Notice(f"{without}: their near misses are not continued."))


def _of_questions(examples: Sequence[Example], records: Sequence[Trajectory]) -> list[Trajectory]:
    """The records of each question, with the question as it is asked now; refusals are of hidden passages alone."""
    by_text: dict[tuple[str, bool], list[Trajectory]] = {}
    for record in records:
        by_text.setdefault((record.example.question, bool(record.example.hidden)), []).append(record)
    return [
        replace(record, example=example)
        for example in examples
        for record in sorted(
            by_text.get((example.question.strip(), bool(example.hidden)), ()),
            key=lambda one: one.example.id != example.id,
        )
    ]


def replay(record: Trajectory, tokenizer: Tokenizer, protocol: Protocol, limits: Limits) -> list[Trajectory]:
    """A record of a file, encoded; none where it does not fit the limits or the protocol's mode."""
    *searches, last = record.turns
    if protocol.reads_first and [turn.queries for turn in searches] != [(record.example.question,)]:
        return []
    steps = tuple(Step(turn.think, turn.queries) for turn in searches) if protocol.searches else ()
    plan = GoldPlan(steps, last.think, last.answer or "")
    searcher = _Recorded([turn.passages for turn in searches])
    return gold_trajectories([record.example], [plan], tokenizer, searcher, protocol=protocol, limits=limits)


class _Recorded:
    """A searcher that finds, turn by turn, what was found when the record was made."""

    def __init__(self, passages: Sequence[Sequence[tuple[Passage, ...]]]) -> None:
        self._turns = iter(passages)

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """The next turn's passages, at most ``k`` a query."""
        return [found[:k] for found in next(self._turns)]


def load_shots(
    count: int, data: str, source: str | None, asked: Sequence[Example], *, seed: int = 0, report: Report = ignore
) -> tuple[Shot, ...]:
    """Draws ``count`` answered questions by ``seed``, none of which is ``asked``.

    They come from ``source``, a question file or ``hub:OWNER/NAME``, or where ``data`` is the embedded world by default
    from its training split. Their thoughts are what the set says of the way to the answer; else there is none.

    Raises:
        ConfigError: No source is named, and there is none by default.
        DataError: The source cannot be used, or has too few other questions.
    """
    if source is None and data != WORLD:
        raise ConfigError(
            f"--shots needs --shots-from: where the examples for the questions of {data} come from",
            "Name a file of its training split; questions that are asked are left out.",
        )
    taken = {_key(example.question) for example in asked}
    pool = _world(count, seed) if source is None else _others(source, seed, report)
    shots = [shot for shot in pool if _key(shot.question) not in taken][:count]
    if len(shots) < count:
        raise DataError(
            f"{source or 'The world'} has {len(shots)} questions that are not asked, fewer than --shots {count}",
            "Name another file, or take fewer shots.",
        )
    return tuple(shots)


def _key(question: str) -> str:
    return " ".join(question.casefold().split())


def _world(count: int, seed: int) -> Iterator[Shot]:
    for one in questions("train", seed=seed, limit=count):
        yield Shot(one.example.question, one.example.answers[0], one.multi.think)


def _others(source: str, seed: int, report: Report) -> Iterator[Shot]:
    read = read_questions(source, report=report)
    for one in random.Random(seed).sample(read, len(read)):
        yield Shot(one.example.question, one.example.answers[0], _thought(one))


def _thought(question: Question) -> str:
    """The steps or the facts of a set that has them."""
    if not question.hops:
        return " ".join(f"{' '.join(triple)}." for triple in question.triples)
    said = " ".join(f"{hop.question} {hop.answer}." for hop in question.hops)
    for number, hop in enumerate(question.hops, start=1):
        said = said.replace(f"#{number}", hop.answer)
    return said
