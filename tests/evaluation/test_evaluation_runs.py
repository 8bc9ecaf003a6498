"""Evaluations in batches: the same results however they are cut, drawn, interleaved or cut off."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.core.errors import ConfigError, DataError, RunError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseFinished
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import OURS
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Example, SampleRequest
from ragr1_lite.data.benchmarks import BENCHMARKS
from ragr1_lite.data.questions import read_questions
from ragr1_lite.data.sets import load_examples
from ragr1_lite.evaluation import Draws, Evaluation, Variant, evaluate_variants, read_results, run
from ragr1_lite.evaluation.results import from_row, to_journal, to_row
from ragr1_lite.evaluation.variants import cut
from tests.support.adapters import save_adapter_files
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher

LIMITS = Limits(max_rounds=2, k=2, max_new_tokens=100, max_length=4000)
NAMES = "Chad Mali Niger Togo Benin Ghana Gabon".split()


def asked(name: str) -> str:
    return f"Which country is {name * len(name)}?"


EXAMPLES = [Example(name, asked(name), (name,), "even" if len(name) % 2 == 0 else "odd") for name in NAMES]
UNKNOWN = {"Togo", "Ghana"}


class Knowing(ScriptedSampler):
    """Searches once, then answers what the prompt asks for; a drawn one errs by its seed. Keeps what it was asked."""

    def __init__(self, *, seed: int | None = None, log: list[str] | None = None, dies_at: int | None = None) -> None:
        super().__init__([])
        self.tokenizer = ByteTokenizer()
        self.log: list[str] = [] if log is None else log
        self._seed, self._dies_at = seed, dies_at

    def drawing(self, seed: int, temperature: float) -> Knowing:
        assert temperature > 0
        return Knowing(seed=seed, log=self.log, dies_at=self._dies_at)

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        completions = [self._complete(request) for request in requests]
        if self._dies_at is not None and len(self.log) >= self._dies_at:
            raise KeyboardInterrupt
        return completions

    def _complete(self, request: SampleRequest) -> Completion:
        text = self.tokenizer.decode(request.token_ids)
        (name,) = (name for name in NAMES if asked(name) in text)
        if "Think" in text and "<information>{" not in text:
            return self.complete(f"<think>I look for {name}.</think><search>{name}, map</search>")
        self.log.append(name)
        errs = self._seed is not None and random.Random(f"{self._seed} {request.row}").random() < 0.4
        return self.complete(f"<think>So.</think><answer>{'no idea' if errs or name in UNKNOWN else name}</answer>")


def variant(sampler: Any, label: str = "multi", mode: Any = "multi") -> Variant:
    return Variant(label, sampler, ScriptedSearcher(), Protocol(mode), LIMITS)


def timeless(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"seconds": 0} for row in rows]


def rows_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    return timeless([to_row(one) for one in evaluation.results])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50])
def test_batches_change_nothing(batch_size: int) -> None:
    (whole,) = evaluate_variants(EXAMPLES, [variant(Knowing())])
    (cut_up,) = evaluate_variants(EXAMPLES, [variant(Knowing())], batch_size=batch_size)
    assert rows_of(cut_up) == rows_of(whole)
    assert [one.trajectory.example for one in cut_up.results] == EXAMPLES
    assert cut_up.figures()["em"] == round(5 / 7, 4)
    assert cut_up.resources
    assert sum(one.seconds for one in cut_up.results) == pytest.approx(cut_up.resources.seconds)


def test_a_batch_is_of_like_length() -> None:
    batches = cut(EXAMPLES, 3)
    assert sorted(at for batch in batches for at in batch) == list(range(7))
    lengths = [[len(EXAMPLES[at].question) for at in batch] for batch in batches]
    assert all(max(one) <= min(other) for one, other in zip(lengths, lengths[1:], strict=False))
    assert [len(batch) for batch in cut(EXAMPLES, 4, samples=2)] == [2, 2, 2, 1]
    assert [len(batch) for batch in cut(EXAMPLES, 1, samples=5)] == [1] * 7
    assert cut([], None) == cut([], 4) == []


def test_variants_take_turns() -> None:
    log: list[str] = []
    events: list[object] = []
    first, second = variant(Knowing(log=log)), variant(Knowing(log=log), "direct", "direct")
    found = evaluate_variants(EXAMPLES[:4], [first, second], batch_size=2, report=events.append)
    assert log == [*["Chad", "Mali"] * 2, *["Togo", "Niger"] * 2]
    assert [one.label for one in found] == ["multi", "direct"]
    assert [one.figures()["rounds"] for one in found] == [1, 0]
    advanced = [event for event in events if isinstance(event, PhaseAdvanced)]
    assert [event.done for event in advanced if event.part == "going on"] == list(range(1, 9))
    ended = [(event.done, event.share) for event in advanced if event.part == "ended"]
    assert ended == [(2, 68 / 290), (4, 136 / 290), (6, 213 / 290), (8, 1.0)], "by the length of what was asked"
    assert isinstance(events[-1], PhaseFinished) and events[-1].name == "Evaluating multi, direct"


@pytest.mark.parametrize("batch_size", [None, 2, 5])
def test_a_variant_that_answers_nothing_is_given_up(batch_size: int | None) -> None:
    """The other one, which misses some of the first three only, is asked everything."""
    silent, knowing, events = ScriptedSampler(["?"]), Knowing(), list[object]()
    asked_of = [variant(silent, "silent"), variant(knowing, "knowing")]
    none, all_seven = evaluate_variants(
        EXAMPLES, asked_of, batch_size=batch_size, give_up_after=3, report=events.append
    )
    assert [one.trajectory.example for one in none.results] == EXAMPLES[:3]
    assert [one.trajectory.example for one in all_seven.results] == EXAMPLES
    figures, others = none.to_json(), all_seven.to_json()
    assert (figures["n"], figures["not_asked"], figures["em"], figures["no_answer"]) == (3, 4, 0.0, 3)
    assert others["n"] == 7 and "not_asked" not in others
    sentence = "silent: 0 of the first 3 questions got an answer; the other 4 were not asked."
    assert [event.text for event in events if isinstance(event, Notice)] == [sentence]
    assert (none.given_up, all_seven.given_up) == (sentence, "")


def test_one_answer_is_enough_to_be_asked_everything() -> None:
    class Late(Knowing):
        def _complete(self, request: SampleRequest) -> Completion:
            first = asked("Niger") not in self.tokenizer.decode(request.token_ids)
            return self.complete("?") if first else super()._complete(request)

    (found,) = evaluate_variants(EXAMPLES, [variant(Late())], batch_size=1, give_up_after=3)
    assert found.figures()["n"] == 7 and found.figures()["em"] == round(1 / 7, 4) and not found.given_up


def test_few_questions_are_all_asked() -> None:
    (found,) = evaluate_variants(EXAMPLES[:3], [variant(ScriptedSampler(["?"]))], give_up_after=3)
    assert found.figures()["n"] == 3 and not found.given_up


def test_where_no_tag_is_asked_for_none_is_missed() -> None:
    answers = ScriptedSampler(["<answer>Chad</answer>"])
    valid = {
        mode: evaluate_variants(EXAMPLES[:1], [variant(answers, mode, mode)])[0].figures()["valid"]
        for mode in ("direct", "rag", "cot-rag", "multi")
    }
    assert valid == {"direct": 1, "rag": 1, "cot-rag": 1, "multi": 0}


def test_results_outlive_a_journal() -> None:
    (one,) = evaluate_variants(EXAMPLES[:2], [variant(Knowing())])
    for result in one.results:
        again = from_row(json.loads(json.dumps(to_journal(result))), OURS)
        assert again == result and again.trajectory.token_ids == result.trajectory.token_ids


# --- drawn answers ------------------------------------------------------------------------------------------------


def test_samples_tell_their_spread() -> None:
    draws = Draws(4, 1.0, seed=3)
    (one,) = evaluate_variants(EXAMPLES, [variant(Knowing())], draws=draws, batch_size=8)
    assert [(r.trajectory.example.id, r.sample) for r in one.results] == [(n, s) for n in NAMES for s in range(4)]
    json_form = one.to_json()
    by_sample = [[r.em for r in one.results if r.sample == s] for s in range(4)]
    means = [sum(values) / 7 for values in by_sample]
    mean = sum(means) / 4
    deviation = (sum((value - mean) ** 2 for value in means) / 3) ** 0.5
    assert (json_form["n"], json_form["samples"]) == (7, 4)
    assert json_form["em"] == pytest.approx(mean, abs=1e-4) and 0 < mean < 5 / 7
    assert json_form["spread"]["em"] == pytest.approx(deviation, abs=1e-4) and deviation > 0
    assert json_form["spread"]["any_right"] == round(5 / 7, 4)
    assert sum(json_form["causes"].values()) == 28 - sum(map(sum, by_sample))
    assert json_form["ci"]["em"] == [pytest.approx(value, abs=0.3) for value in (0.2, 0.8)]
    assert json_form["by_kind"]["even"]["n"] == sum(one.kind == "even" for one in EXAMPLES)
    (again,) = evaluate_variants(EXAMPLES, [variant(Knowing())], draws=draws, batch_size=8)
    (other,) = evaluate_variants(EXAMPLES, [variant(Knowing())], draws=Draws(4, 1.0, seed=4), batch_size=8)
    assert rows_of(again) == rows_of(one) != rows_of(other)


def test_intervals_are_of_questions_not_of_answers() -> None:
    (once,) = evaluate_variants(EXAMPLES, [variant(Knowing())])
    repeated = Evaluation("x", tuple(one for one in once.results for _ in range(5)), samples=5)
    assert repeated.intervals() == once.intervals() and repeated.figures()["n"] == 7


def test_greedy_is_not_drawn() -> None:
    class Undrawn(Knowing):
        def drawing(self, seed: int, temperature: float) -> Knowing:
            raise AssertionError

    evaluate_variants(EXAMPLES, [variant(Undrawn())], draws=Draws(1, 0.0, 5))


# --- as asked for -------------------------------------------------------------------------------------------------


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": asked(n), "answers": [n]}) + "\n" for n in NAMES))
    return str(path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Knowing], Knowing]:
    """Makes a sampler the one of every assistant that is opened."""

    def use(sampler: Knowing) -> Knowing:
        assistant = Assistant(sampler, ScriptedSearcher(), Protocol(), LIMITS)
        monkeypatch.setattr(Assistant, "open_recipe", lambda recipe, **_: assistant)
        return sampler

    return use


@pytest.mark.parametrize("more", [{}, {"samples": 2, "seed": 1}], ids=["greedy", "drawn"])
@pytest.mark.parametrize("dies_at", [1, 4, 9])
def test_a_stop_costs_the_unfinished_batch(
    dies_at: int, more: dict[str, Any], questions: str, opened: Callable[[Knowing], Knowing], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"setup": Setup(batch_size=2), "data": questions, "modes": ("multi", "direct"), **more}
    opened(Knowing())
    run(**options, out=tmp_path / "whole.jsonl")
    stopped, notices = opened(Knowing(dies_at=dies_at)), list[object]()
    with pytest.raises(KeyboardInterrupt):
        run(**options, out=tmp_path / "cut.jsonl", report=notices.append)
    assert not (tmp_path / "cut-multi.jsonl").exists()
    finished = len(stopped.log) - len(stopped.log) % 2 - (2 if len(stopped.log) % 2 == 0 else 0)
    kept_back = [one for one in notices if isinstance(one, Notice) and "--resume" in one.text]
    assert len(kept_back) == (finished > 0)
    journal = tmp_path / ".cut.jsonl.journal"
    assert journal.exists() == (finished > 0)
    rest = opened(Knowing())
    found = run(**options, out=tmp_path / "cut.jsonl", resume=finished > 0)
    assert len(rest.log) == 14 * more.get("samples", 1) - finished
    for mode in ("multi", "direct"):
        whole, cut_off = (read_results(tmp_path / f"{name}-{mode}.jsonl") for name in ("whole", "cut"))
        assert timeless(whole) == timeless(cut_off)
    assert found[0].resources and found[0].to_json()["resources"]["per_question"]["seconds"] > 0
    assert not journal.exists()


def test_a_stopped_evaluation_gives_up_as_a_whole_one_does(questions: str, opened: Any, tmp_path: Path) -> None:
    """Its journal holds nothing of the batches that were not asked."""
    options: dict[str, Any] = {"setup": Setup(batch_size=2), "data": questions, "modes": ("multi", "direct")}

    class Silent(Knowing):
        def _complete(self, request: SampleRequest) -> Completion:
            self.log.append("?")
            return self.complete("?")

    opened(Silent(dies_at=6))
    with pytest.raises(KeyboardInterrupt):
        run(**options, give_up_after=3, out=tmp_path / "x.jsonl")
    rest = opened(Silent())
    found = run(**options, give_up_after=3, out=tmp_path / "x.jsonl", resume=True)
    assert len(rest.log) == 1 and [one.figures()["n"] for one in found] == [3, 3]
    assert [one.not_asked for one in found] == [4, 4]


def test_what_is_there_is_not_overwritten_unasked(
    questions: str, opened: Callable[[Knowing], Knowing], tmp_path: Path
) -> None:
    out = tmp_path / "x.jsonl"
    opened(Knowing())
    run(data=questions, out=out)
    with pytest.raises(DataError, match=r"x\.jsonl exists"):
        run(data=questions, out=out)
    run(data=questions, out=out, overwrite=True)


def test_only_the_same_evaluation_goes_on(questions: str, opened: Callable[[Knowing], Knowing], tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": questions, "out": tmp_path / "x.jsonl"}
    opened(Knowing(dies_at=3))
    with pytest.raises(KeyboardInterrupt):
        run(Setup(batch_size=2), **options)
    opened(Knowing())
    with pytest.raises(RunError, match=r"other settings \(batch_size, seed\)"):
        run(Setup(batch_size=3), **options, seed=1, resume=True)
    with pytest.raises(RunError, match="An interrupted run"):
        run(Setup(batch_size=2), **options)
    assert run(Setup(batch_size=2), **options, resume=True)[0].figures()["n"] == 7


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("questions.jsonl", '["Gabon"]', '["Gabon", "Gabun"]', "content of the questions"),
        ("recipe.yaml", "max_rounds: 3", "max_rounds: 2", "content of the recipe"),
    ],
)
def test_an_evaluation_of_a_changed_file_does_not_go_on(
    file: str, old: str, new: str, words: str, questions: str, opened: Callable[[Knowing], Knowing], tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("task: sft\nrollout:\n  max_rounds: 3\n")
    setup = Setup(model="tiny", adapter=str(save_adapter_files(tmp_path / "adapter")), batch_size=2)
    options: dict[str, Any] = {"data": questions, "out": tmp_path / "x.jsonl"}
    opened(Knowing(dies_at=3))
    with pytest.raises(KeyboardInterrupt):
        run(setup, **options)
    opened(Knowing())
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(RunError, match=rf"other settings \({words}\)") as error:
        run(setup, **options, resume=True)
    assert error.value.hint == "Give the same ones to --resume, or begin anew with --overwrite."
    (tmp_path / file).write_text(text)
    assert run(setup, **options, resume=True)[0].figures()["n"] == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resume": True}, "--resume needs --out"),
        ({"samples": 3, "temperature": 0.0}, "at temperature 0 are all the same"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(**options)


# --- benchmarks ---------------------------------------------------------------------------------------------------


def test_the_seven_have_a_place_a_size_and_figures() -> None:
    assert list(BENCHMARKS) == ["nq", "popqa", "triviaqa", "hotpotqa", "2wiki", "musique", "bamboogle"]
    multi_hop = [BENCHMARKS[name] for name in ("hotpotqa", "2wiki", "musique", "bamboogle")]
    assert round(sum(one.published["multi"] for one in multi_hop) / 4, 3) == 0.419, "as the paper's own average"
    assert round(sum(one.published["single"] for one in multi_hop) / 4, 3) == 0.392
    for one in BENCHMARKS.values():
        assert re.fullmatch(r"hub:[\w-]+/\w+:\w+:(test|dev)", one.source) and one.questions > 100
        assert (one.nearest("multi") or {})["em"] == one.published["multi"] and one.nearest("cot-rag") is None


def test_a_name_stands_for_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows as the collection has them; only where they come from is another place here."""
    row = {"id": "test_0", "question": "Who?", "golden_answers": ["Emi", "Emi Koussi"], "metadata": {"pop": 1}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    sources: list[str] = []

    def read(source: str, **options: Any) -> Any:
        sources.append(source)
        return read_questions(tmp_path / "rows.jsonl", **options)

    monkeypatch.setattr("ragr1_lite.data.sets.read_questions", read)
    (found,) = load_examples("2wiki", "test")
    assert (found.question, found.answers) == ("Who?", ("Emi", "Emi Koussi"))
    assert sources == ["hub:RUC-NLPIR/FlashRAG_datasets:2wikimultihopqa:dev"]
