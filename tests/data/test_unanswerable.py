"""Questions whose gold passages are hidden: which they are, what a perfect run writes, and that off is off."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.types import Example, GoldPlan, Step, Trajectory
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.data.questions import Question, digest
from ragr1_lite.data.sets import expert_trajectories, training_trajectories
from ragr1_lite.data.trajectories import no_record, read_records, to_record, write_rows
from ragr1_lite.data.unanswerable import refusal, with_hidden
from ragr1_lite.evaluation.running import questions_digest
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.world import gold_passages, questions

ONE = Example("q", "Which is larger, Chad or Mali?", ("Chad",), "compare", 2, 0.5, ("Chad",))
ROOM = [f"rollout.{name}=1000000" for name in ("max_length", "document_tokens", "total_document_tokens")]


def taught(*overrides: str) -> list[Trajectory]:
    recipe = load_recipe("quickstart-sft", ["data.limit=24", *ROOM, *overrides])
    return training_trajectories(recipe, ByteTokenizer())


def test_off_is_what_it_was() -> None:
    """Digests, records and training data as they were before there was anything to hide, to the byte."""
    assert (questions_digest([ONE]), digest([Question(ONE)])) == ("97a68a6d39f95cb5", "ee49994ef49fa38f")
    record = no_record(ONE)
    assert "hidden" not in record
    ids = json.dumps([one.token_ids for one in taught()])
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == "b7018f6f6133f463"


def test_which_are_hidden_follows_from_share_and_seed() -> None:
    examples = [replace(ONE, id=str(at), titles=(f"Title {at}",) if at % 2 else ()) for at in range(40)]
    both = with_hidden(examples, "file", 0.25, 3)
    hidden = [at for at, one in enumerate(both) if one.hidden]
    assert [one for one in both if not one.hidden] == examples and len(hidden) == 10, "of all questions"
    for at in hidden:
        before = both[at - 1]
        assert before.titles, "among those that name passages, and each after the question itself"
        there = {"answers": (NOT_FOUND,), "titles": (), "hidden": before.titles}
        assert both[at] == replace(before, id=f"{before.id}#hidden", **there)
    assert with_hidden(examples, "file", 0.25, 3) == both != with_hidden(examples, "file", 0.25, 4)
    assert len([one for one in with_hidden(examples, "file", 1.0, 0) if one.hidden]) == 20
    assert with_hidden(examples, "file", 0.0, 3) == examples
    with pytest.raises(DataError, match="No question names its gold passages"):
        with_hidden(examples[:1], "file", 0.25, 0)


def test_a_refusal_searches_as_planned_once() -> None:
    first, then = Step("First.", ("chad", "mali")), Step("Then.", ("x",))
    found_nothing = GoldPlan((first,), "Not found: chad; mali. The documents do not say it.", NOT_FOUND)
    assert refusal(GoldPlan((first, then), "So.", "Chad")) == found_nothing
    assert refusal(GoldPlan((), "So.", "Chad")) == GoldPlan((), "The documents do not say it.", NOT_FOUND)


@pytest.mark.parametrize("mode", ["multi", "single"])
def test_sft_on_the_world(mode: str) -> None:
    """A quarter ends in a refusal and saw none of its facts; the others are those of a training without."""
    plain = {one.example: one for one in taught(f"rollout.mode={mode}")}
    trained = taught("data.unanswerable=0.25", f"rollout.mode={mode}")
    refused = [one for one in trained if one.example.hidden]
    assert len(refused) == 6 and len(trained) == 24
    answerable = {one.example.id: one.example for one in questions("train")}
    for one in refused:
        asked = answerable[one.example.id.removesuffix("#hidden")]
        assert one.answer == NOT_FOUND and one.rounds == 1
        assert not {each.id for each in one.found} & {*gold_passages(asked.id)} and one.found
        assert not Evidence.of(asked).complete_in(one.found)
    assert all(plain[one.example] == one for one in trained if not one.example.hidden)


def test_grpo_has_refusals_for_experts(tmp_path: Path) -> None:
    """The world's own, and of a file those of hidden questions alone."""
    examples = with_hidden([one.example for one in questions("train", limit=4, kinds=["one-hop"])], "world", 0.5, 0)
    both = [replace(one, hidden=(), id=one.id) for one in examples]
    recipe = load_recipe("quickstart-grpo", ROOM)
    searcher, tokenizer = open_searcher("world"), ByteTokenizer()
    experts = expert_trajectories(recipe, examples, tokenizer, searcher)
    assert [[one.answer == NOT_FOUND for one in own] for own in experts] == [[bool(one.hidden)] for one in examples]
    rows = [to_record(one) for (one,) in experts]
    write_rows(tmp_path / "gold.jsonl", rows)
    recipe = load_recipe("quickstart-grpo", [*ROOM, f"data.expert={tmp_path / 'gold.jsonl'}"])
    assert expert_trajectories(recipe, examples, tokenizer, searcher) == experts
    found = expert_trajectories(recipe, both, tokenizer, searcher)
    assert all(one.answer != NOT_FOUND for own in found for one in own), "a refusal is of hidden passages alone"


def test_a_record_that_found_what_was_hidden_is_broken(tmp_path: Path) -> None:
    row: dict[str, Any] = to_record(next(one for one in taught("data.unanswerable=0.25") if one.example.hidden))
    write_rows(tmp_path / "whole.jsonl", [row])
    (record,) = read_records(tmp_path / "whole.jsonl")
    assert list(record.example.hidden) == row["hidden"]
    row["hidden"].append(row["turns"][0]["passages"][0][0]["title"])
    write_rows(tmp_path / "broken.jsonl", [row])
    with pytest.raises(DataError, match="passages that are `hidden` were found"):
        read_records(tmp_path / "broken.jsonl")


@pytest.mark.parametrize("override", ["rollout.mode=direct", "data.train=mine.jsonl"])
def test_where_nothing_can_be_hidden(override: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.unanswerable"):
        load_recipe("quickstart-sft", ["data.unanswerable=0.25", override])
