"""Budgets of a rollout: documents give way, nothing that the model said is cut."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Mode, Passage
from tests.core.test_rollout import ANSWER, LIMITS, LONG, SEARCH, documents, run
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher, passage


def test_trap_4_documents_are_cut_per_query() -> None:
    searcher = ScriptedSearcher({"chad": LONG}, default=[passage("mali")])
    [trajectory] = run(ScriptedSampler([SEARCH, ANSWER]), searcher, limits=replace(LIMITS, document_tokens=50))
    [[chad, mali]] = documents(trajectory)
    assert 48 <= len(chad.encode()) <= 50
    assert chad.startswith("Doc 1: Title 0. wörd wörd")
    assert mali == "Doc 1: Mali. All about mali."


def test_the_document_budget_counts_json_escapes() -> None:
    quotes = Passage("1", "Quotes", '"\\' * 400, 1.0)
    for tokens in range(50, 60):
        [trajectory] = run(
            ScriptedSampler([SEARCH, ANSWER]),
            ScriptedSearcher(default=[quotes]),
            limits=replace(LIMITS, document_tokens=tokens),
        )
        for text in documents(trajectory)[0]:
            written = json.dumps(text, ensure_ascii=False)[1:-1]
            assert tokens - 1 <= len(written) <= tokens


def test_a_turn_records_what_was_shown_of_its_passages() -> None:
    searcher = ScriptedSearcher({"chad": LONG}, default=[passage("mali")])
    limits = replace(LIMITS, k=3, document_tokens=50, total_document_tokens=100)
    [trajectory] = run(ScriptedSampler([SEARCH, SEARCH, ANSWER]), searcher, limits=limits)
    first, second, _ = trajectory.turns
    [[chad, mali], [nothing, _]] = documents(trajectory)
    assert first.passages == second.passages == (tuple(LONG), (passage("mali"),))
    assert first.shown == ((replace(LONG[0], text=chad.removeprefix("Doc 1: Title 0. ")),), (passage("mali"),))
    assert mali.endswith(passage("mali").text) and nothing == ""
    assert second.shown == ((), ())
    assert trajectory.shown == (*first.shown[0], passage("mali"))
    assert len(trajectory.found) == 8
    [whole] = run(ScriptedSampler([SEARCH, ANSWER]))
    assert whole.turns[0].cut is None and whole.shown == whole.found


def test_rag_mode_records_what_was_shown() -> None:
    limits = replace(LIMITS, document_tokens=60)
    [trajectory] = run(ScriptedSampler([ANSWER]), ScriptedSearcher(default=LONG), mode="rag", limits=limits)
    [shown] = trajectory.shown
    prompt = ByteTokenizer().decode(trajectory.prompt_ids)
    assert f"Doc 1: Title 0. {shown.text}\n" in prompt and len(shown.text) < 60


def test_trap_4_documents_are_cut_per_trajectory_and_shared_fairly() -> None:
    limits = replace(LIMITS, document_tokens=300, total_document_tokens=500)
    [trajectory] = run(ScriptedSampler([SEARCH, SEARCH, SEARCH, ANSWER]), ScriptedSearcher(default=LONG), limits=limits)
    sizes = [[len(text.encode()) for text in texts] for texts in documents(trajectory)]
    assert sizes == [[250, 250], [0, 0], [0, 0]]
    assert trajectory.stop_reason == "answer"


def test_trap_4_a_tight_sequence_gets_fewer_documents_rather_than_none() -> None:
    sampler = ScriptedSampler([SEARCH, ANSWER])
    [trajectory] = run(sampler, ScriptedSearcher(default=LONG), limits=replace(LIMITS, max_length=800))
    [texts] = documents(trajectory)
    assert all(100 < len(text.encode()) < 300 for text in texts)
    assert trajectory.stop_reason == "answer"
    assert len(trajectory.token_ids) <= 800


def test_trap_4_documents_without_any_room_end_it_rather_than_being_empty() -> None:
    prompt, model, block, *_ = run(ScriptedSampler([SEARCH, ANSWER]), ScriptedSearcher(default=[]))[0].segments
    empty = len(prompt.token_ids + model.token_ids + block.token_ids) + LIMITS.max_new_tokens
    ends = set()
    for length in range(empty - 50, empty + 20):
        limits = replace(LIMITS, max_length=length)
        [trajectory] = run(ScriptedSampler([SEARCH, ANSWER]), ScriptedSearcher(default=LONG), limits=limits)
        assert all(map(all, documents(trajectory)))
        ends.add(trajectory.stop_reason)
    assert ends == {"context", "answer"}


def test_trap_4_rag_prompts_get_what_fits() -> None:
    free = run(ScriptedSampler([ANSWER]), ScriptedSearcher(default=[]), mode="rag")[0]
    for limits, most in [
        (replace(LIMITS, document_tokens=70), 70),
        (replace(LIMITS, total_document_tokens=60), 60),
        (replace(LIMITS, max_length=len(free.prompt_ids) + 100 + 50), 70),
    ]:
        [trajectory] = run(ScriptedSampler([ANSWER]), ScriptedSearcher(default=LONG), mode="rag", limits=limits)
        prompt = ByteTokenizer().decode(trajectory.prompt_ids)
        shown = re.search(r"Doc 1: .*", prompt)
        assert shown and 40 <= len(shown[0].encode()) <= most
        assert prompt.endswith("\nQuestion: Which is larger, Chad or Mali?")
        assert trajectory.stop_reason == "answer"
        assert len(trajectory.prompt_ids) + limits.max_new_tokens <= limits.max_length


text = st.text('abc é東"\\\n<>/', max_size=80)
turn = st.one_of(
    st.lists(text, max_size=4).map(lambda queries: f"<think>t</think><search>{', '.join(queries)}</search>"),
    st.just(SEARCH),
    st.just("<think>t</think><search>chad</search>"),
    st.just(ANSWER),
    text,
)


@settings(max_examples=60)
@given(
    lines=st.lists(turn, min_size=1, max_size=5),
    found=st.lists(text, max_size=3),
    mode=st.sampled_from(["multi", "single", "rag", "direct"]),
    limits=st.builds(
        Limits,
        max_rounds=st.integers(0, 4),
        k=st.integers(1, 3),
        max_new_tokens=st.just(500),
        document_tokens=st.integers(1, 200),
        total_document_tokens=st.integers(1, 500),
        max_length=st.integers(600, 2500),
    ),
)
def test_trap_4_every_budget_holds_and_nothing_said_is_cut(
    lines: list[str], found: list[str], mode: Mode, limits: Limits
) -> None:
    sampler = ScriptedSampler(lines)
    searcher = ScriptedSearcher(default=[Passage("1", "Title", one) for one in found])
    [trajectory] = run(sampler, searcher, mode=mode, limits=limits)
    sampled = [segment.token_ids for segment in trajectory.segments if segment.source == "model"]
    assert sampled == [completion.token_ids for completion in sampler.said.get(0, [])]
    assert "Question: Which is larger, Chad or Mali?" in sampler.tokenizer.decode(trajectory.prompt_ids)
    assert len(trajectory.token_ids) <= limits.max_length or not sampled
    assert len(sampled) <= limits.max_rounds + 1
    if mode == "multi":
        written = [[json.dumps(text, ensure_ascii=False)[1:-1] for text in texts] for texts in documents(trajectory)]
        sizes = [[len(text.encode()) for text in texts] for texts in written]
        assert all(size <= limits.document_tokens for round in sizes for size in round)
        assert sum(map(sum, sizes)) <= limits.total_document_tokens
    without_room = trajectory.stop_reason == "context" and len(sampled) > 0
    assert len(searcher.calls) == (1 if mode == "rag" else trajectory.rounds + without_room)
