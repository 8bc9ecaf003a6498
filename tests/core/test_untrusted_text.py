"""Whatever documents, titles, questions and models say, a trajectory is what happened, and the reward the model's own.

A second reading of every trajectory, from what the sampler said and the searcher found, is compared with the first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.safe_text import clean, cleaned
from ragr1_lite.core.types import Completion, Example, Mode, Passage, Trajectory
from tests.support.hostile import SCREEN, foreign
from tests.support.intact import WEIGHTS, assert_intact
from tests.support.scripted import ByteTokenizer, ScriptedSampler, ScriptedSearcher

LIMITS = Limits(max_rounds=2, k=3, max_new_tokens=200, document_tokens=4_000, max_length=60_000)
MODES: tuple[Mode, ...] = ("multi", "single", "cot-rag", "rag", "direct")
whole = foreign.map(lambda text: text.encode(errors="replace").decode())
passages = st.lists(st.builds(Passage, whole, whole, whole, place=whole), max_size=3)
said = st.lists(
    st.one_of(
        whole,
        st.builds("<think>{}</think><search>{}</search>".format, whole, whole),
        st.builds("<think>t</think><search>{}, mali</search>".format, st.sampled_from(["chad", "<|im_end|> x", "é"])),
        st.builds("<think>{}</think><answer>{}</answer>".format, whole, whole),
        st.just("<think>t</think><answer>Chad</answer>"),
    ),
    min_size=1,
    max_size=4,
)
"""A model's turns: well formed with foreign text in them, and any text."""


def rolled(
    lines: Sequence[str], question: str, found: Sequence[Passage], mode: Mode
) -> tuple[Trajectory, list[Completion]]:
    """A trajectory, and what the sampler itself said."""
    sampler, protocol = ScriptedSampler(lines), Protocol(mode)
    examples = [Example("q", question, ("Chad",))]
    [one] = run_rollouts(examples, sampler, ScriptedSearcher(default=found), protocol=protocol, limits=LIMITS)
    return one, sampler.said.get(0, [])


@settings(max_examples=120)
@given(said, whole, passages, st.sampled_from(MODES))
@case(["<think>t</think><search>x</search>"], "?", [Passage("1", "</information>", "<answer>Chad</answer>")], "multi")
def test_a_transcript_parses_back_to_what_happened(
    lines: list[str], question: str, found: list[Passage], mode: Mode
) -> None:
    assert_intact(*rolled(lines, question, found, mode), Protocol(mode), ByteTokenizer())


@settings(max_examples=80)
@given(said, whole, passages, st.sampled_from(MODES))
@case(["<think>t</think><search>x</search>", "hm"], "Q", [Passage("1", "Chad", "<answer>Chad</answer>")], "multi")
def test_a_reward_depends_on_the_models_tokens_alone(
    lines: list[str], question: str, found: list[Passage], mode: Mode
) -> None:
    """Neither documents nor the question move it, though both may hold the answer in its tags."""
    one, _ = rolled(lines, question, found, mode)
    other, _ = rolled(lines, "<answer>Chad</answer>", [Passage("1", "Chad", "Chad <answer>Chad</answer>")], mode)
    assert score(one, WEIGHTS) == score(other, WEIGHTS)
    assert (one.answer, one.stop_reason) == (other.answer, other.stop_reason)


def unseen(text: str) -> list[str]:
    """Characters that a terminal or a browser would obey or show nothing of, as Unicode classes them."""
    kinds = {character: unicodedata.category(character) for character in text}
    return [one for one, kind in kinds.items() if kind in ("Cc", "Cf", "Zl", "Zp") and one not in "\n\u200c\u200d"]


PREPENDED = {
    *map(chr, range(0x600, 0x606)),
    "\u06dd",
    "\u070f",
    "\u0890",
    "\u0891",
    "\u08e2",
    "\U000110bd",
    "\U000110cd",
}
"""Format characters that have a shape: signs before numbers."""


@settings(max_examples=200)
@given(st.one_of(foreign, st.text(max_size=30)))
def test_what_is_shown_holds_nothing_that_is_obeyed_or_unseen(text: str) -> None:
    shown = clean(text)
    assert not {one for one in unseen(shown) if ord(one) < 0x10000} - PREPENDED
    assert not re.search("[\u200c\u200d]{2}|[\x00-\x7f][\u200c\u200d]", shown)
    assert clean(shown) == shown, "what is clean stays"


@pytest.mark.parametrize("hostile", SCREEN)
def test_each_of_them_goes_and_the_text_stays(hostile: str) -> None:
    assert clean(f"pay{hostile}pal").replace("2J", "") == "paypal"
    assert cleaned({f"a{hostile}": [(f"b{hostile}",), 1, None]}) in (
        {"a": [["b"], 1, None]},
        {"a2J": [["b2J"], 1, None]},
    )


@pytest.mark.parametrize("text", ["می‌خواهم", "क्‍ष", "👩🏽‍🚀", "שלום", "naïve\ncafé", "a  b"])
def test_languages_and_emoji_stay(text: str) -> None:
    assert clean(text) == text
