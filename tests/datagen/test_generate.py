"""Generating: batches, seeds, tries, what is written and counted, and what an interruption leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import ConfigError, DataError, ModelError, RunError
from ragr1_lite.core.events import Notice, PhaseAdvanced
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Example, GoldPlan, SampleRequest, Step
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.datagen import generate as generating
from ragr1_lite.datagen.endpoint import Connection, Usage
from ragr1_lite.datagen.generate import Sampling, generate
from ragr1_lite.datagen.gold import Composed
from ragr1_lite.datagen.rejection import UNSUPPORTED, WRONG
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher, passage

SEARCH = "<think>t</think><search>{number}</search>"
Draw = Callable[[str, int, float], str]


def answer(text: str) -> str:
    return f"<think>t</think><answer>{text}</answer>"


class DrawingSampler:
    """Searches for the question, then says what is drawn for it."""

    def __init__(self, draw: Draw, seed: int, temperature: float) -> None:
        self.tokenizer = ByteTokenizer()
        self._draw = draw, seed, temperature

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self._say(request) for request in requests]

    def _say(self, request: SampleRequest) -> Completion:
        text = self.tokenizer.decode(request.token_ids)
        question = text.partition("Question: ")[2].partition("?")[0]
        draw, seed, temperature = self._draw
        line = draw(question, seed, temperature) if "Doc 1" in text else SEARCH.format(number=question)
        return ScriptedSampler([]).complete(line)


class ScriptedTeacher:
    """A teacher whose answers are drawn from the question, the seed and the temperature."""

    name, protocol, limits = "scripted", Protocol(), Limits(k=1, max_length=10**6)
    tokenizer = ByteTokenizer()

    def __init__(self, draw: Draw, *, counts: bool = False) -> None:
        self.searcher = ScriptedSearcher({str(n): [passage(f"{n} is good")] for n in range(100)})
        self.draw, self._counts, self._asked = draw, counts, 0
        self.samplers: list[tuple[int, float]] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    @property
    def usage(self) -> Usage | None:
        return Usage(self._asked, 10 * self._asked, self._asked) if self._counts else None

    def sampler(self, seed: int, temperature: float) -> DrawingSampler:
        self.samplers.append((seed, temperature))

        def draw(*asked: Any) -> str:
            self._asked += 1
            return self.draw(*asked)

        return DrawingSampler(draw, seed, temperature)


def right(question: str, seed: int, temperature: float) -> str:
    return answer(f"{question} is good")


def by_seed(question: str, seed: int, temperature: float) -> str:
    return answer(f"{question} is good" if (seed + int(question)) % 3 == 0 else "no idea")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    rows = [
        {"id": f"q{n}", "question": f"{n}?", "answers": [f"{n} is good"], "kind": "odd" if n % 2 else "even", "hops": n}
        for n in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch, questions: Path, tmp_path: Path) -> Callable[..., Any]:
    """Generates with a scripted teacher."""

    def run(draw: Draw | ScriptedTeacher, out: str = "t.jsonl", **options: Any) -> dict[str, Any]:
        teacher = draw if isinstance(draw, ScriptedTeacher) else ScriptedTeacher(draw)
        monkeypatch.setattr(generating, "open_teacher", lambda *_, **__: teacher)
        said = {one.name: options.pop(one.name) for one in fields(Setup) if one.name in options}
        setup = Setup(**{"model": "any", "adapter": "none", "index": "world", "batch_size": 4, **said})
        return generate(questions, setup, out=tmp_path / out, **options)

    return run


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_is_written_and_counted(taught: Callable[..., Any], tmp_path: Path) -> None:
    def draw(question: str, seed: int, temperature: float) -> str:
        return answer("nonsense") if question == "3" else right(question, seed, temperature)

    events: list[object] = []
    counts = taught(draw, rejected=tmp_path / "r.jsonl", report=events.append)
    assert counts == {
        "questions": 10,
        "kept": 9,
        "rejected": {WRONG: 1},
        "rounds": 1.0,
        "queries": 1.0,
        "by_kind": {"even": 5, "odd": 4},
    }
    kept, [other] = rows_of(tmp_path / "t.jsonl"), rows_of(tmp_path / "r.jsonl")
    assert [row["id"] for row in kept] == [f"q{n}" for n in range(10) if n != 3]
    assert other["id"] == "q3" and other["reason"] == WRONG and other["answer"] == "nonsense"
    assert all(row["teacher"] == "scripted" and row["hops"] == int(row["id"][1:]) for row in kept[1:])
    assert "hops" not in kept[0] and "reason" not in kept[0]
    assert [record.example.hops for record in read_records(tmp_path / "t.jsonl")][:3] == [0, 1, 2]
    assert [event.done for event in events if isinstance(event, PhaseAdvanced)] == [4, 8, 10]
    assert [event.detail for event in events if isinstance(event, PhaseAdvanced)][-1] == "kept 9, rejected 1"
    assert not list(tmp_path.glob(".*"))


def test_a_batch_s_seed_follows_from_the_seed_and_its_number_alone(taught: Callable[..., Any], tmp_path: Path) -> None:
    seeds = []
    for seed in (0, 0, 1):
        teacher = ScriptedTeacher(right)
        taught(teacher, overwrite=True, sampling=Sampling(seed))
        seeds.append([one for one, _ in teacher.samplers])
        assert {row["seed"] for row in rows_of(tmp_path / "t.jsonl")} == set(seeds[-1])
    assert seeds[0] == seeds[1] and not set(seeds[0]) & set(seeds[2])
    assert len(set(seeds[0])) == 3


def test_only_rejected_questions_are_tried_again(taught: Callable[..., Any], tmp_path: Path) -> None:
    asked: list[str] = []

    def draw(question: str, seed: int, temperature: float) -> str:
        asked.append(question)
        return by_seed(question, seed, temperature)

    teacher = ScriptedTeacher(draw)
    counts = taught(teacher, sampling=Sampling(tries=3), batch_size=10, rejected=tmp_path / "r")
    assert {temperature for _, temperature in teacher.samplers} == {1.0}
    tries = {question: asked.count(question) for question in set(asked)}
    for row in rows_of(tmp_path / "t.jsonl"):
        seeds = [seed for seed, _ in teacher.samplers]
        assert row["seed"] == seeds[tries[row["question"][:-1]] - 1], "the first that is kept"
    assert counts["kept"] + counts["rejected"].get(WRONG, 0) == 10
    assert all(row["seed"] == teacher.samplers[2][0] for row in rows_of(tmp_path / "r"))


@pytest.mark.parametrize(
    ("sampling", "temperature"),
    [(Sampling(), 0.0), (Sampling(tries=2), 1.0), (Sampling(0, 2, 0.3), 0.3), (Sampling(0, 1, 0.5), 0.5)],
)
def test_one_try_is_greedy(sampling: Sampling, temperature: float) -> None:
    assert sampling.resolved_temperature == temperature


def stopping(after: int, error: BaseException) -> Draw:
    """Right answers, then an error."""
    left = iter(range(after))

    def draw(question: str, seed: int, temperature: float) -> str:
        if next(left, None) is None:
            raise error
        return by_seed(question, seed, temperature)

    return draw


@pytest.mark.parametrize("error", [ModelError("Gone", "Start it."), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [4, 5, 8, 9])
def test_an_interrupted_run_resumes_to_the_same_file(
    taught: Callable[..., Any], tmp_path: Path, after: int, error: BaseException
) -> None:
    whole = taught(by_seed, "whole.jsonl", rejected=tmp_path / "whole.r")
    events: list[object] = []
    with pytest.raises(type(error)):
        taught(stopping(after, error), "cut.jsonl", report=events.append)
    assert not (tmp_path / "cut.jsonl").exists()
    [notice] = [event for event in events if isinstance(event, Notice)]
    assert notice.text == "What is finished is kept: go on with --resume."
    with pytest.raises(RunError, match="other settings \\(mode, seed\\)"):
        taught(by_seed, "cut.jsonl", resume=True, sampling=Sampling(7), mode="single")
    asked: list[str] = []

    def rest(question: str, seed: int, temperature: float) -> str:
        asked.append(question)
        return by_seed(question, seed, temperature)

    assert taught(rest, "cut.jsonl", resume=True, rejected=tmp_path / "cut.r") == whole
    assert asked == [str(number) for number in range(after // 4 * 4, 10)]
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (tmp_path / "cut.r").read_bytes() == (tmp_path / "whole.r").read_bytes()


def test_what_never_began_leaves_nothing(taught: Callable[..., Any], tmp_path: Path) -> None:
    events: list[object] = []
    with pytest.raises(ModelError):
        taught(stopping(0, ModelError("Gone", "Start it.")), report=events.append)
    assert not list(tmp_path.glob(".*")) and not [event for event in events if isinstance(event, Notice)]


def test_a_finished_journal_needs_no_teacher(
    taught: Callable[..., Any], questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "write_rows", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        taught(right)
    monkeypatch.undo()
    monkeypatch.setattr(generating, "open_teacher", None)
    counts = generate(
        questions,
        Setup(model="any", adapter="none", index="world", batch_size=4),
        out=tmp_path / "t.jsonl",
        resume=True,
    )
    assert counts["kept"] == 10


def test_the_cost_of_an_interrupted_run_is_not_forgotten(taught: Callable[..., Any]) -> None:
    connection = Connection(price_in=1000.0, price_out=0.0)
    teacher = ScriptedTeacher(stopping(6, ModelError("Gone", "")), counts=True)
    with pytest.raises(ModelError):
        taught(teacher, connection=connection)
    assert teacher.closed
    events: list[object] = []
    resumed = ScriptedTeacher(right, counts=True)
    counts = taught(resumed, connection=connection, resume=True, report=events.append)
    assert counts["usage"] == {"requests": 10, "prompt_tokens": 100, "completion_tokens": 10, "cost": 0.1}
    assert "100 tokens read and 10 written in 10 requests, which cost 0.1" in [
        event.text for event in events if isinstance(event, Notice)
    ]


def test_nothing_to_keep(taught: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"None of 10 questions .*\({WRONG}: 10\)"):
        taught(lambda *_: answer("nonsense"), rejected=tmp_path / "r.jsonl")
    assert not (tmp_path / "t.jsonl").exists() and len(rows_of(tmp_path / "r.jsonl")) == 10
    assert not list(tmp_path.glob(".*"))


def nonsense(question: str, seed: int, temperature: float) -> str:
    return answer("nonsense")


def test_trajectories_stay_where_nothing_is_kept(
    taught: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have been paid for: the journal goes only with a written result."""
    with pytest.raises(DataError) as caught:
        taught(ScriptedTeacher(nonsense, counts=True))
    journal = tmp_path / ".t.jsonl.journal"
    assert str(journal) in caught.value.message and journal.read_bytes().count(b"nonsense") >= 10
    assert "--resume --rejected FILE" in caught.value.hint and "--overwrite" in caught.value.hint
    with pytest.raises(RunError, match="--resume"):
        taught(right)
    asked_again = ScriptedTeacher(right)
    with pytest.raises(DataError, match=r"r\.jsonl"):
        taught(asked_again, resume=True, rejected=tmp_path / "r.jsonl")
    assert asked_again.samplers == [] and not journal.exists()
    assert [row["answer"] for row in rows_of(tmp_path / "r.jsonl")] == ["nonsense"] * 10


def test_a_file_of_rejected_trajectories_is_not_overwritten_silently(
    taught: Callable[..., Any], tmp_path: Path
) -> None:
    other = tmp_path / "r.jsonl"
    other.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"r\.jsonl exists already") as caught:
        taught(by_seed, rejected=other)
    assert "--overwrite" in caught.value.hint and other.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("q.jsonl", "r.jsonl")] == []
    taught(by_seed, rejected=other, overwrite=True)
    assert rows_of(other)


def test_changed_questions_are_another_run(taught: Callable[..., Any], questions: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        taught(stopping(4, ModelError("Gone", "Start it.")))
    lines = questions.read_text(encoding="utf-8").splitlines(keepends=True)
    questions.write_text("".join([*lines[:-1], lines[-1].replace("9 is good", "9 is bad")]), encoding="utf-8")
    with pytest.raises(RunError, match=r"other settings \(questions\)"):
        taught(right, resume=True)


def test_what_is_there_stays(taught: Callable[..., Any], tmp_path: Path) -> None:
    taught(right)
    before = (tmp_path / "t.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"t\.jsonl exists"):
        taught(by_seed)
    with pytest.raises(ConfigError, match="the same file"):
        taught(by_seed, overwrite=True, rejected=tmp_path / "t.jsonl")
    assert (tmp_path / "t.jsonl").read_bytes() == before


def test_gold_keeps_the_questions_order_and_says_why_there_is_no_plan(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compose(batch: Sequence[Any], *_: Any, **__: Any) -> list[Composed]:
        return [planned(one) for one in batch]

    def planned(question: Any) -> Composed:
        number = question.example.question[:-1]
        if number in "25":
            return Composed(question, None, "no gold passage")
        queries = (number,) if number != "7" else ("8",)
        return Composed(question, GoldPlan((Step("t", queries),), "So.", f"{number} is good"), None)

    searcher = ScriptedSearcher({str(n): [passage(f"{n} is good")] for n in range(10)})
    monkeypatch.setattr(generating, "compose_plans", compose)
    monkeypatch.setattr(generating, "open_searcher", lambda *_: searcher)
    counts = generate(questions, Setup(model="gold", batch_size=3), out=tmp_path / "t", rejected=tmp_path / "r")
    assert counts["rejected"] == {"no gold passage": 2, UNSUPPORTED: 1} and counts["kept"] == 7
    assert "usage" not in counts
    assert [row["id"] for row in rows_of(tmp_path / "t")] == [f"q{n}" for n in (0, 1, 3, 4, 6, 8, 9)]
    others = rows_of(tmp_path / "r")
    assert [(row["id"], row["reason"]) for row in others] == [
        ("q2", "no gold passage"),
        ("q5", "no gold passage"),
        ("q7", UNSUPPORTED),
    ]
    assert others[0]["turns"] == [] and others[0]["answer"] is None and others[0]["teacher"] == "gold"
    assert isinstance(read_records(tmp_path / "t")[0].example, Example)


def test_the_limit_draws_by_the_seed(taught: Callable[..., Any], tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 0, 1):
        assert taught(right, overwrite=True, limit=5, sampling=Sampling(seed))["questions"] == 5
        drawn.append([row["id"] for row in rows_of(tmp_path / "t.jsonl")])
    assert drawn[0] == drawn[1] != drawn[2]
