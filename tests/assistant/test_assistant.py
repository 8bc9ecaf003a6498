"""How a model is asked, and the JSON form of what it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import BARE, Answer, Assistant, Setup
from ragr1_lite.cli.main import app
from ragr1_lite.config import Recipe, load_recipe
from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example, Passage, Segment, Trajectory, Turn
from ragr1_lite.data.questions import Question
from ragr1_lite.models import adapter_folder
from ragr1_lite.models.adapter_folder import shipped_adapter
from tests.support.adapters import save_adapter_files
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

QWEN = "qwen2.5-coder-0.5b"
EXAMPLE = Example("1", "Which is larger, Chad or Mali?", ("Chad",))


def answered(*turns: Turn) -> Trajectory:
    return Trajectory(EXAMPLE, (Segment("prompt", (1,)), Segment("model", (2,))), turns, "answer")


def test_json_form() -> None:
    found = ((Passage("c", "Chad", "…", 2.00004),), ())
    search = Turn("search", "Two facts.", ("area of Chad", "area of Mali"), passages=found)
    trajectory = answered(search, Turn("answer", "So.", answer="Chad"))
    assert Answer(trajectory, 1.23456, 0.0042, "multi", "tiny").to_json() == {
        "question": "Which is larger, Chad or Mali?",
        "answer": "Chad",
        "mode": "multi",
        "model": "tiny",
        "sources": [{"title": "Chad", "id": "c", "holds": True}],
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
    return str(save_adapter_files(tmp_path / "adapter"))


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


@pytest.mark.parametrize("part", ["", "adapter", "checkpoints/checkpoint-1", "."])
def test_whatever_of_a_run_is_named_is_asked_the_same_way(
    part: str, opened: list[Recipe], trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_adapter_files(tmp_path / "checkpoints/checkpoint-1")
    monkeypatch.chdir(trained)
    Assistant.open(Setup(adapter=part if part == "." else str(tmp_path / part)))
    assert way(opened[0]) == ("single", 2, "books", 7, 9, 300) and opened[0].model.name == "org/mine"


def test_an_adapter_from_elsewhere_brings_its_base_model(opened: list[Recipe], tmp_path: Path) -> None:
    said: list[object] = []
    save_adapter_files(tmp_path, base_model_name_or_path="unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit")
    Setup(adapter=str(tmp_path)).recipe(said.append)
    Assistant.open(Setup(adapter=str(tmp_path)))
    Assistant.open(Setup(adapter=str(tmp_path), model="org/mine"))
    assert [one.model.name for one in opened] == ["unsloth/Qwen2.5-0.5B-Instruct", "org/mine"]
    assert {(one.model.adapter, one.retrieval.index) for one in opened} == {(str(tmp_path), "world")}
    assert not said  # nothing is chosen here


def notices(setup: Setup) -> list[tuple[str, str]]:
    """What is said of the choice of model and adapter: level and text."""
    said: list[Any] = []
    setup.recipe(said.append)
    return [(event.level, event.text) for event in said]


def test_an_adapter_in_the_models_folder_is_taken_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_adapter_files(tmp_path / "mine", base_model_name_or_path="org/elsewhere")
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "mine"), "./mine", "mine"):
        assert Setup(model=name).recipe().model.adapter == str(Path(name))
        assert Setup(model=name, adapter=BARE).recipe().model.adapter is None
        assert notices(Setup(model=name)) == [
            ("info", f"Using the adapter that lies in {Path(name)}; --adapter none leaves it out.")
        ]
        assert not notices(Setup(model=name, adapter=BARE))


@pytest.mark.parametrize("form", ["{folder}/smollm2-135m", "./smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_every_name_of_the_built_in_model_gets_its_adapter(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smollm2-135m").mkdir()
    monkeypatch.chdir(tmp_path)
    name = form.format(folder=tmp_path)
    recipe = Setup(model=name).recipe()
    assert recipe.model.adapter == str(shipped_adapter("smollm2-135m"))
    assert way(recipe) == way(load_recipe("sft-smollm2-135m"))
    assert [text for _, text in notices(Setup(model=name))] == [
        f"Using the adapter that ships for {name}; --adapter none leaves it out."
    ]


def test_a_command_that_an_adapter_brings_is_not_started(tmp_path: Path) -> None:
    fields = {"task": "sft", "model": {"name": "org/mine"}, "retrieval": {"index": "mcp+stdio:rm -rf /"}}
    (tmp_path / "recipe.yaml").write_text(Recipe.model_validate(fields).dump(), encoding="utf-8")
    adapter = str(save_adapter_files(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match="not started unless you name it. If you trust it: --index .mcp.stdio:rm -rf"):
        Setup(adapter=adapter).recipe()
    named = Setup(adapter=adapter, index="mcp+stdio:server").recipe()
    assert named.retrieval.index == "mcp+stdio:server"


def test_an_untrained_model_is_said_to_be_one() -> None:
    ((level, text),) = notices(Setup(model="Qwen/Qwen2.5-3B-Instruct"))
    assert level == "warning" and "is untrained" in text
    assert text.endswith("ragr1-lite sft RECIPE --set model.name=Qwen/Qwen2.5-3B-Instruct")
    assert not notices(Setup(model="gold")) and not notices(Setup(model="http://127.0.0.1:8000/v1"))


@pytest.mark.parametrize("name", ["nosuch", "{folder}", "{folder}/model.gguf"])
def test_what_is_no_model_is_not_called_untrained(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    said: list[object] = []
    with pytest.raises(ModelError, match="no model folder nosuch" if name == "nosuch" else "is GGUF, .* `export --to"):
        Setup(model=name.format(folder=tmp_path)).recipe(said.append)
    assert not said


def test_an_adapter_that_ships_goes_by_its_models_name() -> None:
    recipe = Setup(adapter="smollm2-135m").recipe()
    assert (recipe.model.name, recipe.model.adapter) == ("smollm2-135m", str(shipped_adapter("smollm2-135m")))
    with pytest.raises(ModelError, match=r"No adapter ships for gemma-3-270m\. Name the folder of an SFT run"):
        Setup(adapter="gemma-3-270m").recipe()


# A machine without arguments


@pytest.mark.parametrize(
    ("card", "index", "qwen", "chosen"),
    [
        (False, None, False, "smollm2-135m"),
        (False, None, True, "smollm2-135m"),
        (False, "books", False, "smollm2-135m"),
        (False, "books", True, QWEN),
        (True, None, False, "smollm2-135m"),
        (True, None, True, QWEN),
        (True, "books", False, "smollm2-135m"),
        (True, "books", True, QWEN),
    ],
)
def test_the_default_model_is_a_small_one_that_was_trained(
    card: bool, index: str | None, qwen: bool, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("smollm2-135m", *([QWEN] if qwen else [])):
        save_adapter_files(tmp_path / name, base_model_name_or_path=name)
    monkeypatch.setattr(adapter_folder, "SHIPPED_FOLDER", tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: card)
    recipe = Setup(index=index).recipe()
    assert (recipe.model.name, recipe.model.adapter) == (chosen, str(tmp_path / chosen))
    choice, adapter = (text for _, text in notices(Setup(index=index)))
    assert choice.startswith(f"Using {chosen}: ") and adapter.startswith(f"Using the adapter that ships for {chosen}")
    start = "for documents of your own it is a start, and docs/data.md says how to train on them"
    assert (start in choice) == (index == "books" and not qwen)


def test_the_default_model_without_its_adapter_is_said_to_be_untrained() -> None:
    ((_, text),) = notices(Setup(adapter=BARE))
    assert text == "Using smollm2-135m: without its adapter it is untrained. Choose another with --model."


def test_the_shipped_adapter_by_its_name_in_recipes_is_the_default_models() -> None:
    recipe = Setup(adapter="shipped").recipe()
    assert (recipe.model.name, recipe.model.adapter) == ("smollm2-135m", str(shipped_adapter("smollm2-135m")))


def test_no_model_is_guessed_for_an_adapter_that_names_none(tmp_path: Path) -> None:
    adapter = str(save_adapter_files(tmp_path, base_model_name_or_path=None))
    with pytest.raises(ModelError, match="does not say which model"):
        Setup(adapter=adapter).recipe()
    assert Setup(adapter=adapter, model="org/mine").recipe().model.name == "org/mine"


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


def test_a_source_of_several_indexes_names_its_own() -> None:
    found = [Passage("1", "Chad", "Chad.", index="books"), Passage("1", "Chad", "Chad.", index="notes")]
    sampler = ScriptedSampler(["<search>area of Chad</search>", "<answer>Chad</answer>"])
    answer = Assistant(sampler, ScriptedSearcher(default=found), Protocol(), Limits()).ask("Which?")
    assert [source["index"] for source in answer.to_json()["sources"]] == ["books", "notes"]
