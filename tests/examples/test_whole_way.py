"""The whole way over a folder as people have them: indexed, searched, asked, changed, served, exported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ragr1_lite.assistant import Answer, Assistant, Setup
from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Example
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus
from ragr1_lite.retrieval.remote.hosting import in_background
from ragr1_lite.retrieval.updating import update_index
from ragr1_lite.serving.api import make_app
from ragr1_lite.serving.engine import Engine
from ragr1_lite.serving.export import export
from tests.serving.test_export import folder, setup
from tests.support.scripted import ScriptedSampler

__all__ = ["folder", "setup"]

for needed in ("cryptography", "fastapi", "openai", "pypdf", "selectolax", "uvicorn"):
    pytest.importorskip(needed)

PLACES = {
    "english/lamp.md": "Keeper",
    "english/boats.xlsx": "sheet Boats",
    "english/guide.pdf": "page 1; page 2",
    "deutsch/schleuse.docx": "Geschichte",
    "中文/山谷.epub": "起源; 洪水",
    "عربي/عرض.pptx": "slide 1; slide 2",
    "ไทย/คลัง.ods": "sheet คลัง",
}
"""Of some of the facts, where in their files they stand."""


@pytest.fixture(scope="module")
def made() -> Iterator[ModuleType]:
    """The script that makes the folder."""
    examples = str(Path(__file__).parents[2] / "examples")
    sys.path.insert(0, examples)
    yield import_module("many_languages")
    sys.path.remove(examples)


@pytest.fixture
def index(made: ModuleType, tmp_path: Path) -> Path:
    """Of the folder ``valley`` next to it."""
    made.write(made.FILES, tmp_path / "valley")
    build_index(read_corpus([tmp_path / "valley"]), tmp_path / "index")
    return tmp_path / "index"


def knowing(index: Path, question: str, answer: str) -> Assistant:
    """A model that searches for the question and says the answer."""
    lines = [render_turn("I search.", queries=[question]), render_turn("Found.", answer=answer)]
    return Assistant(ScriptedSampler(lines), open_searcher(str(index)), Protocol("single"), Limits(k=1))


def asked(index: Path, question: str, answer: str) -> Answer:
    return knowing(index, question, answer).ask(question)


def test_it_is_of_fifteen_files_in_many_formats_and_five_languages(made: ModuleType) -> None:
    assert len(made.FILES) == 15 and len({Path(name).suffix for name in made.FILES}) >= 10
    assert len({name.partition("/")[0] for name in made.FILES}) == 5
    assert sorted(name for name, _ in made.QUESTIONS.values()) == sorted(made.FILES)


def test_each_language_finds_its_facts_and_sources_name_file_and_place(made: ModuleType, index: Path) -> None:
    for question, (name, answer) in made.QUESTIONS.items():
        found = asked(index, question, answer)
        (source,) = found.cited
        assert found.held, question
        assert source["file"] == name, question
        if name in PLACES:
            assert source["place"] == PLACES[name]


def test_a_file_that_changes(made: ModuleType, index: Path, tmp_path: Path) -> None:
    path = tmp_path / "valley" / "中文" / "茶馆.txt"
    path.write_text("青石茶馆的老板现在是周大海。\n", "utf-8")
    done = update_index(index)
    assert (done.added, done.changed, done.removed, done.unchanged) == (0, 1, 0, 14)
    found = asked(index, "青石茶馆的老板是谁？", "周大海")
    assert found.held and found.cited[0]["file"] == "中文/茶馆.txt"
    assert not asked(index, "青石茶馆的老板是谁？", "林小梅").held


def test_it_is_served(made: ModuleType, index: Path) -> None:
    """To OpenAI's client, with the sources as annotations."""
    import openai

    for question, (name, answer) in list(made.QUESTIONS.items())[:: len(PLACES)]:
        engine = Engine(knowing(index, question, answer), rows=1, most=1)
        with (
            in_background(make_app(engine), "This test") as url,
            openai.OpenAI(base_url=f"{url}/v1", api_key="-") as ai,
        ):
            messages: Any = [{"role": "user", "content": question}]
            message = ai.chat.completions.create(model="ragr1-lite", messages=messages).choices[0].message
        (source,) = message.annotations
        assert (message.content, source.file_citation["file"]) == (answer, name)


def test_a_model_asked_over_it_is_exported(made: ModuleType, setup: Setup, index: Path, tmp_path: Path) -> None:
    """What is written gives the same answers over the same index."""
    question, (_, answer) = next(iter(made.QUESTIONS.items()))
    over = Setup(model=setup.model, adapter=setup.adapter, dtype="fp32", index=str(index), k=1)
    for form, file in (("merged", "model.safetensors"), ("gguf", "model.gguf")):
        found = export(over, form, tmp_path / form, [Example("q", question, (answer,))])  # type: ignore[arg-type]
        assert found and found.same == 1.0
        assert (tmp_path / form / file).stat().st_size
