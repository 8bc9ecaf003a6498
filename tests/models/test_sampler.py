"""The sampler: same results however rows are batched, and nothing between softmax and the tokens."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import Notice, TextSampled
from ragr1_lite.core.types import Completion, SampleRequest
from ragr1_lite.models import kv_cache
from ragr1_lite.models.kv_cache import RaggedCache, ragged_attention
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.sampler import TransformersSampler

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
    monkeypatch.setattr("ragr1_lite.models.sampler.supports", lambda model: False)
    assert TransformersSampler(tiny).sample(requests, stop=(" a",), max_new_tokens=12) == ours


@pytest.mark.parametrize("chunk", [5, 16, 512])
def test_shared_prefixes_and_chunks_change_nothing(tiny: Policy, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(kv_cache, "CHUNK", chunk)
    rows = sorted(list(request.token_ids) for request in requests_for(tiny))
    rows = [rows[0], rows[0], rows[0] + [17], *rows[1:]]
    model: Any = tiny.model
    with torch.inference_mode():
        expected = torch.stack([model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows])
        with ragged_attention(model):
            logits = RaggedCache(model).prefill(dict(enumerate(rows)), 0)
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


def test_shared_prefix_is_computed_once(tiny_qwen2: Policy) -> None:
    model: Any = tiny_qwen2.model
    lengths: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, args, __: lengths.append(args[0].numel()))
    try:
        with torch.inference_mode(), ragged_attention(model):
            RaggedCache(model).prefill(dict(enumerate([[5, 6, 7, 8, 9]] * 7 + [[5, 6, 7, 1, 2, 3]])), 0)
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
        monkeypatch.setattr("ragr1_lite.models.sampler.supports", lambda _, plain=plain: plain)
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
    from ragr1_lite.models.sampler import _Row

    row = _Row(SampleRequest(0, [1]), ("</search>",), smollm2.tokenizer, 50)
    for token in smollm2.tokenizer.encode('<search>"Chad", "Niger"</search>\n\n'):
        if row.finish is None:
            row.add(token, lambda event: None)
    assert row.finish == "stop"
    assert "</search>" in row.completion().text


def test_text_of_a_single_row_is_reported_in_whole_characters(smollm2: Policy) -> None:
    from ragr1_lite.models.sampler import _Row

    reported: list[object] = []
    text = "Åland 日本 🙂 end"
    row = _Row(SampleRequest(4, [1]), (), smollm2.tokenizer, 50)
    for token in [*smollm2.tokenizer.encode(text), smollm2.tokenizer.eos_ids[0]]:
        row.add(token, reported.append)
    texts = [event.text for event in reported if isinstance(event, TextSampled)]
    assert "".join(texts) == text
    assert len(texts) > 3
    assert not any("\ufffd" in text for text in texts)
    assert {event.row for event in reported if isinstance(event, TextSampled)} == {4}


def test_text_is_reported_for_one_row_alone(smollm2: Policy) -> None:
    sampler = TransformersSampler(smollm2)
    reported: list[object] = []
    alone = sampler.sample(requests_for(smollm2)[:1], stop=(), max_new_tokens=6, report=reported.append)
    assert "".join(event.text for event in reported if isinstance(event, TextSampled)) == alone[0].text
    reported.clear()
    sampler.sample(requests_for(smollm2)[:2], stop=(), max_new_tokens=2, report=reported.append)
    assert reported == []


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
    assert TransformersSampler(tiny_qwen2)._ragged
    config = copy.deepcopy(tiny_qwen2.model.config)
    config.attn_logit_softcapping = 50.0
    assert not TransformersSampler(replace(tiny_qwen2, model=SimpleNamespace(config=config)))._ragged  # type: ignore[arg-type]


def test_modes_of_all_layers_come_back(tiny_qwen2: Policy) -> None:
    """A layer that rests while the others train goes on resting."""
    model = tiny_qwen2.model
    model.train()
    try:
        model.model.layers[0].eval()
        before = [module.training for module in model.modules()]
        TransformersSampler(tiny_qwen2).sample(requests_for(tiny_qwen2), stop=(), max_new_tokens=2)
        assert [module.training for module in model.modules()] == before
        assert True in before and False in before
    finally:
        model.eval()


# From turn to turn


@contextmanager
def computed(policy: Policy) -> Iterator[list[int]]:
    """Collects how many tokens each forward computes."""
    model: Any = policy.model
    counts: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, args, __: counts.append(args[0].numel()))
    try:
        yield counts
    finally:
        hook.remove()


def converse(
    sampler: TransformersSampler, requests: Sequence[SampleRequest], stop: Sequence[str], *, keep: bool
) -> list[list[Completion]]:
    """Three turns; rows hear different things after each, the first leaves after one turn and the last after two."""
    turns = []
    with sampler.session() if keep else nullcontext():
        for turn in range(3):
            completions = sampler.sample(requests, stop=stop, max_new_tokens=10)
            turns.append(completions)
            heard = [list(range(40 + turn, 45 + turn + request.row)) for request in requests]
            requests = [
                SampleRequest(request.row, [*request.token_ids, *completion.token_ids, *block])
                for request, completion, block in zip(requests, completions, heard, strict=True)
            ]
            requests = requests[1:] if turn == 0 else requests[:-1]
    return turns


def stops_of(sampler: TransformersSampler, requests: Sequence[SampleRequest]) -> list[str]:
    """Pieces of what two rows say, so that rows stop at different steps."""
    said = sampler.sample(requests, stop=(), max_new_tokens=10)
    texts = [sampler.tokenizer.decode([said[row].token_ids[at]]) for row, at in ((0, 2), (2, 4))]
    return [text for text in texts if text.strip()]


@pytest.mark.parametrize("batch_size", [2, 8])
def test_what_is_kept_between_turns_changes_nothing(tiny: Policy, batch_size: int) -> None:
    sampler = TransformersSampler(tiny, batch_size=batch_size)
    requests = requests_for(tiny)
    stop = stops_of(sampler, requests)
    with computed(tiny) as anew:
        expected = converse(sampler, requests, stop, keep=False)
    with computed(tiny) as kept:
        assert converse(sampler, requests, stop, keep=True) == expected
    assert len({len(completion.token_ids) for completion in expected[0]}) > 1, "rows should stop at different steps"
    assert sum(kept) < sum(anew)


def test_what_is_kept_changes_nothing_for_a_real_model(smollm2: Policy) -> None:
    sampler = TransformersSampler(smollm2)
    requests = requests_for(smollm2)
    expected = converse(sampler, requests, ("capital", " 2"), keep=False)
    assert converse(sampler, requests, ("capital", " 2"), keep=True) == expected
    assert {completion.finish for turn in expected for completion in turn} == {"stop", "length"}


def test_only_new_tokens_are_computed(tiny_qwen2: Policy) -> None:
    sampler = TransformersSampler(tiny_qwen2)
    rows = [SampleRequest(7, [5, 6, 7, 8]), SampleRequest(3, [9, 6, 7]), SampleRequest(4, [9, 6, 7])]
    with sampler.session():
        said = sampler.sample(rows, stop=(), max_new_tokens=3)
        again = [
            SampleRequest(row.row, [*row.token_ids, *completion.token_ids, 20, 21])
            for row, completion in zip(rows, said, strict=True)
        ]
        with computed(tiny_qwen2) as counts:
            sampler.sample(again, stop=(), max_new_tokens=1)
    # Of one row the last sampled token, whose keys nobody needed before, and what it heard; its equal computes one.
    assert counts == [2 * 3 + 1]


def test_a_row_that_does_not_continue_is_computed_anew(tiny: Policy) -> None:
    sampler = TransformersSampler(tiny)
    first, other = requests_for(tiny)[:2]
    strangers = [SampleRequest(0, other.token_ids), SampleRequest(1, first.token_ids[:-3]), SampleRequest(2, [5, 6])]
    expected = sampler.sample(strangers, stop=(), max_new_tokens=6)
    with sampler.session():
        sampler.sample([first, other], stop=(), max_new_tokens=6)
        assert sampler.sample(strangers, stop=(), max_new_tokens=6) == expected


def test_nothing_outlives_a_session(tiny_qwen2: Policy) -> None:
    """After it the weights may change, and memory is needed elsewhere."""
    model: Any = tiny_qwen2.model
    sampler, requests = TransformersSampler(tiny_qwen2), requests_for(tiny_qwen2)
    with sampler.session():
        before = sampler.sample(requests, stop=(), max_new_tokens=6)
    weight = model.model.layers[0].self_attn.v_proj.weight
    original = weight.data
    try:
        weight.data = -original
        changed = sampler.sample(requests, stop=(), max_new_tokens=6)
        with sampler.session():
            assert sampler.sample(requests, stop=(), max_new_tokens=6) == changed != before
    finally:
        weight.data = original
    assert sampler._session is None


def test_rows_that_left_are_forgotten(tiny_qwen2: Policy) -> None:
    sampler, requests = TransformersSampler(tiny_qwen2), requests_for(tiny_qwen2)
    with sampler.session():
        for left in (4, 2, 1):
            sampler.sample(requests[:left], stop=(), max_new_tokens=2)
            assert sampler._session is not None
            assert sampler._session.names == set(range(left))


def test_a_cache_grows_and_rows_come_back(tiny: Policy) -> None:
    """Logits of every step against the plain model's, while slabs grow and rows are parked and taken up again."""
    model: Any = tiny.model
    rows = {3: [5, 6, 7], 8: [5, 6, 9, 4], 1: [11, 12, 13, 14, 15], 6: [2]}
    cache, shapes = RaggedCache(model), set()

    def check(logits: torch.Tensor) -> None:
        shapes.add(cache._shape)
        expected = [model(input_ids=torch.tensor([rows[name]])).logits[0, -1] for name in cache.live]
        torch.testing.assert_close(logits, torch.stack(expected), atol=2e-4, rtol=1e-4)

    with torch.inference_mode():
        for left in (8, 6, 1):
            with ragged_attention(model):
                logits = cache.prefill(rows, 30)
            check(logits)
            for step in range(14):
                if step in (4, 9) and len(cache.live) > 1:
                    cache.park(cache.live[0])
                for name in cache.live:
                    rows[name] = [*rows[name], 30 + left + step * name]
                with ragged_attention(model):
                    logits = cache.extend([rows[name][-1] for name in cache.live])
                check(logits)
            rows = {name: [*ids, 17, 18] for name, ids in rows.items() if name != left}
    assert len(shapes) > 2, "slabs should have grown"


# Log-probabilities


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logprobs_are_those_of_the_draw(tiny: Policy, temperature: float, ragged: bool) -> None:
    sampler = TransformersSampler(tiny, temperature=temperature, seed=4, logprobs=True, ragged=ragged)
    requests = requests_for(tiny)
    model: Any = tiny.model
    for request, completion in zip(requests, sampler.sample(requests, stop=(), max_new_tokens=6), strict=True):
        ids = torch.tensor([[*request.token_ids, *completion.token_ids]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, len(request.token_ids) - 1 : -1]
        shares = (logits / (temperature or 1.0)).log_softmax(-1)
        expected = shares[range(len(completion.token_ids)), list(completion.token_ids)]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-3, rtol=1e-4)


def test_logprobs_are_given_where_asked_for(tiny_qwen2: Policy) -> None:
    requests = requests_for(tiny_qwen2)
    asked = TransformersSampler(tiny_qwen2, logprobs=True).drawing(3, 1.0)
    silent = TransformersSampler(tiny_qwen2, temperature=1.0, seed=3)
    reported = asked.sample(requests, stop=(), max_new_tokens=4)
    assert reported == silent.sample(requests, stop=(), max_new_tokens=4), "the same draws"
    assert [len(completion.logprobs) for completion in reported] == [
        len(completion.token_ids) for completion in reported
    ]
    assert all(completion.logprobs == () for completion in silent.sample(requests, stop=(), max_new_tokens=4))


# Memory that runs out

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to ..."),
]


@contextmanager
def memory_for(policy: Policy, rows: int, error: Exception, after: int = 3) -> Iterator[list[int]]:
    """A model whose memory is enough for so many rows, seen after some steps; collects the failures."""
    model: Any = policy.model
    failed: list[int] = []
    calls = 0

    def refuse(_: object, args: tuple[torch.Tensor]) -> None:
        nonlocal calls
        calls += 1
        wanted = args[0].shape[0] * args[0].shape[1]  # logits are of one token a row, in one line or several
        if calls > after and wanted > rows:
            failed.append(wanted)
            raise error

    hook = model.lm_head.register_forward_pre_hook(refuse)
    try:
        yield failed
    finally:
        hook.remove()


@pytest.mark.parametrize(("ragged", "error"), [(True, ERRORS[0]), (True, ERRORS[1]), (False, ERRORS[0])])
def test_fewer_rows_where_memory_runs_out(tiny_qwen2: Policy, ragged: bool, error: Exception) -> None:
    requests = requests_for(tiny_qwen2, [*QUESTIONS, "Is 7 odd?", "Name a fruit."])
    stop = stops_of(TransformersSampler(tiny_qwen2), requests)
    expected = TransformersSampler(tiny_qwen2).sample(requests, stop=stop, max_new_tokens=8)
    reported: list[object] = []
    sampler = TransformersSampler(tiny_qwen2, logprobs=True, ragged=ragged)
    with memory_for(tiny_qwen2, 2, error) as failed:
        found = sampler.sample(requests, stop=stop, max_new_tokens=8, report=reported.append)
        assert failed, "memory should have run out"
        failed.clear()
        again = sampler.sample(requests, stop=stop, max_new_tokens=8, report=reported.append)
        assert not failed, "what fits is remembered"
    assert found == again == expected
    assert [len(completion.logprobs) for completion in found] == [len(completion.token_ids) for completion in found]
    [notice] = reported
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert "rollout.batch_size" in notice.text


def test_memory_that_runs_out_in_a_later_turn(tiny_qwen2: Policy) -> None:
    sampler, requests = TransformersSampler(tiny_qwen2), requests_for(tiny_qwen2)
    expected = converse(sampler, requests, (), keep=False)
    with memory_for(tiny_qwen2, 2, ERRORS[0], after=14) as failed:
        assert converse(sampler, requests, (), keep=True) == expected
    assert failed


def test_no_memory_for_one_row(tiny_qwen2: Policy) -> None:
    with memory_for(tiny_qwen2, 0, ERRORS[0]) as failed, pytest.raises(RunError, match="a single row"):
        TransformersSampler(tiny_qwen2).sample(requests_for(tiny_qwen2), stop=(), max_new_tokens=12)
    assert failed == [4, 2, 1]


def test_other_errors_are_not_taken_for_it(tiny_qwen2: Policy) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with memory_for(tiny_qwen2, 0, error) as failed, pytest.raises(RuntimeError, match="mat1"):
        TransformersSampler(tiny_qwen2).sample(requests_for(tiny_qwen2), stop=(), max_new_tokens=12)
    assert failed == [4]
