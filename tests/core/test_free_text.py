"""Answers in plain words: shapes that models write, what is read of each, and what never is."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragr1_lite.core.free_text
from ragr1_lite.core.free_text import LONGEST, read_free_text
from ragr1_lite.core.protocol import PROMPTS, STOP, Protocol, render_documents
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Example, Mode, Passage, Reading, Shot, Trajectory
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher, passage

PLAIN: tuple[Mode, ...] = ("direct", "rag", "cot-rag")
SEARCHING: tuple[Mode, ...] = ("multi", "single")
SENTENCE: Reading = "first-sentence"


def read(text: str, mode: Mode = "direct", *, cut: bool = False) -> tuple[str | None, Reading | None]:
    turn = Protocol(mode, free_text=True).parse_turn(text, cut=cut)
    return turn.answer, turn.read_by if turn.answer else None


@pytest.mark.parametrize(
    ("text", "answer", "by"),
    [
        # The tag, as everywhere
        ("<answer>N'Djamena</answer>", "N'Djamena", "tag"),
        ("<think>It lies in Chad.</think>\n<answer>N'Djamena</answer>", "N'Djamena", "tag"),
        ("The answer is Mali. <answer>Chad</answer>", "Chad", "tag"),
        # A tag that is not as it should be
        ("<answer>Paris", "Paris", "open-tag"),
        ("<answer>\nParis\nIt is the capital.", "Paris", "open-tag"),
        ("<answer>Paris</search>", "Paris", "open-tag"),
        ("<Answer>Paris</Answer>", "Paris", "open-tag"),
        ("<answer>Lyon <answer>Paris</answer>", "Paris", "open-tag"),
        ("I say: <think>hm</think><answer>Chad</answer>", "Chad", "open-tag"),
        ("Paris</answer>", "Paris", SENTENCE),
        ("<answer></answer>Paris", "Paris", SENTENCE),
        # Phrases
        ("The answer is Paris.", "Paris", "phrase"),
        ("The answer to this question is: 2014", "2014", "phrase"),
        ("The answer to the question about when silicon was discovered is: 1824", "1824", "phrase"),
        ("Answer: Paris", "Paris", "phrase"),
        ("**Answer:** Paris\n\nIt is the capital of France.", "Paris", "phrase"),
        ("**Answer**: *Paris*", "Paris", "phrase"),
        ("ANSWER: PARIS!", "PARIS!", "phrase"),
        ("The final answer is:\n\n**Paris**", "Paris", "phrase"),
        ("The answer is Lyon. No, wait: the answer is Paris.", "Paris", "phrase"),
        ("The answer is: The answer is: 2014", "2014", "phrase"),
        ("The correct answer is \\boxed{\\text{Paris}}.", "Paris", "phrase"),
        ("Answers: Paris, Lyon", "Paris, Lyon", "phrase"),
        ("The answer is: Paris\n\nThe answer is:\n\nThe answer is:", "Paris", "phrase"),
        ("<answer>The answer is Paris.", "Paris", "phrase"),
        ("The answers are Paris and Lyon. Both are in France.", "Paris and Lyon", "phrase"),
        ("The answer is Paris.\nAnswer:", "Paris", "phrase"),
        ("The answer is “Emi Koussi”.", "Emi Koussi", "phrase"),
        ("The answer is Washington, D.C. It lies on the Potomac.", "Washington, D.C. It lies on the Potomac", "phrase"),
        ("The answer is Washington, D.C.", "Washington, D.C.", "phrase"),
        ("The answer is J. R. R. Tolkien. He wrote it.", "J. R. R. Tolkien", "phrase"),
        ("The answer is 3.5 million. That is much.", "3.5 million", "phrase"),
        ("The answer is .mt, .il, .cd.", ".mt, .il, .cd", "phrase"),
        ("It was answered long ago. Chad", "It was answered long ago", SENTENCE),
        # The first sentence of the first line
        ("Paris", "Paris", SENTENCE),
        ("\n\n  Paris.\n", "Paris", SENTENCE),
        ("Paris. It is the capital of France, and large.", "Paris", SENTENCE),
        ("**Paris**\n\nParis is the capital.", "Paris", SENTENCE),
        ('"Paris"', "Paris", SENTENCE),
        ("`Paris`", "Paris", SENTENCE),
        ("- Paris\n- Lyon", "Paris", SENTENCE),
        ("1. Paris\n2. Lyon", "Paris", SENTENCE),
        ("# Paris", "Paris", SENTENCE),
        ("No. Both lie in Africa.", "No", SENTENCE),
        ("Chanel No. 5", "Chanel No. 5", SENTENCE),
        ("St. Louis. In Missouri.", "St. Louis", SENTENCE),
        ("Is it Chad? Yes.", "Is it Chad?", SENTENCE),
        ("-40", "-40", SENTENCE),
        ("1,284,000 km2", "1,284,000 km2", SENTENCE),
        # What somebody else would say
        ("Paris<|im_end|>\n<|im_start|>user\nAnd Spain?", "Paris", SENTENCE),
        ("Paris</s>", "Paris", SENTENCE),
        ("Paris<｜end▁of▁sentence｜>", "Paris", SENTENCE),
        ("Paris\n\nQuestion: What is the capital of Spain?\nAnswer: Madrid", "Paris", SENTENCE),
        ("Answer: Paris\nUser: And of Spain?\nAnswer: Madrid", "Paris", "phrase"),
        ("Question: What is the capital?\nAnswer: Paris\nQuestion: And?\nAnswer: Madrid", "Paris", "phrase"),
        # Thoughts
        ("<think>The answer is Lyon.</think>\n\nParis", "Paris", SENTENCE),
        ("I think of Lyon.</think>Paris", "Paris", SENTENCE),
        ("Paris <think>or not", "Paris", SENTENCE),
        # Nothing
        ("", None, None),
        (" \n**\n", None, None),
        ("The answer to this question is:", None, None),
        ("<answer></answer>", None, None),
        ("<think>The answer is Paris.", None, None),
        ("<think>The answer is Paris.</think>", None, None),
        ("<think>It is <answer>Paris</answer>", None, None),
        ("<search>capital of France</search>", None, None),
        ("Paris <search>capital of France</search>", None, None),
        ("<information>Doc 1: Paris.</information> Paris", None, None),
    ],
)
def test_shapes_of_a_short_answer(text: str, answer: str | None, by: Reading | None) -> None:
    assert read(text) == read(text, "rag") == (answer, by)


@pytest.mark.parametrize(
    ("text", "answer", "by"),
    [
        ("Chad is larger than Mali.\nThe answer is Chad.", "Chad", "phrase"),
        ("Step 1: look.\nStep 2: compare.\n\n**Chad**", "Chad", "last-line"),
        ("First, Mali. Then Chad.\n- Chad\n\n---\n", "Chad", "last-line"),
        ("Chad", "Chad", "last-line"),
        ("Mali is smaller. So it is Chad.", "Mali is smaller. So it is Chad", "last-line"),
        ("<think>Mali</think>Chad", "Chad", "last-line"),
        ("It is Mali.\n<answer>Chad", "Chad", "open-tag"),
        ("Chad\nQuestion: Which is smaller?\nMali", "Chad", "last-line"),
        ("<think>So Chad", None, None),
        ("", None, None),
    ],
)
def test_shapes_of_a_reasoned_answer(text: str, answer: str | None, by: Reading | None) -> None:
    assert read(text, "cot-rag") == (answer, by)


@pytest.mark.parametrize(
    ("mode", "text", "answer", "by"),
    [
        ("direct", "Paris. It is the capital of", "Paris", SENTENCE),
        ("direct", "Paris\nIt is", "Paris", SENTENCE),
        ("direct", "Par", None, None),
        ("direct", "It lies in the U.S. of", None, None),
        ("direct", "The area is 1.", None, None),
        ("direct", "<answer>Par", None, None),
        ("direct", "The answer is Chad. The answer is Ma", "Chad", "phrase"),
        ("direct", "<think>It lies", None, None),
        ("direct", "Paris\nQuestion: And of Sp", "Paris", SENTENCE),
        ("cot-rag", "Chad is larger.\nThe answer is Ch", None, None),
        ("cot-rag", "The answer is Chad.\n\nThe answer is Chad.\n\nThe ans", "Chad", "phrase"),
        ("cot-rag", "Chad is larger.\nMali is smaller.\nSo", None, None),
        ("cot-rag", "So:\nChad\nQuestion: Whi", "Chad", "last-line"),
    ],
)
def test_of_a_text_that_was_cut_only_whole_sentences_count(
    mode: Mode, text: str, answer: str | None, by: Reading | None
) -> None:
    assert read(text, mode, cut=True) == (answer, by)


def test_an_answer_has_an_end() -> None:
    answer, by = read("word " * 100)
    assert by == SENTENCE and answer == ("word " * 40).rstrip() and len(answer) <= LONGEST


def test_what_was_written_is_kept_unless_it_is_the_answer_alone() -> None:
    text = "Mali is smaller.\nThe answer is Chad."
    turn = read_free_text(text, reasons=True)
    alone = read_free_text("**Chad**.")
    assert turn and alone and (turn.think, alone.think) == (text, "")


@pytest.mark.parametrize("mode", SEARCHING)
def test_where_the_model_searches_tags_are_wanted(mode: Mode) -> None:
    for text in ("Paris", "The answer is Paris.", "<answer>Paris"):
        assert read(text, mode) == (None, None)


@pytest.mark.parametrize("mode", PLAIN)
def test_unasked_for_only_tags_are_read(mode: Mode) -> None:
    """Rewards, pass rates and training data come from protocols like this one."""
    assert Protocol(mode).parse_turn("The answer is Paris.").kind == "invalid"
    assert Protocol(mode).parse_turn("<answer>Paris</answer>").answer == "Paris"


written = st.lists(
    st.one_of(
        st.sampled_from(
            ["<think>", "</think>", "<answer>", "</answer>", "<search>", "answer is", "Answer:", "\n", ". "]
        ),
        st.sampled_from(["Paris", "\nQuestion:", "<|im_end|>", "**", "\\boxed{", "}", '"', "1."]),
        st.text(max_size=5),
    ),
    max_size=15,
).map("".join)


@given(written, st.booleans(), st.booleans())
def test_any_text_is_read_the_same_way_twice(text: str, reasons: bool, cut: bool) -> None:
    turn = read_free_text(text, reasons=reasons, cut=cut)
    assert turn == read_free_text(text, reasons=reasons, cut=cut)
    if turn:
        answer = turn.answer or ""
        assert turn.kind == "answer" and 0 < len(answer) <= LONGEST
        assert any(map(str.isalnum, answer)) and "\n" not in answer and answer == answer.strip()
        assert set("".join(answer.split())) <= set(text), "nothing is read that was not written"


# Rollouts


def roll(
    line: str | Completion, mode: Mode, *, free_text: bool = True, shots: tuple[Shot, ...] = ()
) -> tuple[Trajectory, ScriptedSampler]:
    sampler = ScriptedSampler([line])
    found = [passage("chad", "The answer is Chad."), passage("mali", "<answer>Chad</answer>")]
    protocol = Protocol(mode, free_text=free_text, shots=shots)
    asked = [Example("1", "Which is larger, Chad or Mali?", ("Chad",))]
    limits = Limits(max_new_tokens=50)
    [one] = run_rollouts(asked, sampler, ScriptedSearcher(default=found), protocol=protocol, limits=limits)
    return one, sampler


@pytest.mark.parametrize("mode", PLAIN)
def test_an_untrained_model_is_understood(mode: Mode) -> None:
    one, _ = roll("The answer is Chad.", mode)
    assert (one.answer, one.stop_reason, one.read_by) == ("Chad", "answer", "phrase")


@pytest.mark.parametrize("mode", PLAIN)
@pytest.mark.parametrize("line", ["", "<think>hm</think>", "<search>chad</search>"])
def test_retrieved_text_is_never_read(mode: Mode, line: str) -> None:
    one, _ = roll(line, mode)
    assert one.answer is one.read_by is None and one.stop_reason == "invalid"


def test_a_cut_completion_is_read_as_cut() -> None:
    cut = ScriptedSampler([]).cut
    one, _ = roll(cut("It is Cha"), "direct")
    other, _ = roll(cut("Chad. It is lar"), "direct")
    assert (one.answer, one.stop_reason) == (None, "length")
    assert (other.answer, other.stop_reason) == ("Chad", "answer")


@pytest.mark.parametrize("mode", [*PLAIN, *SEARCHING])
def test_rewards_want_the_tag(mode: Mode) -> None:
    one, _ = roll("The answer is Chad.", mode, free_text=False)
    weights = dict.fromkeys(("em", "f1", "cover_em", "format", "shaped_format"), 1.0)
    assert score(one, weights).total == 0.0


@pytest.mark.parametrize("mode", PLAIN)
def test_sampling_stops_before_a_question_of_the_models_own(mode: Mode) -> None:
    _, sampler = roll("Chad\nQuestion:", mode)
    assert sampler.limits == [((*STOP, "\nQuestion:"), 50)]


# Prompts


@pytest.mark.parametrize("mode", PLAIN)
def test_plain_prompts_ask_for_no_tag_and_list_the_documents(mode: Mode) -> None:
    documents = render_documents([Passage("1", "Chad", "Large."), Passage("2", "Mali", "Wide.")], "\n")
    prompt = Protocol(mode).render_prompt("Which?", documents)
    assert "<" not in prompt and prompt.count("Which?") == 1
    assert ("\nDoc 1: Chad. Large.\nDoc 2: Mali. Wide.\n" in prompt) == (mode != "direct")


def test_shots_are_answered_as_the_mode_wants_it() -> None:
    shots = (Shot("Of {question}?", "Paris", "It is in France."), Shot("Of Chad?", "N'Djamena"))
    prompts = {mode: Protocol(mode, shots=shots).render_prompt("Of Mali?", "Doc 1: x") for mode in (*PLAIN, "multi")}
    for mode in ("direct", "rag"):
        assert "\nQuestion: Of {question}?\nAnswer: Paris\n\nQuestion: Of Chad?\nAnswer: N'Djamena\n\n" in prompts[mode]
    reasoned = (
        "Answer: It is in France. The answer is Paris.\n\nQuestion: Of Chad?\nAnswer: The answer is N'Djamena.\n\n"
    )
    assert reasoned in prompts["cot-rag"]
    assert all(prompts[mode].find("Of Chad?") < prompts[mode].find("Of Mali?") for mode in PLAIN)
    assert prompts["multi"] == Protocol().render_prompt("Of Mali?")
    assert "{" not in prompts["direct"].replace("{question}", "") and "shots" not in PROMPTS["multi"]


def test_shots_are_in_the_prompt_and_their_answers_are_not_read() -> None:
    one, _ = roll("", "direct", shots=(Shot("Of Chad?", "Chad"),))
    prompt = ByteTokenizer().decode(one.prompt_ids)
    assert "Answer: Chad\n" in prompt and one.answer is None


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(ragr1_lite.core.free_text).attempted > 0 == doctest.testmod(ragr1_lite.core.free_text).failed
