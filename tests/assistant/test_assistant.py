"""How a model is asked, and the JSON form of what it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import BARE, Answer, Assistant, Setup, shipped_adapter
from ragr1_lite.cli.main import app
from ragr1_lite.config import Recipe
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, Passage, Segment, Trajectory, Turn
from ragr1_lite.data.questions import Question
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

EXAMPLE = Example("1", "Which is larger, Chad or Mali?", ("Chad",))


def answered(*turns: Turn) -> Trajectory:
    return Trajectory(EXAMPLE, (Segment("prompt", (1,)), Segment("model", (2,))), turns, "answer")


def test_json_form() -> None:
    found = ((Passage("c", "Chad", "…", 2.00004),), ())
    search = Turn("search", "Two facts.", ("area of Chad", "area of Mali"), passages=found)
    trajectory = answered(search, Turn("answer", "So.", answer="Chad"))
    assert Answer(trajectory, 1.23456, 0.0042).to_json() == {
        "question": "Which is larger, Chad or Mali?",
        "answer": "Chad",
        "turns": [{"queries": ["area of Chad", "area of Mali"], "passages": [[{"title": "Chad", "score": 2.0}], []]}],
        "rounds": 1,
        "queries": 2,
        "seconds": 1.235,
        "phases": {"generate": 1.23, "search": 0.004},
    }


def test_without_a_search_or_an_answer() -> None:
    trajectory = Trajectory(EXAMPLE, (Segment("prompt", (1,)),), (Turn("invalid"),), "invalid")
    form = Answer(trajectory, 0.5).to_json()
    assert form["answer"] is None
    assert form["turns"] == []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """What Assistant.open would have loaded."""
    calls: list[Recipe] = []
    monkeypatch.setattr(Assistant, "open_recipe", classmethod(lambda cls, recipe, report: calls.append(recipe)))
    return calls


@pytest.fixture
def trained(tmp_path: Path) -> str:
    """The adapter of a run that was trained in a way of its own."""
    rollout = {"mode": "single", "max_queries": 2, "max_rounds": 9, "document_tokens": 300}
    sections = {"model": {"name": "org/mine"}, "retrieval": {"index": "books", "k": 7}, "rollout": rollout}
    (tmp_path / "recipe.yaml").write_text(Recipe.model_validate({"task": "sft", **sections}).dump(), encoding="utf-8")
    return str(tmp_path / "adapter")


def way(recipe: Recipe) -> tuple[object, ...]:
    """What of a recipe decides how a model is asked."""
    rollout, retrieval = recipe.rollout, recipe.retrieval
    budgets = rollout.limits(retrieval.k)
    return rollout.mode, rollout.max_queries, retrieval.index, budgets.k, budgets.max_rounds, budgets.document_tokens


def test_an_adapter_is_asked_the_way_its_run_was_trained(opened: list[Recipe], trained: str) -> None:
    Assistant.open(Setup(adapter=trained))
    Assistant.open(Setup(adapter=trained, index="other", mode="multi", k=2, max_queries=4))
    first, second = opened
    assert {(one.model.name, one.model.adapter) for one in opened} == {("org/mine", trained)}
    assert way(first) == ("single", 2, "books", 7, 9, 300)
    assert way(second) == ("multi", 4, "other", 2, 9, 300)


@pytest.mark.parametrize(
    "command",
    [
        ["ask", "Which?", "--json"],
        ["eval", "--questions", "1", "--json"],
        ["data", "select", "world", "--limit", "1", "--out", "OUT"],
        ["data", "generate", "world", "--teacher", "org/mine", "--index", "books", "--out", "OUT"],
    ],
    ids=["ask", "eval", "data select", "data generate"],
)
def test_every_command_asks_an_adapter_the_way_its_run_was_trained(
    command: list[str], opened: list[Recipe], trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragr1_lite.datagen import generate

    monkeypatch.setattr(generate, "read_questions", lambda *_, **__: [Question(EXAMPLE)])
    words = [str(tmp_path / "out.jsonl") if word == "OUT" else word for word in command]
    CliRunner().invoke(app, [*words, "--adapter", trained])
    CliRunner().invoke(app, [*words, "--adapter", trained, "--mode", "multi", "--max-queries", "3"])
    assert [way(recipe) for recipe in opened] == [
        ("single", 2, "books", 7, 9, 300),
        ("single" if command[0] == "eval" else "multi", 3, "books", 7, 9, 300),
    ]


def test_the_built_in_model_gets_its_own_adapter(opened: list[Recipe]) -> None:
    Assistant.open(Setup(model="smollm2-135m"))
    Assistant.open(Setup(model="smollm2-135m", adapter=BARE))
    assert [recipe.model.adapter for recipe in opened] == [str(shipped_adapter("smollm2-135m")), None]
    assert {way(recipe)[:3] for recipe in opened} == {("multi", 3, "world")}


def test_index_and_mode_are_changed_without_loading_the_model_again() -> None:
    sampler = ScriptedSampler(["<answer>Niger</answer>"])
    assistant = Assistant(sampler, ScriptedSearcher(), Protocol(), Limits(), "model", "books")
    other = assistant.with_index("world").with_mode("rag")
    assert (other.sampler, other.index, other.model) == (sampler, "world", "model")
    assert other.ask("Which country has the capital Niamey?").trajectory.turns[0].passages[0]
    assert (assistant.protocol.mode, assistant.index) == ("multi", "books")


def test_the_seconds_of_a_search_are_counted_apart() -> None:
    class Slow(ScriptedSearcher):
        def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
            time.sleep(0.02)
            return super().search(queries, k)

    sampler = ScriptedSampler(["<search>area of Chad</search>", "<answer>Chad</answer>"])
    answer = Assistant(sampler, Slow(), Protocol(), Limits()).ask("Which?")
    assert answer.phases["search"] >= 0.02 and answer.phases["generate"] > 0
    assert sum(answer.phases.values()) == pytest.approx(answer.seconds)
