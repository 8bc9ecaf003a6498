"""A second reading of a rollout, from what the sampler said and the searcher found, to be compared with the first."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ragr1_lite.core.protocol import Protocol, disarm, render_documents
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import Limits, run_rollouts, session_of
from ragr1_lite.core.types import Completion, Sampler, SampleRequest, Tokenizer, Trajectory, Turn
from tests.support.scripted import ScriptedSearcher, passage

TAG = re.compile(r"<\s*/?\s*(think|search|information|answer)\s*>", re.IGNORECASE)
WEIGHTS = {
    "em": 1.0,
    "f1": 0.5,
    "cover_em": 0.5,
    "format": 0.2,
    "shaped_format": 0.1,
    "length": -0.1,
    "retrieval": -0.1,
}


class Overheard:
    """A sampler that keeps what it said, by row."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self.tokenizer = sampler, sampler.tokenizer
        self.said: dict[int, list[Completion]] = {}

    def session(self) -> AbstractContextManager[None]:
        return session_of(self._sampler)

    def sample(self, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
        completions = self._sampler.sample(requests, **options)
        for request, completion in zip(requests, completions, strict=True):
            self.said.setdefault(request.row, []).append(completion)
        return completions


class Repeated:
    """A sampler that says what was said before, turn by turn."""

    def __init__(self, tokenizer: Tokenizer, said: Sequence[Completion]) -> None:
        self.tokenizer, self._rest = tokenizer, list(said)

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self._rest.pop(0)]


def assert_intact(
    one: Trajectory, said: Sequence[Completion], protocol: Protocol, tokenizer: Tokenizer, control: Collection[int] = ()
) -> None:
    """The transcript is what happened, and what the environment wrote holds neither tags nor ``control`` tokens."""
    turns: list[Turn] = []
    for completion in said:
        searches = sum(turn.kind == "search" for turn in turns)
        turns.append(protocol.parse_turn(completion.text, searches, cut=completion.finish == "length"))
    parts = {source: [part.token_ids for part in one.segments if part.source == source] for source in ("model", "env")}
    assert parts["model"] == [completion.token_ids for completion in said]
    sources = [segment.source for segment in one.segments]
    assert sources == (["prompt"] + ["model", "env"] * len(turns))[: len(sources)]
    assert one.loss_mask == tuple(int(part.source == "model") for part in one.segments for _ in part.token_ids)
    written = one.turns[one.first_written :]
    assert [replace(turn, passages=(), cut=None) for turn in written] == turns
    frame = [token for token in tokenizer.render_chat("") if token in control]
    assert [token for token in one.segments[0].token_ids if token in control] == frame
    answered = [turn for turn in written if turn.kind == "search"][: len(parts["env"])]
    for turn, token_ids in zip(answered, parts["env"], strict=True):
        assert not {*token_ids} & {*control}
        inside = re.fullmatch(r"\n<information>(.*)</information>\n", tokenizer.decode(token_ids), re.DOTALL)
        assert inside and not TAG.search(inside[1]), "nothing opens or closes within"
        block = json.loads(inside[1]) if protocol.mode == "multi" else {"query": None, "documents": [inside[1]]}
        assert block["query"] in (None, [disarm(query) for query in turn.queries])
        for text, found in zip(block["documents"], turn.passages, strict=True):
            whole = render_documents(found)
            assert text == whole if turn.cut is None else whole.startswith(text)


def assert_paid_for_the_models_own(
    one: Trajectory, said: Sequence[Completion], protocol: Protocol, limits: Limits, tokenizer: Tokenizer
) -> None:
    """With harmless documents in place of what was found, the same words would have had the same reward."""
    sampler, searcher = Repeated(tokenizer, said), ScriptedSearcher(default=[passage("a mill")])
    [other] = run_rollouts([one.example], sampler, searcher, protocol=protocol, limits=limits)
    assert score(one, WEIGHTS) == score(other, WEIGHTS)
    assert (one.answer, one.stop_reason) == (other.answer, other.stop_reason)
