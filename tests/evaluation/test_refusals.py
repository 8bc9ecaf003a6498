"""`eval --unanswerable`: each question as it is and with its gold passages hidden, and who refuses which."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.protocol import NOT_FOUND, Protocol
from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.evaluation import Evaluation, compare, read_results, run
from ragr1_lite.evaluation.intervals import bootstrap, wilson
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.evaluation.report.page import pack
from ragr1_lite.evaluation.report.tables import causes, evaluation_rows, kinds, read_sources
from ragr1_lite.ui.evaluations import comparison_table, evaluation_table
from tests.evaluation.test_evaluation_runs import LIMITS, NAMES, asked
from tests.evaluation.test_report import row, saved
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

TIMID, BOLD, WRONG = {"Chad"}, {"Mali", "Niger"}, {"Togo"}
"""Refused whatever is found; answered whatever is found; answered wrongly."""


class Refusing(ScriptedSampler):
    """Searches for the name that it is asked for, and refuses where no document has it."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__([])
        self.answered, self._dies_at = 0, dies_at

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self._complete(request) for request in requests]

    def drawing(self, seed: int, temperature: float) -> Refusing:
        return self

    def _complete(self, request: SampleRequest) -> Completion:
        text = self.tokenizer.decode(request.token_ids)
        (name,) = (name for name in NAMES if asked(name) in text)
        if "<information>{" not in text:
            return self.complete(f"<think>I look for {name}.</think><search>{name}</search>")
        if self.answered == self._dies_at:
            raise KeyboardInterrupt
        self.answered += 1
        knows = name in BOLD or (f"All about {name}" in text and name not in TIMID)
        answer = ("no idea" if name in WRONG else name) if knows else NOT_FOUND
        return self.complete(f"<think>So.</think><answer>{answer}</answer>")


def evaluated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: ScriptedSampler | None = None, **options: Any
) -> Evaluation:
    path = tmp_path / "questions.jsonl"
    rows = [{"id": n, "question": asked(n), "answers": [n], "gold_titles": [n]} for n in NAMES]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assistant = Assistant(sampler or Refusing(), ScriptedSearcher(), Protocol(), LIMITS)
    monkeypatch.setattr(Assistant, "open_recipe", lambda recipe, **_: assistant)
    (evaluation,) = run(Setup(batch_size=3), data=str(path), **options)
    return evaluation


def figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        name: value
        for name, value in evaluation.to_json().items()
        if name not in ("resources", "seconds_per_question", "refusals")
    }


def test_right_and_wrong_refusals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of seven questions two are answered unseen; one is refused though it stands there. EM is of the seven alone."""
    evaluation = evaluated(monkeypatch, tmp_path, unanswerable=True)
    shares = {"right": wilson([1.0] * 5 + [0.0] * 2), "wrong": wilson([1.0] + [0.0] * 6)}
    found = evaluation.to_json()
    assert found["refusals"] == {name: one.to_json() for name, one in shares.items()}
    assert (found["n"], found["em"]) == (7, round(5 / 7, 4))
    assert figures(evaluation) == figures(evaluated(monkeypatch, tmp_path)), "no other figure counts the hidden ones"
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(evaluation_table([evaluation], console))
    said = "multi refused 71% of 7 (36%–92%) questions whose passages were hidden, and 14% of 7 (3%–51%) others."
    assert evaluation.refused == said and said in console.export_text()


def test_without_it_nothing_is_said_of_refusals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    evaluation = evaluated(monkeypatch, tmp_path, out=tmp_path / "x.jsonl")
    assert "refusals" not in evaluation.to_json() and evaluation.refused == ""
    assert not [row for row in read_results(tmp_path / "x.jsonl") if "hidden" in row]


def test_a_stopped_evaluation_goes_on_and_a_finished_one_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"unanswerable": True, "out": tmp_path / "x.jsonl"}
    whole = evaluated(monkeypatch, tmp_path, unanswerable=True)
    with pytest.raises(KeyboardInterrupt):
        evaluated(monkeypatch, tmp_path, Refusing(dies_at=8), **options)
    rest = Refusing()
    for sampler in (rest, ScriptedSampler([])):  # the second must not be asked
        evaluation = evaluated(monkeypatch, tmp_path, sampler, **options, resume=True)
        assert evaluation.to_json()["refusals"] == whole.to_json()["refusals"]
        assert figures(evaluation) == figures(whole)
    assert 0 < rest.answered < 14
    rows = read_results(tmp_path / "x.jsonl")
    assert [row["id"] for row in rows] == [*NAMES, *(f"{name}#hidden" for name in NAMES)]
    assert [row["em"] for row in rows[7:]] == [float(name not in BOLD) for name in NAMES]


def test_what_cannot_be_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mode direct reads none"):
        evaluated(monkeypatch, tmp_path, unanswerable=True, modes=["direct"])
    path = tmp_path / "plain.jsonl"
    path.write_text(json.dumps({"id": 1, "question": asked("Chad"), "answers": ["Chad"]}) + "\n")
    with pytest.raises(DataError, match="No question names its gold passages"):
        run(Setup(), data=str(path), unanswerable=True)


def asked_twice(*names: str, refused: str = "", **more: Any) -> list[dict[str, Any]]:
    """The rows of an evaluation whose one answer is Chad, but to those questions that are ``refused``."""
    said = {id: NOT_FOUND if id in refused.split() else "Chad" for one in names for id in (one, f"{one}#hidden")}
    hidden = {"answers": [NOT_FOUND], "hidden": ["Chad"], "kind": "bridge", **more}
    return [
        row(id, answer) if "#" not in id else row(id, answer, **hidden, em=float(answer == NOT_FOUND))
        for id, answer in said.items()
    ]


def test_a_comparison_counts_them_apart(tmp_path: Path) -> None:
    """By its ordinary questions A is better, by all five neither."""
    one = saved(tmp_path / "a.jsonl", *asked_twice(*"123"), row("4", "Chad"))
    two = saved(tmp_path / "b.jsonl", *asked_twice(*"123", refused="1 2 1#hidden 2#hidden 3#hidden"), row("4", "Chad"))
    plain = [
        saved(path.with_name(f"plain-{path.name}"), *read_results(path)[::2], row("4", "Chad")) for path in (one, two)
    ]
    found, without = compare(one, two), compare(*plain)
    assert (found.figures, found.differences, found.verdict) == (without.figures, without.differences, without.verdict)
    assert (found.questions, found.alone, without.refused) == (4, (0, 0), [])
    assert found.to_json()["b"]["refusals"] == {
        "right": wilson([1.0] * 3).to_json(), "wrong": wilson([1.0, 1.0, 0.0, 0.0]).to_json()
    }  # fmt: skip
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(comparison_table(found, console))
    text = console.export_text()
    assert "A refused 0% of 3 (0%–56%) questions whose passages were hidden, and 0% of 4 (0%–49%) others." in text
    assert "B refused 100% of 3 (44%–100%) questions" in text and "4 questions, A:" in text


def test_several_answers_of_a_question_count_once(tmp_path: Path) -> None:
    rows = [
        {**one, "sample": sample} for sample in (0, 1) for one in asked_twice("1", "2", refused="1#hidden" * sample)
    ]
    found = compare(*(saved(tmp_path / f"{name}.jsonl", *rows) for name in "ab"))
    assert found.refusals[0]["right"] == bootstrap([0.5, 0.0])


def test_a_report_counts_them_apart(tmp_path: Path) -> None:
    """Every trajectory is on the page, the hidden ones as a kind and without a cause."""
    file = saved(tmp_path / "x.jsonl", *asked_twice("1", "2", refused="1 1#hidden", cause="synthesis"))
    (evaluation,) = evaluations = read_sources([file]).evaluations
    said = "x refused 50% of 2 (9%–91%) questions whose passages were hidden, and 50% of 2 (9%–91%) others."
    (figures,) = evaluation_rows(evaluations)
    assert (figures["n"], figures["figures"]["EM"]["value"], figures["refused"]) == (2, ".50", said)
    assert kinds(evaluations) == {} and causes(evaluations)[0]["wrong"] == 1
    questions = pack(evaluations)["questions"]
    assert [one["kind"] for one in questions] == ["bridge"] * 2 + ["passages hidden"] * 2
    assert [one["tries"][0].get("cause") for one in questions] == ["synthesis", None, None, None]
    for form in ("html", "md"):
        made = write_report([file], tmp_path / f"x.{form}", format=form)
        assert made["trajectories"] == 4 and (tmp_path / f"x.{form}").read_text("utf-8").count(said) == 1


def test_nothing_but_hidden_ones(tmp_path: Path) -> None:
    file = saved(tmp_path / "x.jsonl", *asked_twice("1")[1:])
    with pytest.raises(DataError, match=r"In .*x\.jsonl all passages were hidden"):
        read_sources([file])
    with pytest.raises(DataError, match="no question in common, but those whose passages were hidden"):
        compare(file, file)
