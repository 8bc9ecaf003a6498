"""`--resume` on trajectories and questions that are finished, and outputs that name what is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Setup
from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice
from ragr1_lite.datagen import generate as generating
from ragr1_lite.datagen import selection
from ragr1_lite.datagen.generate import generate
from ragr1_lite.datagen.questions import make_questions
from ragr1_lite.datagen.selection import Rule
from tests.datagen.test_generate import ScriptedTeacher, by_seed, right

Taught = Callable[..., dict[str, Any]]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "q.jsonl"
    rows = [{"id": f"q{n}", "question": f"{n}?", "answers": [f"{n} is good"], "kind": "k"} for n in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch, questions: Path, tmp_path: Path) -> Taught:
    def run(teacher: ScriptedTeacher, out: Path | None = None, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(generating, "open_teacher", lambda *_, **__: teacher)
        setup = Setup(model="any", adapter="none", index="world", batch_size=4)
        return generate(options.pop("questions", questions), setup, out=out or tmp_path / "t.jsonl", **options)

    return run


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("keeps_rejected", [True, False])
def test_the_counts_again(taught: Taught, keeps_rejected: bool, tmp_path: Path) -> None:
    options = {"rejected": tmp_path / "r.jsonl"} if keeps_rejected else {}
    counts = taught(ScriptedTeacher(by_seed), **options)
    before, idle, notices = contents(tmp_path), ScriptedTeacher(right), list[object]()
    again = taught(idle, resume=True, report=notices.append, **options)
    assert idle.samplers == [] and contents(tmp_path) == before and 0 < counts["kept"] < 10
    if not keeps_rejected:
        counts |= {"rejected": {"not in a file": 10 - counts["kept"]}}
    assert again == counts
    assert any(isinstance(one, Notice) and "is finished" in one.text for one in notices)


def test_everything_kept_leaves_an_empty_file_of_rejected_ones(taught: Taught, tmp_path: Path) -> None:
    first = taught(ScriptedTeacher(right), rejected=tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == b""
    assert taught(ScriptedTeacher(right), rejected=tmp_path / "r.jsonl", resume=True) == first


def test_the_trajectories_of_other_questions_are_not_taken_for_these(taught: Taught, questions: Path) -> None:
    taught(ScriptedTeacher(right))
    questions.write_text(questions.read_text("utf-8").replace("3?", "What is 3?"), encoding="utf-8")
    with pytest.raises(RunError, match="is of other questions, such as q3"):
        taught(ScriptedTeacher(right), resume=True)


def test_neither_file_replaces_the_questions(taught: Taught, questions: Path, tmp_path: Path) -> None:
    before = questions.read_bytes()
    (tmp_path / "hard.jsonl").hardlink_to(questions)
    for out in (questions, tmp_path / "hard.jsonl"):
        for more in ({"overwrite": True}, {"resume": True}, {}):
            with pytest.raises(DataError, match=r"--out names .*, which is read"):
                taught(ScriptedTeacher(right), out, **more)
    with pytest.raises(DataError, match=r"--rejected names .*, which is read"):
        taught(ScriptedTeacher(right), rejected=questions, overwrite=True)
    assert questions.read_bytes() == before == (tmp_path / "hard.jsonl").read_bytes()


def test_a_selection_does_not_replace_the_questions_it_set_aside(
    questions: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selection, "open_teacher", lambda *_, **__: pytest.fail("a model was opened"))
    aside = questions.rename(tmp_path / "rl.validation.jsonl")
    before, setup = aside.read_bytes(), Setup(model="any", adapter="none", index="world")
    for out in (tmp_path / "rl.jsonl", aside):
        with pytest.raises(DataError, match=r"names .*rl\.validation\.jsonl, which is read"):
            selection.run([str(aside)], out, setup, rule=Rule(), overwrite=True)
    assert aside.read_bytes() == before


def test_made_questions(tmp_path: Path) -> None:
    facts, out = tmp_path / "facts.csv", tmp_path / "made.jsonl"
    facts.write_text("subject,relation,object\nChad,capital,N'Djamena\nMali,capital,Bamako\n", encoding="utf-8")
    counts = make_questions("world", out=out, facts=facts, kinds=["one-hop"])
    before = contents(tmp_path)
    again = make_questions("world", out=out, facts=facts, kinds=["one-hop"], resume=True)
    assert (again["kept"], again["by_kind"]) == (counts["kept"], counts["by_kind"]) and contents(tmp_path) == before
    with pytest.raises(DataError, match=r"facts\.csv, which is read"):
        make_questions("world", out=facts, facts=facts, overwrite=True)
    assert contents(tmp_path) == before
