"""Which questions are kept for RL: the two rules, seeds, splits, and what is on disk after any stop."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ragr1_lite.assistant import Setup
from ragr1_lite.config import DataConfig, Recipe
from ragr1_lite.core.errors import ConfigError, DataError, RunError
from ragr1_lite.core.events import PhaseAdvanced, PhaseFinished, PhaseStarted
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.data.questions import read_questions
from ragr1_lite.datagen import selection
from ragr1_lite.datagen.selection import Outcome, Rule, Selection, choose, histogram, measure, select
from ragr1_lite.ui.tables import histogram as bars
from tests.support.selecting import ScriptedTeacher, by_seed, questions

PASS_RATE = Rule(by="pass-rate", tries=4)


def examples(count: int) -> Any:
    return [question.example for question in questions(count)]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def chosen(out: Path, count: int = 60, teacher: ScriptedTeacher | None = None, **options: Any) -> Selection:
    rule = options.pop("rule", Rule())
    return select(questions(count), out, lambda: teacher or ScriptedTeacher(), rule=rule, **options)


# --- measuring ----------------------------------------------------------------------------------------------------


def test_first_right_tries_the_wrong_ones_until_one_is_right() -> None:
    right = {"item-0": 0, "item-1": 1, "item-2": 3, "item-3": 99}
    teacher = ScriptedTeacher(lambda name, seed, temperature: len(teacher.asked) - 1 >= right[name])
    outcomes = measure(examples(4), teacher, rule=Rule(tries=3), batch=0)
    assert [names for *_, names in teacher.asked] == [
        ["item-0", "item-1", "item-2", "item-3"],
        ["item-1", "item-2", "item-3"],
        ["item-2", "item-3"],
        ["item-2", "item-3"],
    ]
    assert [temperature for _, temperature, _ in teacher.asked] == [0.0, 1.2, 1.2, 1.2]
    assert outcomes == [Outcome(True, 1, 1), Outcome(False, 2, 1), Outcome(False, 4, 1), Outcome(False, 4, 0)]
    assert histogram(outcomes, Rule(tries=3)) == {
        "at first": 1,
        "in try 1": 1,
        "in try 2": 0,
        "in try 3": 1,
        "never": 1,
    }


def test_nobody_is_asked_again_once_all_are_right() -> None:
    teacher = ScriptedTeacher(lambda *_: True)
    done: list[int] = []
    assert measure(examples(3), teacher, rule=Rule(), batch=0, advance=done.append) == [Outcome(True, 1, 1)] * 3
    assert len(teacher.asked) == 1 and done == [3]


def test_pass_rate_asks_everyone_equally_often() -> None:
    teacher = ScriptedTeacher(lambda name, seed, temperature: len(teacher.asked) % 4 < int(name[5:]))
    done: list[int] = []
    outcomes = measure(examples(5), teacher, rule=PASS_RATE, batch=0, advance=done.append)
    assert [(temperature, len(names)) for _, temperature, names in teacher.asked] == [(1.0, 5)] * 4
    assert [outcome.right for outcome in outcomes] == [0, 1, 2, 3, 4]
    assert [outcome.first for outcome in outcomes] == [False, False, True, True, True]
    assert list(histogram(outcomes, PASS_RATE).values()) == [1] * 5
    assert done == [1, 2, 3, 5]


def test_seeds_follow_from_seed_batch_and_try_alone() -> None:
    def seeds(count: int, seed: int, batch: int) -> list[int]:
        teacher = ScriptedTeacher(lambda *_: False)
        measure(examples(count), teacher, rule=Rule(tries=3, seed=seed), batch=batch)
        return [seed for seed, *_ in teacher.asked]

    assert seeds(1, 0, 0) == seeds(5, 0, 0)
    assert len({*seeds(1, 0, 0), *seeds(1, 0, 1), *seeds(1, 1, 0)}) == 12


def test_rounds_are_the_rules() -> None:
    teacher = ScriptedTeacher(lambda *_: True)
    assert measure(examples(1), teacher, rule=Rule(rounds=0, tries=1), batch=0) == [Outcome(False, 2, 0)]
    assert teacher.searcher.calls == []


# --- choosing -----------------------------------------------------------------------------------------------------

OUTCOMES = st.lists(
    st.one_of(
        st.just(Outcome(True, 1, 1)),
        st.integers(2, 5).map(lambda tries: Outcome(False, tries, 1)),
        st.just(Outcome(False, 5, 0)),
    ),
    max_size=60,
)


@given(OUTCOMES, st.floats(0, 1), st.floats(0, 0.5), st.integers(0, 5))
def test_kept_are_all_the_hard_ones_and_a_share_of_the_easy_ones(
    outcomes: list[Outcome], easy_share: float, validation: float, seed: int
) -> None:
    rule = Rule(tries=4, easy_share=easy_share, validation=validation, seed=seed)
    train, aside = choose(outcomes, rule)
    kept = sorted([*train, *aside])
    assert train == sorted(train) and len({*kept}) == len(kept)
    assert len(aside) == round(validation * len(kept))
    assert [number for number in kept if not outcomes[number].first] == [
        number for number, outcome in enumerate(outcomes) if outcome.right and not outcome.first
    ]
    easy = sum(outcome.first for outcome in outcomes)
    assert sum(outcomes[number].first for number in kept) == round(easy_share * easy)
    assert (train, aside) == choose(outcomes, rule)


def test_another_seed_draws_others() -> None:
    outcomes = [Outcome(True, 1, 1)] * 40
    drawn = [choose(outcomes, Rule(seed=seed, validation=0.5)) for seed in (0, 1)]
    assert drawn[0] != drawn[1] and [len(train) + len(aside) for train, aside in drawn] == [10, 10]


@pytest.mark.parametrize(
    ("between", "kept"), [(None, [1, 2, 3]), ((0, 0.5), [0, 1, 2]), ((0.5, 1), [2, 3, 4]), ((0.25, 0.25), [1])]
)
def test_pass_rates_that_are_kept(between: tuple[float, float] | None, kept: list[int]) -> None:
    outcomes = [Outcome(False, 4, right) for right in range(5)]
    assert choose(outcomes, Rule(by="pass-rate", tries=4, between=between, validation=0)) == (kept, [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"between": (0.1, 0.9)}, "--by pass-rate"),
        ({"by": "pass-rate", "between": (0.9, 0.1)}, "0.9 0.1 is no range"),
        ({"by": "pass-rate", "between": (0, 2)}, "no range"),
    ],
)
def test_rules_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Rule(**options)


# --- the files ----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_written_whole_with_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "new" / "rl.jsonl"
    selection = chosen(out, rule=Rule(tries=4, validation=0.2))
    counts = selection.to_json()
    train, aside = rows(out), rows(tmp_path / "new" / "rl.validation.jsonl")
    assert sorted(path.name for path in out.parent.iterdir()) == ["rl.jsonl", "rl.validation.jsonl"]
    assert counts["kept"] == len(train) + len(aside) == counts["hard_kept"] + counts["easy_kept"]
    assert (counts["train"], counts["validation"]) == (len(train), len(aside)) and aside
    assert counts["questions"] == sum(counts["histogram"]) == 60 and len(counts["histogram"]) == 6
    assert counts["histogram"][0] == counts["right_first"] > counts["easy_kept"] > 0
    assert counts["hard_kept"] == sum(counts["histogram"][1:5])
    assert {row["id"] for row in train}.isdisjoint(row["id"] for row in aside)
    by_id = {question.example.id: outcome for question, outcome in zip(questions(60), selection.outcomes, strict=True)}
    for row in train:
        outcome = by_id[row["id"]]
        assert (row["tries"], row["pass_rate"]) == (outcome.tries, round(1 / outcome.tries, 4))
    read = [question.example for question in read_questions(out)]
    assert {one.hops for one in read} == {1, 2, 3} and all(one.pass_rate for one in read)
    assert schedule(read, 5, 0, DataConfig(order="easy-first", weights="signal"))


def test_nothing_set_aside_leaves_no_empty_file(tmp_path: Path) -> None:
    out, aside = tmp_path / "rl.jsonl", tmp_path / "rl.validation.jsonl"
    aside.write_text("mine\n")
    with pytest.raises(DataError, match=r"rl\.validation\.jsonl exists"):
        chosen(out)
    assert aside.read_text() == "mine\n" and not out.exists()
    assert chosen(out, rule=Rule(validation=0), overwrite=True).validation == ()
    assert not aside.exists() and rows(out)


def test_the_same_seed_selects_the_same(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        chosen(tmp_path / name / "rl.jsonl", rule=Rule(seed=seed, tries=3, validation=0.2))
    texts = [[path.read_text() for path in sorted((tmp_path / name).iterdir())] for name in "abc"]
    assert texts[0] == texts[1] != texts[2]


class Stopped(Exception):
    """What ends a run in these tests."""


@pytest.mark.parametrize("rule", [Rule(tries=3), PASS_RATE], ids=lambda rule: rule.by)
def test_stopped_anywhere_and_gone_on_with(tmp_path: Path, rule: Rule) -> None:
    def stop_after(turns: int) -> ScriptedTeacher:
        def right(name: str, seed: int, temperature: float) -> bool:
            nonlocal turns
            turns -= 1
            if turns < 0:
                raise Stopped
            return by_seed(name, seed, temperature)

        return ScriptedTeacher(right)

    chosen(tmp_path / "whole" / "rl.jsonl", rule=rule, batch_size=7)
    out = tmp_path / "parts" / "rl.jsonl"
    for turns in (3, 40, 75):
        with pytest.raises(Stopped):
            chosen(out, rule=rule, batch_size=7, teacher=stop_after(turns), resume=True)
        assert not out.exists()
    with pytest.raises(RunError, match="--resume"):
        chosen(out, rule=rule, batch_size=7)
    with pytest.raises(RunError, match=r"other settings \(batch_size\)"):
        chosen(out, rule=rule, batch_size=8, resume=True)
    with pytest.raises(RunError, match=r"other settings \(seed, temperature\)"):
        chosen(out, rule=replace(rule, seed=9, temperature=0.5), batch_size=7, resume=True)
    chosen(out, rule=rule, batch_size=7, resume=True)
    for path in (tmp_path / "whole").iterdir():
        assert (out.parent / path.name).read_bytes() == path.read_bytes()
    idle = ScriptedTeacher()
    again = chosen(out, rule=rule, batch_size=7, teacher=idle, resume=True).to_json()
    assert idle.asked == [] and again["train"] == len(rows(out)) and again["kept"] == again["questions"] > 0
    for path in (tmp_path / "whole").iterdir():
        assert (out.parent / path.name).read_bytes() == path.read_bytes()


def test_what_was_measured_may_be_chosen_from_anew(tmp_path: Path) -> None:
    out = tmp_path / "rl.jsonl"
    sure = Rule(by="pass-rate", tries=2)
    with pytest.raises(DataError, match="None of 20 questions is kept; they were right 2 of 2 20"):
        chosen(out, 20, ScriptedTeacher(lambda *_: True), rule=sure)
    unasked = ScriptedTeacher()
    rule = Rule(by="pass-rate", tries=2, between=(0, 1), validation=0.25)
    selection = chosen(out, 20, unasked, rule=rule, resume=True)
    assert (len(selection.train), len(selection.validation), unasked.asked) == (15, 5, [])


def test_other_questions_are_another_run(tmp_path: Path) -> None:
    def unknown_2(name: str, seed: int, temperature: float) -> bool:
        return {"item-0": True, "item-1": False}[name]

    with pytest.raises(KeyError):
        chosen(tmp_path / "rl.jsonl", 3, ScriptedTeacher(unknown_2), batch_size=2)
    with pytest.raises(RunError, match=r"other settings \(questions\)"):
        chosen(tmp_path / "rl.jsonl", 4, batch_size=2, resume=True)


def test_a_run_that_measured_nothing_leaves_nothing(tmp_path: Path) -> None:
    def opened() -> Any:
        raise DataError("There is no index", "Build it.")

    with pytest.raises(DataError, match="no index"):
        select(questions(3), tmp_path / "rl.jsonl", opened, rule=Rule())
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_what_is_left(tmp_path: Path) -> None:
    events: list[Any] = []
    chosen(tmp_path / "rl.jsonl", 20, batch_size=8, report=events.append, rule=PASS_RATE)
    kinds = Counter(type(event) for event in events)
    assert kinds == {PhaseStarted: 1, PhaseAdvanced: 15, PhaseFinished: 1}
    assert events[0].total == 20 and events[0].unit == "questions"
    advanced = [event for event in events if isinstance(event, PhaseAdvanced)]
    done = [event.done for event in advanced]
    assert [event.done for event in advanced if event.part == "ended"] == [8, 16, 20]
    assert done == sorted(done) and done[-1] == 20
    assert advanced[0].detail == "" and advanced[-1].detail.endswith("kept of the first 16")


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reads the world or files, opens nothing it does not need, and keeps its settings."""
    opened: list[Recipe] = []

    def open_teacher(recipe: Recipe, **options: Any) -> ScriptedTeacher:
        opened.append(recipe)
        return ScriptedTeacher(lambda *_: True)

    monkeypatch.setattr("ragr1_lite.datagen.selection.open_teacher", open_teacher)
    file = tmp_path / "q.jsonl"
    file.write_text("".join(f'{{"question": "What is item-{n}?", "answers": ["item-{n}"]}}\n' for n in range(9)))
    rule = Rule(easy_share=1)
    setup = Setup(model="http://127.0.0.1:1/v1", index="i", k=2)
    selection = selection_run([str(file)], tmp_path / "rl.jsonl", setup, rule=rule, limit=5)
    assert len(selection.outcomes) == 5
    (asked,) = opened
    assert (asked.model.name, asked.retrieval.index, asked.retrieval.k) == ("http://127.0.0.1:1/v1", "i", 2)
    assert (asked.rollout.mode, asked.rollout.max_queries, asked.rollout.batch_size) == ("multi", 3, 16)
    with pytest.raises(DataError, match="There is no question file"):
        selection_run([str(tmp_path / "missing.jsonl")], tmp_path / "other.jsonl", rule=rule)


selection_run = selection.run


def test_bars_are_seen_whatever_they_count() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(bars({"never": 1, "\x1b[31mall": 2000, "none": 0}))
    drawn = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert drawn == [["never", "▌", "1"], ["all", "█" * 40, "2,000"], ["none", "0"]]
    console.print(bars({}))
