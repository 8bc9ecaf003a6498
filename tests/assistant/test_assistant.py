"""How a model is asked, and the JSON form of what it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ragr1_lite.assistant import BARE, Answer, Assistant, shipped_adapter
from ragr1_lite.config import Recipe
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, Passage, Segment, Trajectory, Turn
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
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, str]]:
    """What Assistant.open would have loaded."""
    calls: list[tuple[Recipe, str]] = []
    monkeypatch.setattr(
        Assistant, "open_recipe", classmethod(lambda cls, recipe, adapter, report: calls.append((recipe, adapter)))
    )
    return calls


def test_an_adapter_is_asked_the_way_its_run_was_trained(opened: list[tuple[Recipe, str]], tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {"task": "sft", "model": {"name": "org/mine"}, "retrieval": {"index": "books", "k": 7}}
    )
    (tmp_path / "recipe.yaml").write_text(recipe.dump(), encoding="utf-8")
    Assistant.open(adapter=str(tmp_path / "adapter"))
    Assistant.open(adapter=str(tmp_path / "adapter"), index="other", k=2)
    first, second = (recipe for recipe, _ in opened)
    assert (first.model.name, first.retrieval.index, first.retrieval.k) == ("org/mine", "books", 7)
    assert (second.model.name, second.retrieval.index, second.retrieval.k) == ("org/mine", "other", 2)


def test_the_built_in_model_gets_its_own_adapter(opened: list[tuple[Recipe, str]]) -> None:
    Assistant.open(model="smollm2-135m")
    Assistant.open(model="smollm2-135m", adapter=BARE)
    assert [adapter for _, adapter in opened] == [str(shipped_adapter("smollm2-135m") or BARE), BARE]
    assert {recipe.retrieval.index for recipe, _ in opened} == {"world"}


def test_index_and_mode_are_changed_without_loading_the_model_again() -> None:
    sampler = ScriptedSampler(["<answer>Niger</answer>"])
    assistant = Assistant(sampler, ScriptedSearcher(), Protocol(), Limits(), "model", "books")
    other = assistant.with_index("world").with_mode("rag")
    assert (other.sampler, other.index, other.model) == (sampler, "world", "model")
    assert other.ask("Which country has the capital Niamey?").trajectory.turns[0].passages[0]
    assert (assistant.protocol.mode, assistant.index) == ("multi", "books")


def test_the_seconds_of_a_search_are_told_apart() -> None:
    class Slow(ScriptedSearcher):
        def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
            time.sleep(0.02)
            return super().search(queries, k)

    sampler = ScriptedSampler(["<search>area of Chad</search>", "<answer>Chad</answer>"])
    answer = Assistant(sampler, Slow(), Protocol(), Limits()).ask("Which?")
    assert answer.phases["search"] >= 0.02 and answer.phases["generate"] > 0
    assert sum(answer.phases.values()) == pytest.approx(answer.seconds)
