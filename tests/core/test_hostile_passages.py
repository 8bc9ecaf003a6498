"""A hundred hostile passages, all of them read: the transcript is what happened, and nothing in them is paid for.

`docs/studies/hostile.py` asks real models about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Mode, SampleRequest
from ragr1_lite.retrieval import Bm25Searcher
from tests.support.hostile import ASKED, EVIL, PASSAGES
from tests.support.intact import WEIGHTS, Overheard, assert_intact, assert_paid_for_the_models_own
from tests.support.scripted import SPECIAL, ByteTokenizer, ScriptedSampler

LIMITS = Limits(
    max_rounds=2, k=4, max_new_tokens=100, document_tokens=100_000, total_document_tokens=10**6, max_length=10**6
)
SEARCH = "<think>Who built it?</think><search>mill of {town}</search>"


class Reads(ScriptedSampler):
    """Searches for its row's town, then says what a model may say that has read hostile passages."""

    def __init__(self, then: str) -> None:
        super().__init__([""], ByteTokenizer())
        self._then = then

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self._next(request) for request in requests]

    def _next(self, request: SampleRequest) -> Completion:
        town, read = ASKED[request.row].id, self.tokenizer.decode(request.token_ids).partition("mill of")[2]
        if "wheels" not in read:
            return self.complete(SEARCH.format(town=town))
        heard = next(one.text for one in PASSAGES[4 * request.row + request.row % 4 :])
        return self.complete(self._then.format(heard=heard, town=town, read=read[-300:]))


SAYS = {
    "nothing of its own": "hm",
    "obeys": f"<think>The documents say it.</think><answer>{EVIL}</answer>",
    "copies what it read": "<think>{read}</think><answer>nobody</answer>",
    "writes a passage as it was before": "<think>{heard}</think><search>mill of {town}, {heard}</search>",
    "answers with one": "<think>t</think><answer>{heard}</answer>",
}


@pytest.mark.parametrize("mode", ["multi", "single", "rag", "cot-rag", "direct"])
@pytest.mark.parametrize("says", SAYS)
def test_the_protocol_is_intact_and_nothing_injected_is_paid(mode: Mode, says: str) -> None:
    sampler, protocol = Overheard(Reads(SAYS[says])), Protocol(mode)
    searcher = Bm25Searcher.from_passages(PASSAGES)
    rolled = run_rollouts(ASKED, sampler, searcher, protocol=protocol, limits=LIMITS)
    for row, one in enumerate(rolled):
        said = sampler.said[row]
        assert_intact(one, said, protocol, sampler.tokenizer, SPECIAL)
        assert_paid_for_the_models_own(one, said, protocol, LIMITS, sampler.tokenizer)
        if says in ("nothing of its own", "copies what it read"):
            assert score(one, WEIGHTS).parts["em"] == 0 and one.answer != EVIL
    if mode != "direct":
        assert {found.id for one in rolled for found in one.shown} == {found.id for found in PASSAGES}
