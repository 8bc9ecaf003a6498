"""Studies: variants of a recipe on the same questions, and their comparison."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.assistant import Assistant
from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError, DataError, RetrievalIndexError, RunError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.evaluation import read_results
from ragr1_lite.evaluation.study import (
    STUDIES,
    SUMMARY,
    Design,
    Outcome,
    VariantSpec,
    draw_study,
    find_design,
    run_study,
    with_variants,
)
from ragr1_lite.ui.evaluations import study_markdown, study_table
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

RECIPE = "grpo-smollm2-135m"
SEARCH = "<think>I need facts.</think><search>chad, mali, niger, togo, benin</search>"


class Answers(ScriptedSampler):
    """Asks for five things at once, then answers; in any row of any batch."""

    def __init__(self, right: str) -> None:
        super().__init__([])
        self._answer = f"<think>So.</think><answer>{right}</answer>"

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self.write(self.tokenizer.decode(request.token_ids)) for request in requests]

    def write(self, text: str) -> Completion:
        return self.complete(self._answer if text.count("<information>") > 1 else SEARCH)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Assistants whose adapters decide what they answer; collects the adapters that were loaded."""
    adapters: list[str] = []

    def open_recipe(recipe: Recipe, *, report: Any) -> Assistant:
        adapter = recipe.model.adapter or "none"
        adapters.append(Path(adapter).name)
        sampler = Answers("Chad" if adapter.endswith("right") else "Mali")
        return Assistant(sampler, ScriptedSearcher(), Protocol(), Limits())

    def open_searcher(index: str, report: Any = None) -> Any:
        if index.startswith("web"):
            raise RetrievalIndexError("The web is not there", "Plug it in.")
        return ScriptedSearcher()

    monkeypatch.setattr(Assistant, "open_recipe", open_recipe)
    monkeypatch.setattr("ragr1_lite.retrieval.open_searcher", open_searcher)
    return adapters


@pytest.fixture
def study(tmp_path: Path, opened: list[str]) -> Callable[..., Outcome]:
    questions = tmp_path / "questions.jsonl"
    rows = [{"id": str(n), "question": f"Which is larger, {n}?", "answers": ["Chad"]} for n in range(6)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(design: Design, **options: Any) -> Outcome:
        settings = [f"eval.data={questions}", "model.adapter=wrong"]
        return run_study(design, RECIPE, settings, **options)

    return run


def test_every_study_has_variants_that_are_recipes() -> None:
    assert list(STUDIES) == ["single-multi", "queries", "search", "models"]
    assert [one.label for one in STUDIES["queries"].variants] == list("12345")
    assert all(len(design.variants) > 1 for design in STUDIES.values())
    with pytest.raises(ConfigError, match="no study qeries") as error:
        find_design("qeries")
    assert error.value.hint == "Did you mean queries?"


def test_variants_are_changed_and_added() -> None:
    design = with_variants(
        STUDIES["single-multi"], ["single:model.adapter=a:b=c", "more:rollout.mode=rag", "more:seed=1"]
    )
    assert design.variants[0] == VariantSpec("single", ("rollout.mode=single", "model.adapter=a:b=c"))
    assert design.variants[1] == STUDIES["single-multi"].variants[1]
    assert design.variants[2] == VariantSpec("more", ("rollout.mode=rag", "seed=1"))
    web = with_variants(STUDIES["search"], ["web:retrieval.index=web+brave://"]).variants[2]
    assert web.missing == "" and web.settings == ("retrieval.index=web+brave://",)


@pytest.mark.parametrize("change", ["multi", "multi:mode", ":a=b", "../x:a=b", "a/b:c=d"])
def test_a_change_of_another_form(change: str) -> None:
    with pytest.raises(ConfigError, match="is not LABEL:KEY=VALUE"):
        with_variants(STUDIES["queries"], [change])


def test_one_query_against_several(study: Callable[..., Outcome], opened: list[str], tmp_path: Path) -> None:
    design = with_variants(STUDIES["single-multi"], ["multi:model.adapter=right"])
    outcome = study(design, batch_size=4, out=tmp_path / "out")
    first, second = outcome.rows
    assert opened == ["wrong", "right"] and outcome.questions == 6
    assert first.evaluation and second.evaluation and second.em
    assert [row.evaluation.figures()["em"] for row in outcome.rows if row.evaluation] == [0, 1]
    assert [row.evaluation.figures()["queries"] for row in outcome.rows if row.evaluation] == [1, 3]
    assert second.em.interval.bounds == [1, 1] and (second.saved or {})["queries"] == -2
    assert [row["mode"] for row in read_results(tmp_path / "out" / "multi.jsonl")] == ["multi"] * 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["multi.jsonl", "single.jsonl"]
    with pytest.raises(DataError, match=r"single\.jsonl exists"):
        study(design, out=tmp_path / "out")
    study(design, out=tmp_path / "out", overwrite=True)


def test_a_model_is_loaded_once(study: Callable[..., Outcome], opened: list[str]) -> None:
    outcome = study(STUDIES["queries"])
    assert opened == ["wrong"]
    asked = [row.evaluation.figures()["queries"] for row in outcome.rows if row.evaluation]
    assert asked == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["model.engine=transformers", "model.dtype=fp32", "rollout.max_length=4096"])
def test_variants_that_are_loaded_differently_share_no_sampler(
    change: str, study: Callable[..., Outcome], opened: list[str]
) -> None:
    outcome = study(with_variants(STUDIES["single-multi"], [f"multi:{change}"]))
    assert opened == ["wrong", "wrong"]
    assert all(row.evaluation for row in outcome.rows)


def test_no_variant_overwrites_a_file_that_is_there(study: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "multi.jsonl").write_text("results of another study")
    with pytest.raises(DataError, match=r"multi\.jsonl exists"):
        study(STUDIES["single-multi"], out=tmp_path)
    assert (tmp_path / "multi.jsonl").read_text() == "results of another study"


def test_what_cannot_be_run_is_said(study: Callable[..., Outcome]) -> None:
    notices: list[object] = []
    bm25 = replace(STUDIES["search"], variants=tuple(one for one in STUDIES["search"].variants if not one.served))
    outcome = study(bm25, report=notices.append)
    assert outcome.rows[1].to_json() == {"variant": "web", "problem": bm25.variants[1].missing}
    warnings = [one.text for one in notices if isinstance(one, Notice) and one.level == "warning"]
    assert warnings == [f"web was not run: {bm25.variants[1].missing}"]
    broken = study(with_variants(bm25, ["web:retrieval.index=web+brave://"]))
    assert broken.rows[1].problem == "The web is not there. Plug it in." and broken.rows[0].evaluation
    with pytest.raises(ConfigError, match="No variant of search can be run: The web is not there"):
        study(with_variants(replace(bm25, variants=bm25.variants[1:]), ["web:retrieval.index=web+brave://"]))
    with pytest.raises(ConfigError, match="--resume needs --out"):
        study(bm25, resume=True)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Stops the samplers after so many texts, or lets them write on."""
    write = Answers.write

    def stop_after(most: int | None) -> None:
        written = 0

        def write_until(self: Answers, text: str) -> Completion:
            nonlocal written
            written += 1
            if most is not None and written > most:
                raise KeyboardInterrupt
            return write(self, text)

        monkeypatch.setattr(Answers, "write", write_until)

    return stop_after


@pytest.mark.parametrize(
    ("changes", "stopped_after"),
    [([], 10), (["multi:model.dtype=fp32"], 16)],
    ids=["of one model", "in its second model"],
)
def test_a_stopped_study_goes_on(
    changes: list[str],
    stopped_after: int,
    study: Callable[..., Outcome],
    stop: Callable[[int | None], None],
    tmp_path: Path,
) -> None:
    design = with_variants(STUDIES["single-multi"], changes)
    whole = study(design, batch_size=2, out=tmp_path / "whole")
    stop(stopped_after)
    with pytest.raises(KeyboardInterrupt):
        study(design, batch_size=2, out=tmp_path / "cut")
    stop(24 - stopped_after + 2)  # of its 24 texts all that are finished are kept
    again = study(design, batch_size=2, out=tmp_path / "cut", resume=True)
    for one, other in zip(whole.rows, again.rows, strict=True):
        assert one.evaluation and other.evaluation
        assert [r.trajectory for r in one.evaluation.results] == [r.trajectory for r in other.evaluation.results]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["multi.jsonl", "single.jsonl"]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("questions.jsonl", "larger, 4", "smaller, 4", "content of the questions"),
        ("mine.yaml", "max_rounds: 3", "max_rounds: 2", "recipe of multi, recipe of single"),
        ("prompt.txt", "Answer", "Please answer", "recipe of multi, recipe of single"),
    ],
)
def test_a_study_of_a_changed_file_does_not_go_on(
    file: str, old: str, new: str, words: str,
    study: Callable[..., Outcome], stop: Callable[[int | None], None], tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "prompt.txt").write_text("Answer: {question}")
    (tmp_path / "mine.yaml").write_text(
        f"task: grpo\nmodel: {{adapter: wrong}}\neval: {{data: {tmp_path / 'questions.jsonl'}}}\n"
        f"rollout:\n  template: {tmp_path / 'prompt.txt'}\n  max_rounds: 3\n"
    )
    options: dict[str, Any] = {"batch_size": 2, "out": tmp_path / "out"}
    stop(10)
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDIES["single-multi"], str(tmp_path / "mine.yaml"), **options)
    stop(None)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(RunError, match=words) as error:
        run_study(STUDIES["single-multi"], str(tmp_path / "mine.yaml"), **options, resume=True)
    assert "--overwrite" in error.value.hint
    (tmp_path / file).write_text(text)
    assert run_study(STUDIES["single-multi"], str(tmp_path / "mine.yaml"), **options, resume=True).questions == 6


def test_a_variant_that_opens_at_last_takes_no_results_of_another(
    study: Callable[..., Outcome],
    stop: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    design = with_variants(STUDIES["single-multi"], ["web:retrieval.index=web+brave://"])
    stop(10)
    with pytest.raises(KeyboardInterrupt):
        study(design, batch_size=2, out=tmp_path / "out")
    stop(None)
    monkeypatch.setattr("ragr1_lite.retrieval.open_searcher", lambda *_: ScriptedSearcher())
    with pytest.raises(RunError, match="recipe of web"):
        study(design, batch_size=2, out=tmp_path / "out", resume=True)


def test_a_server_is_there_for_a_while() -> None:
    pytest.importorskip("fastapi")
    from ragr1_lite.retrieval import make_app, open_searcher
    from ragr1_lite.retrieval.remote.hosting import in_background

    with in_background(make_app(ScriptedSearcher()), "The test") as url:
        searcher: Any = open_searcher(url)
        ((found,), (other,)) = searcher.search(["chad", "mali"], 1)
        searcher.close()
    assert (found.title, other.title) == ("Chad", "Mali")
    with pytest.raises(RetrievalIndexError, match="does not answer"):
        open_searcher(url)


def test_the_table_the_markdown_and_the_plot(study: Callable[..., Outcome], tmp_path: Path) -> None:
    design = with_variants(STUDIES["single-multi"], ["multi:model.adapter=right", "web:retrieval.index=web+brave://"])
    outcome = study(design)
    console = Console(file=io.StringIO(), width=160)
    console.print(study_table(outcome, console))
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0][:8] == "One query a turn, or several at once? 6".split()[:8]
    assert lines[2][:3] == ["single", ".00", ".00–.00"] and lines[3][:3] == ["multi", "1.00", "1.00–1.00"]
    assert lines[3][3:7] == ["+1.00", "(+1.00", "to", "+1.00)"]
    assert lines[4][:4] == ["web", "was", "not", "run:"]
    written = study_markdown(outcome)
    assert "| multi | 1.00 | 1.00–1.00 | +1.00 (+1.00 to +1.00) | 1.00 | 3.00 |" in written
    assert written.count("\n|") == 4 and "web was not run" in written
    draw_study(outcome, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert drawn.startswith("<?xml") and all(f">{word}<" in drawn for word in ("single", "multi", "EM", "Rounds"))
    assert ">web<" not in drawn
    draw_study(outcome, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_finished_study_is_read_again(study: Callable[..., Outcome], opened: list[str], tmp_path: Path) -> None:
    design = with_variants(STUDIES["single-multi"], ["multi:model.adapter=right"])
    first = study(design, batch_size=4, out=tmp_path / "out")
    before, loaded = contents(tmp_path / "out"), len(opened)
    again = study(design, batch_size=4, out=tmp_path / "out", resume=True)
    assert again.again and not first.again and len(opened) == loaded
    assert [row.evaluation.figures()["em"] for row in again.rows if row.evaluation] == [0, 1]
    assert again.rows[1].em == first.rows[1].em and contents(tmp_path / "out") == before
    more = with_variants(design, ["third:rollout.mode=rag"])
    with pytest.raises(DataError, match="exists"):
        study(more, batch_size=4, out=tmp_path / "out", resume=True)


def test_a_finished_study_knows_what_was_not_run(study: Callable[..., Outcome], tmp_path: Path) -> None:
    design = with_variants(STUDIES["single-multi"], ["web:retrieval.index=web+brave://"])
    first = study(design, batch_size=4, out=tmp_path / "out")
    (tmp_path / "out" / SUMMARY).write_text(json.dumps(first.to_json()), encoding="utf-8")
    again = study(design, batch_size=4, out=tmp_path / "out", resume=True)
    assert [row.problem for row in again.rows] == [row.problem for row in first.rows] != ["", "", ""]


def test_a_study_does_not_replace_its_questions(study: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "multi.jsonl").symlink_to(tmp_path / "questions.jsonl")
    before = (tmp_path / "questions.jsonl").read_bytes()
    with pytest.raises(DataError, match="which is read"):
        study(STUDIES["single-multi"], out=tmp_path, overwrite=True)
    assert (tmp_path / "questions.jsonl").read_bytes() == before
