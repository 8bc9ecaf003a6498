"""`--resume` on an evaluation that is finished: the figures again, nothing asked, nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.evaluation import run
from tests.evaluation.test_evaluation_runs import LIMITS, NAMES, Knowing, asked
from tests.support.scripted import ScriptedSearcher

Open = Callable[[Knowing], Knowing]


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": asked(n), "answers": [n]}) + "\n" for n in NAMES))
    return str(path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Makes a sampler the one of every assistant that is opened."""

    def use(sampler: Knowing) -> Knowing:
        assistant = Assistant(sampler, ScriptedSearcher(), Protocol(), LIMITS)
        monkeypatch.setattr(Assistant, "open_recipe", lambda recipe, **_: assistant)
        return sampler

    return use


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def figures(evaluations: Any) -> list[dict[str, Any]]:
    """All that does not hang on how long it took, of which the file has four digits."""
    found = [one.to_json() for one in evaluations]
    kinds = [kind for one in found for kind in one["by_kind"].values()]
    for one in [*found, *kinds]:
        one.pop("resources", None)
        one["seconds_per_question"] = round(one["seconds_per_question"], 2)
    return found


@pytest.mark.parametrize(
    "more",
    [
        {"modes": ("multi",)},
        {"modes": ("multi", "direct")},
        {"modes": ("direct",), "samples": 2, "seed": 1},
        {"modes": ("multi",), "normalizer": "squad"},
    ],
    ids=["one mode", "modes", "samples", "normalizer"],
)
def test_the_figures_again(more: dict[str, Any], questions: str, opened: Open, tmp_path: Path) -> None:
    options: dict[str, Any] = {"setup": Setup(batch_size=2), "data": questions, "out": tmp_path / "x.jsonl", **more}
    opened(Knowing())
    first = run(**options)
    before, asleep, notices = contents(tmp_path), opened(Knowing()), list[object]()
    again = run(**options, resume=True, report=notices.append)
    assert figures(again) == figures(first)
    assert asleep.log == [] and contents(tmp_path) == before
    assert f"{tmp_path}/x.jsonl is finished: nothing was asked, and nothing was changed." in [
        one.text for one in notices if isinstance(one, Notice)
    ]


def test_an_evaluation_that_gave_up_says_so_again(questions: str, opened: Open, tmp_path: Path) -> None:
    class Silent(Knowing):
        def _complete(self, request: Any) -> Any:
            self.log.append("?")
            return self.complete("?")

    options: dict[str, Any] = {"setup": Setup(batch_size=2), "data": questions, "out": tmp_path / "x.jsonl"}
    opened(Silent())
    run(**options, give_up_after=3)
    [again] = run(**options, give_up_after=3, resume=True)
    assert (again.figures()["n"], again.not_asked) == (3, 4)
    with pytest.raises(RunError, match="of other questions, another mode or other samples"):
        run(**options, resume=True)


@pytest.mark.parametrize("other", [{"modes": ("direct",)}, {"samples": 2}, {"questions": 3}, {"kinds": ["even"]}])
def test_another_evaluation_is_not_taken_for_this_one(
    other: dict[str, Any], questions: str, opened: Open, tmp_path: Path
) -> None:
    out = tmp_path / "x.jsonl"
    opened(Knowing())
    run(data=questions, out=out)
    with pytest.raises((RunError, DataError), match=r"of other questions|There is no question"):
        run(data=questions, out=out, resume=True, **other)


def test_what_was_to_be_overwritten_goes_on_after_a_stop(questions: str, opened: Open, tmp_path: Path) -> None:
    options: dict[str, Any] = {"setup": Setup(batch_size=2), "data": questions, "out": tmp_path / "x.jsonl"}
    opened(Knowing())
    run(**options)
    opened(Knowing(dies_at=3))
    with pytest.raises(KeyboardInterrupt):
        run(**options, overwrite=True)
    rest = opened(Knowing())
    assert run(**options, resume=True)[0].figures()["n"] == 7 and 0 < len(rest.log) < 7
    assert run(**options, resume=True)[0].figures()["n"] == 7 and len(rest.log) < 7


def test_a_question_set_is_never_the_result(questions: str, opened: Open, tmp_path: Path) -> None:
    before = Path(questions).read_bytes()
    (tmp_path / "link.jsonl").symlink_to(questions)
    sets = tmp_path / "x-multi.jsonl"
    sets.write_bytes(before)
    asleep = opened(Knowing())
    for data, out, more in (
        (questions, questions, {"overwrite": True}),
        (questions, questions, {"resume": True}),
        (questions, questions, {}),
        (questions, tmp_path / "link.jsonl", {"overwrite": True}),
        (sets, tmp_path / "x.jsonl", {"overwrite": True, "modes": ("multi", "direct")}),
    ):
        with pytest.raises(DataError, match="which is read"):
            run(data=str(data), out=Path(out), **more)
    assert asleep.log == [] and Path(questions).read_bytes() == sets.read_bytes() == before
