"""From a folder of notes to questions and trajectories; and questions by models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import DataError, ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import read_questions
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.datagen.generate import generate
from ragr1_lite.datagen.questions import make_questions
from ragr1_lite.datagen.teachers import open_teacher
from ragr1_lite.retrieval import build_index, read_corpus
from tests.support.recorded import Asked, Reply, recorded

NOTES = {
    "oakvale": "A market town on the river Lenn.\n\n- Mayor: Ada Quill\n- Population: 3,210\n"
    "- Founded: 1612\n- Twins: Marn, Orr",
    "ashmere": "A port on the southern shore.\n\n- Mayor: Tobias Fenn\n- Population: 18,400\n- Founded: 1488",
    "pellgate": "A village in the hills.\n\n## Key facts\n\n- **Mayor:** Runa Holt\n- **Population:** 940\n"
    "- Founded: 1820",
    "ada quill": "Ada Quill (born 4 May 1961) rings bells.\n\n- Spouse: Mirek Dorn\n- Place of birth: Ashmere",
    "tobias fenn": "Tobias Fenn (born 12 November 1974) sails.\n\n- Spouse: Lena Orrick\n- Place of birth: Pellgate",
    "runa holt": "Runa Holt (born 30 January 1958) led a choir.\n\n- Place of birth: Oakvale\n"
    "- Note: ask about the lamp",
    "mirek dorn": "Mirek Dorn builds organs.\n\n- Workshop: Gull House\n- Status: active",
    "gull house": "It stands above the harbour.\n\n- Architect: Lena Orrick\n- Rooms: 14\n- Built: 1703",
    "lena orrick": "Lena Orrick (born 9 August 1979) swims in winter.\n\n- Place of birth: Crow Bay",
    "lights": "Three of them guide the boats.\n\n| Light | Height | Keeper |\n|---|---|---|\n"
    "| Crow Rock | 31 m | Odo Marsh |\n| Saint Brae | 54 m | Pia Lund |\n| Long Spit | 22 m | Hal Verrin |",
}
EXPECTED = {
    "Who is the mayor of Oakvale?": "Ada Quill",
    "What is the height of Saint Brae?": "54 m",
    "Who is the spouse of the mayor of Ashmere?": "Lena Orrick",
    "How many rooms does the workshop of Mirek Dorn have?": "14",
    "Where was the architect of Gull House born?": "Crow Bay",
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for name, text in NOTES.items():
        (folder / f"{name}.md").write_text(f"# {name.title()}\n\n{text}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def index(notes: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("indexes") / "index"
    assert build_index(read_corpus([notes]), out).passages == len(NOTES)
    return str(out)


@pytest.fixture(scope="module")
def questions(index: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    counts = make_questions(index, out=out)
    assert counts["passages"] == len(NOTES)
    assert min(counts["by_kind"][kind] for kind in ("one-hop", "bridge", "comparison")) >= 8
    return out


def test_notes_become_questions_that_read_well(questions: Path) -> None:
    made = {one.example.question: one.example.answers for one in read_questions(questions)}
    assert {question: made[question][0] for question in EXPECTED} == EXPECTED
    populations = [
        f"Which has the {word} population, {one} or {other}?"
        for word in ("greater", "smaller")
        for one in ("Oakvale", "Ashmere", "Pellgate")
        for other in ("Oakvale", "Ashmere", "Pellgate")
    ]
    assert len([question for question in populations if question in made]) == 2
    assert not [question for question in made if any(word in question for word in ("twins", "note", "status"))]


@pytest.mark.parametrize("mode", ["multi", "single"])
def test_the_questions_become_gold_trajectories(questions: Path, index: str, tmp_path: Path, mode: Any) -> None:
    counts = generate([str(questions)], Setup(model="gold", index=index, mode=mode), out=tmp_path / "gold.jsonl")
    made = Counter(one.example.kind for one in read_questions(questions))
    assert counts["by_kind"] == made
    records = read_records(tmp_path / "gold.jsonl")
    assert all(exact_match(record.answer, record.example.answers) for record in records)
    rounds = {one.rounds for one in records if one.example.kind == "bridge"}
    assert rounds == {2}


def chat(asked: Asked) -> Reply:
    """A model behind an endpoint that has read the note on Oakvale and knows nothing else."""
    if asked.method == "GET":
        return Reply(
            {"object": "list", "data": [{"id": "scripted", "object": "model", "created": 0, "owned_by": "us"}]}
        )
    prompt = asked.json["messages"][-1]["content"]
    text = "<question>Which river is Oakvale on?" if "Doc 1: Oakvale" in prompt else "Sorry."  # as it is cut off
    if prompt.startswith("Answer"):
        text = "<answer>the river Lenn" if "Doc 1" in prompt else "<answer>the Thames"
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    return Reply(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [choice], "usage": usage}
    )


def test_a_model_behind_an_endpoint_writes_and_is_checked(tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    build_index(
        [Passage("1", "Oakvale", "A town on the river Lenn."), Passage("2", "Marn", "On the Orr.")], tmp_path / "index"
    )
    with recorded(chat) as server:
        url = f"{server.url}/v1"
        counts = make_questions(index, out=tmp_path / "q.jsonl", teacher=url, kinds=["one-hop"])
    assert (counts["kept"], counts["rejected"]) == (1, {"reply in another form": 1})
    (question,) = read_questions(tmp_path / "q.jsonl")
    assert (question.example.question, question.example.answers) == ("Which river is Oakvale on?", ("Lenn",))
    assert question.example.titles == ("Oakvale",)


def test_the_built_in_model_is_asked_and_what_it_cannot_write_is_rejected(smollm2: Any, tmp_path: Path) -> None:
    passages = [Passage(str(i), name.title(), text) for i, (name, text) in enumerate(NOTES.items()) if i < 2]
    build_index(passages, tmp_path / "index")
    teacher = open_teacher(Setup(model="smollm2-135m", index=str(tmp_path / "index"), adapter="none").recipe())
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,relation,object\nOakvale,mayor,Ada Quill\nAshmere,mayor,Tobias Fenn\n", encoding="utf-8")
    results = []
    for name in ("one", "two"):
        try:
            counts = make_questions(str(tmp_path / "index"), out=tmp_path / name, facts=facts, teacher=teacher)
            results.append((counts["rejected"], (tmp_path / name).read_text(encoding="utf-8")))
            assert counts["kept"] + sum(counts["rejected"].values()) == 2
        except DataError as error:
            results.append(({}, error.message))
    assert results[0] == results[1]


def test_a_teacher_is_not_called_untrained(index: str, tmp_path: Path) -> None:
    """Whoever teaches need not be trained; the model is not there, so nothing goes on."""
    said: list[object] = []
    asked, model = tmp_path / "asked.jsonl", str(tmp_path / "gone")
    asked.write_text('{"question": "Who is the mayor of Oakvale?", "answer": "Ada Quill"}\n', encoding="utf-8")
    with pytest.raises(ModelError):
        make_questions(index, out=tmp_path / "made.jsonl", teacher=model, report=said.append)
    with pytest.raises(ModelError):
        generate(asked, Setup(model=model, index=index), out=tmp_path / "out.jsonl", report=said.append)
    assert [one.text for one in said if isinstance(one, Notice)] == []
