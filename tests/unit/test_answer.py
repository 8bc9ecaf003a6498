"""How a model is asked, and the JSON form of what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.answer import BARE, Answer, Assistant, shipped_adapter
from ragr1_lite.config import Recipe
from ragr1_lite.core import Example, Passage, Segment, Trajectory, Turn

EXAMPLE = Example("1", "Which is larger, Chad or Mali?", ("Chad",))


def answered(*turns: Turn) -> Trajectory:
    return Trajectory(EXAMPLE, (Segment("prompt", (1,)), Segment("model", (2,))), turns, "answer")


def test_json_form() -> None:
    found = ((Passage("c", "Chad", "…", 2.00004),), ())
    search = Turn("search", "Two facts.", ("area of Chad", "area of Mali"), passages=found)
    trajectory = answered(search, Turn("answer", "So.", answer="Chad"))
    assert Answer(trajectory, 1.23456).to_json() == {
        "question": "Which is larger, Chad or Mali?",
        "answer": "Chad",
        "turns": [{"queries": ["area of Chad", "area of Mali"], "passages": [[{"title": "Chad", "score": 2.0}], []]}],
        "rounds": 1,
        "queries": 2,
        "seconds": 1.235,
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
