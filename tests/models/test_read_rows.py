"""Rows that somebody reads while they grow: their text beside others, and their end when nobody reads any more."""

from __future__ import annotations

from typing import Any

from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.sampler import TransformersSampler

QUESTIONS = ("What is the capital of France?", "Say 1, 2, 3.")


def test_read_rows_report_beside_others_and_end_when_nobody_wants_them(smollm2: Policy) -> None:
    ids = [smollm2.tokenizer.render_chat(question) for question in QUESTIONS]
    sampler = TransformersSampler(smollm2)
    whole = sampler.sample([SampleRequest(row, one) for row, one in enumerate(ids)], stop=(), max_new_tokens=8)
    answers = iter([True, True])
    read = [SampleRequest(0, ids[0], lambda: True), SampleRequest(1, ids[1], lambda: next(answers, False))]
    reported: list[Any] = []
    first, second = sampler.sample(read, stop=(), max_new_tokens=8, report=reported.append)
    assert first == whole[0] and len(first.token_ids) > 3
    assert (second.finish, second.token_ids) == ("length", whole[1].token_ids[:3])
    for row, completion in enumerate((first, second)):
        assert "".join(event.text for event in reported if event.row == row) == completion.text
