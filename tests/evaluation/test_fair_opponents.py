"""A model that knows no tags can answer where none are needed: what is read, what is said of it, and what stays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.core.errors import ConfigError, DataError, RunError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import PROMPTS, Protocol
from ragr1_lite.core.rewards import OURS
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Example, Mode, Shot
from ragr1_lite.data.trajectories import to_record, write_rows
from ragr1_lite.data.viewing import view
from ragr1_lite.evaluation import Evaluation, Variant, compare, evaluate_variants, read_results, run, to_row
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.evaluation.report.page import pack
from ragr1_lite.evaluation.report.tables import read_sources
from ragr1_lite.evaluation.results import from_row, to_journal
from ragr1_lite.evaluation.running import recipe_digest
from ragr1_lite.files.journal import digest
from ragr1_lite.ui.evaluations import evaluation_table
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, passage

LIMITS = Limits(max_rounds=2, k=2, max_new_tokens=100, max_length=4000)
PLAIN: tuple[Mode, ...] = ("direct", "rag", "cot-rag")
LINES = (
    "**Chad**",
    "The answer to this question is: Chad.",
    "<answer>Chad</answer>",
    "It is Mali.",
    "<search>chad</search>",
    "",
)
EXAMPLES = [Example(str(number), f"Which is larger, {number}?", ("Chad",)) for number in range(len(LINES))]


def untrained(mode: Mode, **known: Any) -> Evaluation:
    """Six questions to a model that writes what comes to its mind."""
    sampler = ScriptedSampler({number: [line] for number, line in enumerate(LINES)})
    searcher = ScriptedSearcher(default=[passage("mali", "The answer is Chad.")])
    (found,) = evaluate_variants(EXAMPLES, [Variant(mode, sampler, searcher, Protocol(mode), LIMITS)], **known)
    return found


@pytest.mark.parametrize(
    ("mode", "right", "read"),
    [
        ("direct", 3, {"tag": 1, "phrase": 1, "first-sentence": 2}),
        ("rag", 3, {"tag": 1, "phrase": 1, "first-sentence": 2}),
        ("cot-rag", 3, {"tag": 1, "phrase": 1, "last-line": 2}),
        ("multi", 1, {"tag": 1}),
        ("single", 1, {"tag": 1}),
    ],
)
def test_plain_words_count_where_no_tag_is_needed(mode: Mode, right: int, read: dict[str, int]) -> None:
    figures = untrained(mode).to_json()
    assert figures["em"] == round(right / 6, 4)
    assert {name: number for name, number in figures["read_by"].items() if number} == read
    assert figures["no_answer"] == 6 - sum(read.values())
    assert sum(figures["causes"].values()) == 6 - right
    assert figures["causes"]["format"] == figures["no_answer"] - figures["causes"]["budget"]


def test_the_table_says_how_answers_were_read() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(evaluation_table([untrained("direct"), untrained("multi")], console))
    shown = console.export_text()
    assert "direct: of 6 answers 1 by tag, 1 by phrase, 2 by first-sentence, 2 not at all." in shown
    assert "multi: of" not in shown


def test_rows_journals_and_views_keep_how_an_answer_was_read(tmp_path: Path) -> None:
    found = untrained("rag")
    assert [from_row(json.loads(json.dumps(to_journal(one))), OURS) for one in found.results] == list(found.results)
    path = tmp_path / "rag.jsonl"
    write_rows(path, map(to_row, found.results))
    rows = read_results(path)
    assert [row["read_by"] for row in rows] == ["first-sentence", "phrase", "tag", "first-sentence", None, None]
    assert ["read_by" in to_record(one) for one in found.trajectories] == [True, True, False, True, False, False]
    [one] = view(path, id="1")
    assert (
        one.trajectory.read_by == "phrase"
        and one.texts[0].startswith("Answer the question")
        and "\nDoc 1: Mali. The answer is Chad.\n" in one.texts[0]
    )
    with pytest.raises(DataError, match="`read_by` is none of tag, open-tag"):
        write_rows(path, [row | {"read_by": "magic"} for row in rows])
        read_results(path)


def test_older_files_and_journals_read_tags(tmp_path: Path) -> None:
    found = untrained("direct")
    rows = [{name: value for name, value in to_row(one).items() if name != "read_by"} for one in found.results]
    write_rows(tmp_path / "old.jsonl", rows)
    write_rows(tmp_path / "new.jsonl", map(to_row, found.results))
    assert compare(tmp_path / "old.jsonl", tmp_path / "new.jsonl").better is None
    assert write_report([tmp_path / "old.jsonl", tmp_path / "new.jsonl"], tmp_path / "page.html")["trajectories"] == 12
    packed = pack(read_sources([tmp_path / "old.jsonl", tmp_path / "new.jsonl"]).evaluations)
    assert [one.get("read_by") for one in packed["questions"][1]["tries"]] == [None, "phrase"]
    old = {name: value for name, value in to_journal(found.results[2]).items() if name != "read_by"}
    assert from_row(old, OURS).trajectory.read_by == "tag"


def test_a_model_that_writes_anything_is_not_given_up() -> None:
    assert untrained("direct", give_up_after=1, batch_size=1).not_asked == 0


def test_ask_reads_free_text_too() -> None:
    assistant = Assistant(ScriptedSampler(["The answer is Chad."]), ScriptedSearcher(), Protocol("direct"), LIMITS)
    assert assistant.ask("Which?").trajectory.answer == "Chad"
    assert assistant.with_mode("multi").ask("Which?").trajectory.answer is None


def test_journals_of_modes_with_tags_are_what_they_were() -> None:
    recipe = Setup(model="smollm2-135m", adapter="none", mode="multi").recipe()
    rollout = recipe.rollout
    known = {"mode": "multi", "max_queries": rollout.max_queries, "template": None}
    before = [
        recipe.model.model_dump(),
        recipe.retrieval.model_dump(),
        known,
        asdict(rollout.limits(recipe.retrieval.k)),
    ]
    assert recipe_digest(recipe) == recipe_digest(recipe, ["multi", "single"]) == digest(before)
    assert recipe_digest(recipe, ["multi", "rag"]) == digest([*before, PROMPTS["rag"]]) != digest(before)


# --- shots --------------------------------------------------------------------------------------------------------


class Echo(ScriptedSampler):
    """Says "Chad", and keeps the prompts."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__(["Chad"])
        self.prompts: list[str] = []
        self._dies_at = dies_at

    def sample(self, requests: Any, **options: Any) -> list[Completion]:
        self.prompts += [self.tokenizer.decode(request.token_ids) for request in requests]
        if self._dies_at is not None and len(self.prompts) >= self._dies_at:
            raise KeyboardInterrupt
        return super().sample(requests, **options)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Echo], Echo]:
    def use(sampler: Echo) -> Echo:
        assistant = Assistant(sampler, ScriptedSearcher(), Protocol(), LIMITS)
        monkeypatch.setattr(Assistant, "open_recipe", lambda recipe, **_: assistant)
        return sampler

    return use


def file(path: Path, names: str) -> str:
    rows = [{"id": name, "question": f"Which is {name}?", "answers": [f"The {name}"]} for name in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.mark.parametrize("mode", PLAIN)
def test_every_question_has_the_same_shots(mode: Mode, opened: Callable[[Echo], Echo], tmp_path: Path) -> None:
    sampler, notices = opened(Echo()), list[object]()
    options: dict[str, Any] = {"data": file(tmp_path / "q.jsonl", "abc"), "shots": 2, "seed": 3}
    options |= {"shots_from": file(tmp_path / "train.jsonl", "abcdefgh")}
    one, other = run(modes=(mode, "multi"), **options, report=notices.append)
    plain, tagged = sampler.prompts[:3], sampler.prompts[3:]
    begins = {prompt[: prompt.rindex("\nQuestion: Which is ")].partition("Documents:")[0] for prompt in plain}
    assert len(begins) == 1 and begins.pop().count("Answer: ") == 2
    assert not any(f"Which is {name}?\nAnswer: T" in prompt for prompt in plain for name in "abc"), "what is asked"
    assert not any("Answer: " in prompt for prompt in tagged)
    assert (one.to_json()["shots"], "shots" in other.to_json()) == (2, False)
    words = "multi: no shots, since a search has its own form."
    assert [event.text for event in notices if isinstance(event, Notice) and "shots" in event.text] == [words]


def test_a_stopped_evaluation_goes_on_with_the_same_shots_only(opened: Callable[[Echo], Echo], tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": file(tmp_path / "q.jsonl", "abcd"), "modes": ("direct",), "shots": 1}
    options |= {"shots_from": file(tmp_path / "train.jsonl", "xyz"), "out": tmp_path / "x.jsonl"}
    opened(Echo(dies_at=3))
    with pytest.raises(KeyboardInterrupt):
        run(Setup(batch_size=1), **options)
    opened(Echo())
    with pytest.raises(RunError, match=r"other settings \(shots\)"):
        run(Setup(batch_size=1), **options | {"shots": 2}, resume=True)
    rest = opened(Echo())
    (found,) = run(Setup(batch_size=1), **options, resume=True)
    assert len(rest.prompts) == 2 and found.to_json()["shots"] == 1
    assert [row["read_by"] for row in read_results(tmp_path / "x.jsonl")] == ["first-sentence"] * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": ("multi", "single"), "shots": 2}, "--shots are for direct, rag and cot-rag"),
        ({"modes": ("direct",), "shots_from": "train.jsonl"}, "--shots-from needs --shots"),
        ({"modes": ("direct",), "shots": 2, "data": "questions"}, "--shots needs --shots-from"),
    ],
)
def test_what_shots_do_not_go_with(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    if options.get("data"):
        options |= {"data": file(tmp_path / "q.jsonl", "abc")}
    with pytest.raises(ConfigError, match=words):
        run(Setup(model="smollm2-135m", adapter="none"), questions=3, **options)


def test_a_template_of_ones_own_says_where_shots_stand() -> None:
    shots = (Shot("Of Chad?", "N'Djamena"),)
    with pytest.raises(ConfigError, match=r"no \{shots\} in it"):
        Protocol("direct", template="{question}", shots=shots)
    assert Protocol("direct", template="{question}", shots=shots[:0]).render_prompt("Who?") == "Who?"
    assert Protocol("direct", template="{shots}{question}", shots=shots).render_prompt("Who?").endswith("\n\nWho?")


def test_the_worlds_shots_come_from_its_training_split(opened: Callable[[Echo], Echo]) -> None:
    """With its thoughts where the mode reasons."""
    sampler = opened(Echo())
    run(Setup(model="smollm2-135m", adapter="none"), questions=2, modes=("direct", "cot-rag"), shots=2)
    direct, reasoned = sampler.prompts[0], sampler.prompts[2]
    assert direct.count("\nAnswer: ") == reasoned.count("\nAnswer: ") == 2 and direct.count("Question: ") == 3
    assert reasoned.count(" The answer is ") == 2 and "The answer is" not in direct
