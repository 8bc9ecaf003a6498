"""The sampler: same results however rows are batched, and nothing between softmax and the tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from ragr1_lite import ragged
from ragr1_lite.core import Completion, SampleRequest
from ragr1_lite.events import TextSampled
from ragr1_lite.models import Policy
from ragr1_lite.ragged import RaggedCache, ragged_attention
from ragr1_lite.sampling import TransformersSampler

QUESTIONS = ["What is the capital of France?", "Say 1, 2, 3.", "Name a colour.", "Which is larger, 5 or 7? Say why."]


@pytest.fixture(params=["tiny_qwen2", "tiny_qwen3"])
def tiny(request: pytest.FixtureRequest) -> Policy:
    policy: Policy = request.getfixturevalue(request.param)
    return policy


def requests_for(policy: Policy, questions: Sequence[str] = QUESTIONS) -> list[SampleRequest]:
    return [SampleRequest(i, policy.tokenizer.render_chat(question)) for i, question in enumerate(questions)]


def by_transformers(policy: Policy, request: SampleRequest, new: int) -> list[int]:
    """The plainest reference: the whole sequence again for each token, no cache, no batch."""
    ids = list(request.token_ids)
    with torch.inference_mode():
        for _ in range(new):
            model: Any = policy.model
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in policy.tokenizer.eos_ids:
                break
    return ids[len(request.token_ids) :]


def test_greedy_equals_the_plain_model_without_cache(tiny: Policy) -> None:
    requests = requests_for(tiny)
    completions = TransformersSampler(tiny).sample(requests, stop=(), max_new_tokens=12)
    for request, completion in zip(requests, completions, strict=True):
        assert list(completion.token_ids) == by_transformers(tiny, request, 12)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batched_greedy_equals_one_by_one(smollm2: Policy, batch_size: int) -> None:
    requests = requests_for(smollm2)
    sampler = TransformersSampler(smollm2, batch_size=batch_size)
    together = sampler.sample(requests, stop=("blue", "larger"), max_new_tokens=16)
    alone = [sampler.sample([request], stop=("blue", "larger"), max_new_tokens=16)[0] for request in requests]
    assert together == alone
    assert len({completion.finish for completion in together}) > 1, "rows should leave the batch at different times"


def test_generate_gives_the_same(tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = requests_for(tiny)
    ours = TransformersSampler(tiny).sample(requests, stop=(" a",), max_new_tokens=12)
    monkeypatch.setattr("ragr1_lite.sampling._has_plain_attention", lambda model: False)
    assert TransformersSampler(tiny).sample(requests, stop=(" a",), max_new_tokens=12) == ours


@pytest.mark.parametrize("chunk", [5, 16, 512])
def test_shared_prefixes_and_chunks_change_nothing(tiny: Policy, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(ragged, "CHUNK", chunk)
    rows = sorted(list(request.token_ids) for request in requests_for(tiny))
    rows = [rows[0], rows[0], rows[0] + [17], *rows[1:]]
    model: Any = tiny.model
    with torch.inference_mode():
        expected = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
        with ragged_attention(model):
            logits = RaggedCache(model, len(rows), 100).prefill(rows)
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


def test_shared_prefix_is_computed_once(tiny_qwen2: Policy) -> None:
    model: Any = tiny_qwen2.model
    lengths: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, args, __: lengths.append(args[0].numel()))
    try:
        with torch.inference_mode(), ragged_attention(model):
            RaggedCache(model, 8, 64).prefill([[5, 6, 7, 8, 9]] * 7 + [[5, 6, 7, 1, 2, 3]])
    finally:
        hook.remove()
    assert sum(lengths) == 5 + 6 * 1 + 3


def test_sampled_shares_follow_softmax(tiny_qwen2: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's own top-k and penalties must not cut the tail: the trainer's probabilities know nothing of them."""
    model: Any = tiny_qwen2.model
    for name, value in {"top_k": 2, "top_p": 0.5, "repetition_penalty": 1.5, "do_sample": True}.items():
        monkeypatch.setattr(model.generation_config, name, value, raising=False)
    request = requests_for(tiny_qwen2)[0]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([request.token_ids])).logits[0, -1]
    temperature = float(logits.std())  # flat enough that the tail is drawn
    shares = torch.softmax(logits / temperature, -1)
    top = shares.topk(1000)
    draws = 300
    for plain in (True, False):
        monkeypatch.setattr("ragr1_lite.sampling._has_plain_attention", lambda _, plain=plain: plain)
        sampler = TransformersSampler(tiny_qwen2, temperature=temperature, seed=3, batch_size=150)
        rows = [SampleRequest(i, request.token_ids) for i in range(draws)]
        found = Counter(c.token_ids[0] for c in sampler.sample(rows, stop=(), max_new_tokens=1))
        inside = sum(found[int(token)] for token in top.indices)
        expected = float(top.values.sum())
        error = (expected * (1 - expected) / draws) ** 0.5
        assert abs(inside / draws - expected) < 5 * error
        assert len(found) > 50


def test_seed_decides_the_draws(tiny_qwen2: Policy) -> None:
    def draw(seed: int | None) -> list[Completion]:
        sampler = TransformersSampler(tiny_qwen2, temperature=1.0, seed=seed)
        return sampler.sample(requests_for(tiny_qwen2), stop=(), max_new_tokens=8)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    torch.manual_seed(5)
    first = draw(None)
    torch.manual_seed(5)
    assert draw(None) == first


def test_finish_reasons_and_exact_ids(smollm2: Policy) -> None:
    sampler = TransformersSampler(smollm2)
    request = requests_for(smollm2)[0]
    ended = sampler.sample([request], stop=(), max_new_tokens=40)[0]
    assert ended.finish == "eos"
    assert ended.token_ids[-1] == smollm2.tokenizer.eos_ids[0]
    assert "<|im_end|>" not in ended.text
    stopped = sampler.sample([request], stop=("capital",), max_new_tokens=40)[0]
    assert stopped.finish == "stop"
    assert stopped.token_ids == ended.token_ids[: len(stopped.token_ids)]
    assert stopped.text.rstrip().endswith("capital")
    cut = sampler.sample([request], stop=(), max_new_tokens=3)[0]
    assert (cut.finish, cut.token_ids) == ("length", ended.token_ids[:3])


def test_stop_is_found_where_tokens_cross_it(smollm2: Policy) -> None:
    """The closing tag's last character merges with what follows, so no token id could be a stop."""
    from ragr1_lite.sampling import _Row

    row = _Row(SampleRequest(0, [1]), ("</search>",), smollm2.tokenizer)
    for token in smollm2.tokenizer.encode('<search>"Chad", "Niger"</search>\n\n'):
        if row.finish is None:
            row.add(token, lambda event: None, last=False)
    assert row.finish == "stop"
    assert "</search>" in row.completion().text


def test_text_of_a_single_row_is_told_in_whole_characters(smollm2: Policy) -> None:
    from ragr1_lite.sampling import _Row

    told: list[object] = []
    text = "Åland 日本 🙂 end"
    row = _Row(SampleRequest(4, [1]), (), smollm2.tokenizer)
    for token in [*smollm2.tokenizer.encode(text), smollm2.tokenizer.eos_ids[0]]:
        row.add(token, told.append, last=False)
    pieces = [event.text for event in told if isinstance(event, TextSampled)]
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert not any("\ufffd" in piece for piece in pieces)
    assert {event.row for event in told if isinstance(event, TextSampled)} == {4}


def test_text_is_told_for_one_row_alone(smollm2: Policy) -> None:
    sampler = TransformersSampler(smollm2)
    told: list[object] = []
    alone = sampler.sample(requests_for(smollm2)[:1], stop=(), max_new_tokens=6, report=told.append)
    assert "".join(event.text for event in told if isinstance(event, TextSampled)) == alone[0].text
    told.clear()
    sampler.sample(requests_for(smollm2)[:2], stop=(), max_new_tokens=2, report=told.append)
    assert told == []


def test_model_is_left_as_it_was(tiny_qwen2: Policy) -> None:
    model: Any = tiny_qwen2.model
    model.train()
    try:
        TransformersSampler(tiny_qwen2).sample(requests_for(tiny_qwen2), stop=(), max_new_tokens=2)
        assert model.training
        assert model.config._attn_implementation == "sdpa"
    finally:
        model.eval()


def test_other_attention_goes_through_generate(tiny_qwen2: Policy) -> None:
    assert TransformersSampler(tiny_qwen2)._plain
    assert not TransformersSampler(replace(tiny_qwen2, engine="unsloth"))._plain
