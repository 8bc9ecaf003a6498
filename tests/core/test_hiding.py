"""Passages that are hidden from a row: it never meets them, and the rows next to it notice nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.hiding import search_hiding
from ragr1_lite.core.protocol import NOT_FOUND, Protocol
from ragr1_lite.core.rewards import f1, refuses, score
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Mode, Passage, Trajectory
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, example, passage

PASSAGES = [Passage(str(at), f"Title {at // 3}", f"Fact {at}.", 9.0 - at) for at in range(12)]
TITLES = [f"The title, {at}" for at in range(4)]
"""Of three passages each, as a set may write them: another article and comma."""
SEARCH = "<think>I need facts.</think><search>chad, mali</search>"
REFUSAL = f"<think>Nothing.</think><answer>{NOT_FOUND}</answer>"
ANSWER = "<think>So.</think><answer>Chad</answer>"
LIMITS = Limits(max_rounds=3, k=2, max_new_tokens=100, max_length=10_000)


def title(passage: Passage) -> str:
    return TITLES[int(passage.title.split()[1])]


@given(st.lists(st.sets(st.sampled_from([*map(str, range(12)), *TITLES])), max_size=5), st.integers(1, 15))
def test_hidden_passages_are_never_found_and_all_others_are(hidden: Sequence[set[str]], k: int) -> None:
    searcher = ScriptedSearcher(default=PASSAGES)
    found = search_hiding(searcher, [f"query {at}" for at in range(len(hidden))], k, hidden)
    for some, names in zip(found, hidden, strict=True):
        assert some == tuple(one for one in PASSAGES if one.id not in names and title(one) not in names)[:k]
    again = {query for queries, _ in searcher.calls[1:] for query in queries}
    assert again <= {f"query {at}" for at, names in enumerate(hidden) if names}, "other rows are not asked again"


def test_without_hidden_passages_the_searcher_is_asked_as_ever() -> None:
    searcher = ScriptedSearcher(default=PASSAGES)
    assert search_hiding(searcher, ["a", "b"], 3, [(), ()]) == [tuple(PASSAGES[:3])] * 2
    assert searcher.calls == [(("a", "b"), 3)]


def rolled(mode: Mode, hidden: Sequence[tuple[str, ...]]) -> list[Trajectory]:
    examples = [replace(example(id=str(at)), hidden=names) for at, names in enumerate(hidden)]
    searcher = ScriptedSearcher(default=PASSAGES)
    return run_rollouts(examples, ScriptedSampler([SEARCH, ANSWER]), searcher, protocol=Protocol(mode), limits=LIMITS)


@given(
    st.sampled_from(["multi", "single", "rag", "cot-rag"]),
    st.lists(st.lists(st.sampled_from([*map(str, range(12)), *TITLES]), max_size=9).map(tuple), min_size=1, max_size=4),
)
def test_in_a_batch_each_row_reads_its_own_index(mode: Mode, hidden: list[tuple[str, ...]]) -> None:
    """In what was found, in what was shown and in the ids; rows with nothing hidden are as they are alone."""
    for at, one in enumerate(rolled(mode, hidden)):
        gone = [each for each in PASSAGES if each.id in hidden[at] or title(each) in hidden[at]]
        assert one.turns[0].passages and not {each.id for each in gone} & {each.id for each in one.found}
        text = ScriptedSampler([]).tokenizer.decode(one.token_ids)
        assert not [each for each in gone if each.text in text]
        (alone,) = rolled(mode, [hidden[at]])
        assert one.token_ids == alone.token_ids and one.turns == alone.turns


def test_a_right_refusal_is_a_right_answer_and_another_is_not() -> None:
    missing = replace(example(id="1"), answers=(NOT_FOUND,), hidden=("id-chad",))
    lines = {0: [SEARCH, REFUSAL], 1: [SEARCH, REFUSAL], 2: [SEARCH, ANSWER], 3: [SEARCH, ANSWER]}
    examples = [missing, example(), missing, example()]
    sampler, protocol = ScriptedSampler(lines), Protocol()
    rows = run_rollouts(examples, sampler, ScriptedSearcher(), protocol=protocol, limits=LIMITS)
    assert [score(one, {"em": 1.0}).total for one in rows] == [1.0, 0.0, 0.0, 1.0]
    assert [refuses(one.answer) for one in rows] == [True, True, False, False]
    assert refuses("Not in your documents.") and not refuses(None) and not refuses("documents")
    assert f1("your documents", (NOT_FOUND,)) == 0.0 == f1(NOT_FOUND, ("documents",)), "half a refusal is none"
    assert passage("chad") not in rows[0].found and passage("chad") in rows[1].found
