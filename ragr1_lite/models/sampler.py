"""Batched sampling with a transformers model.

A decode loop of our own over :class:`~.kv_cache.RaggedCache` rather than ``generate``: rows that begin alike
share their prefill, rows that are finished leave the batch, rows that come back after a search compute only what is
new, and nothing is padded. Models of unsloth sample by transformers' own code (:mod:`~.untouched`); those whose
attention is of another kind (capped scores) go through ``generate``, with the same rows, stops and probabilities.
Nothing but softmax decides: a model's own top-k, top-p or repetition penalty would part the sampler from the trainer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ragr1_lite.core.errors import RunError, out_of_memory
from ragr1_lite.core.events import Notice, Report, TextSampled, ignore
from ragr1_lite.core.types import Completion, Finish, SampleRequest
from ragr1_lite.models import upstream
from ragr1_lite.models.few_rows import fast_products
from ragr1_lite.models.kv_cache import RaggedCache, ragged_attention, supports
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.models.untouched import untouched

_BLOCK = 128


class TransformersSampler:
    """A :class:`ragr1_lite.core.types.SessionSampler` by transformers.

    ``seconds`` is the wall time of ``prefill`` and ``decode`` so far, choosing tokens included; not of ``generate``.

    Args:
        policy: The model and its tokenizer.
        temperature: 0 takes the likeliest token; above, tokens are drawn from ``softmax(logits / temperature)``.
        batch_size: Rows sampled side by side; halved for good where memory runs out.
        seed: Of this sampler's own generator; None draws from torch's global one.
        logprobs: Whether completions carry the log-probability of each id under the distribution it was drawn from;
            with temperature 0, under ``softmax(logits)``.
        ragged: False goes through ``generate`` whatever the model.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        temperature: float = 0.0,
        batch_size: int = 16,
        seed: int | None = None,
        logprobs: bool = False,
        ragged: bool = True,
    ) -> None:
        self.policy = policy
        self._temperature = temperature
        self._batch_size = batch_size
        self._generator = None if seed is None else torch.Generator(policy.device).manual_seed(seed)
        self._logprobs = logprobs
        self._ragged = ragged and supports(policy.model.config)
        self._session: _Session | None = None
        self.seconds = {"prefill": 0.0, "decode": 0.0}

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The tokenizer of the model that samples."""
        return self.policy.tokenizer

    @cached_property
    def _model(self) -> Any:
        """What samples: of unsloth's model, its weights under transformers' own code."""
        own_code = self._ragged and self.policy.engine == "unsloth"
        return untouched(self.policy.model) if own_code else self.policy.model

    def drawing(self, seed: int, temperature: float) -> TransformersSampler:
        """The same model with a seed of its own."""
        options: dict[str, Any] = {"batch_size": self._batch_size, "logprobs": self._logprobs, "ragged": self._ragged}
        return TransformersSampler(self.policy, temperature=temperature, seed=seed, **options)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keeps the keys and values of up to ``batch_size`` rows from one :meth:`sample` to the next.

        The model's weights must not change meanwhile. Rows that are not in the next call are dropped then.
        """
        outer, self._session = self._session, _Session()
        try:
            yield
        finally:
            self._session.close()
            self._session = outer

    def sample(
        self, requests: Sequence[SampleRequest], *, stop: Sequence[str], max_new_tokens: int, report: Report = ignore
    ) -> list[Completion]:
        """Continues each row until a stop string is in its new text, an end token, or the limit.

        Rows are sorted before they are split into batches: those that begin alike compute their beginning once. A row
        that is no longer wanted ends with ``length``.
        Where memory runs out, the rows go on in smaller batches, and a notice says so.
        """
        rows = [_Row(request, tuple(stop), self.tokenizer, max_new_tokens) for request in requests]
        kept = self._session.names if self._session else ()
        waiting = sorted(rows, key=lambda row: (row.name not in kept, row.ids))
        report_text = report if len(rows) == 1 or any(request.wanted for request in requests) else ignore
        before = self._batch_size
        with self._inference():
            while waiting:
                self._sample_batch(waiting[: self._batch_size], report_text)
                waiting = [row for row in waiting if row.finish is None]
        if (now := self._batch_size) < before:
            halved = f"Memory ran out while sampling: batches have {now} rows from here on, not {before}"
            report(Notice(f"{halved}; the results are the same. Set rollout.batch_size to {now}.", "warning"))
        return [row.completion() for row in rows]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """Evaluation mode without gradients, our attention where asked for; everything is restored afterwards."""
        model = self._model
        unsloths = self.policy.engine == "unsloth" and not self._ragged
        with upstream.unsloth_mode_kept(model) if unsloths else _mode_kept(model):
            model.eval()
            with torch.inference_mode(), ragged_attention(model) if self._ragged else nullcontext():
                yield

    def _sample_batch(self, rows: list[_Row], report: Report) -> None:
        """Samples rows side by side until all are finished, or memory runs out and the batch size is halved."""
        try:
            run = self._decode if self._ragged else self._generate
            run(rows, report)
            return
        except Exception as error:
            if not out_of_memory(error):
                raise
            if len(rows) == 1:  # else training would take its own passes for too large
                raise RunError(
                    f"The memory ran out while a single row of {len(rows[0].ids)} tokens was sampled",
                    "Choose a shorter rollout.max_length, a smaller model, or model.dtype=nf4.",
                ) from None
        # The tensors that the error's frames held are free only after the handler.
        if self._session:
            self._session.close()
        gc.collect()
        if self.policy.device == "cuda":
            torch.cuda.empty_cache()
        self._batch_size = len(rows) // 2

    def _decode(self, rows: list[_Row], report: Report) -> None:
        """Samples rows side by side over a cache, the session's where there is one."""
        cache = self._session.cache if self._session else None
        cache = cache or RaggedCache(self._model)
        if self._session:
            self._session.keep(cache)
        named = {row.name: row for row in rows}
        began, part = time.perf_counter(), "prefill"
        logits = cache.prefill({row.name: row.ids for row in rows}, max(row.left for row in rows))
        while True:
            chosen = self._choose(logits)
            self.seconds[part] += time.perf_counter() - began
            for name, (token, logprob) in zip(cache.live, chosen, strict=True):
                named[name].add(token, report, logprob)
            for name in reversed(cache.live):
                if named[name].finish:
                    cache.park(name)
            if not cache.live:
                return
            began, part = time.perf_counter(), "decode"
            logits = cache.extend([named[name].token_ids[-1] for name in cache.live])

    def _generate(self, rows: list[_Row], report: Report) -> None:
        """The same by ``generate``: rows are padded on the left and stay until the last is finished."""
        from transformers import GenerationConfig, StoppingCriteriaList

        model: Any = self.policy.model
        pad = self.tokenizer.pad_id
        longest = max(len(row.ids) for row in rows)
        padding = [longest - len(row.ids) for row in rows]
        ids = [[pad] * extra + row.ids for row, extra in zip(rows, padding, strict=True)]
        mask = [[0] * extra + [1] * (longest - extra) for extra in padding]
        logits = torch.empty(0)

        def keep(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            nonlocal logits
            logits = scores
            return scores

        def finished(sequences: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            tokens = sequences[:, -1]
            logprobs = self._logprobs_of(self._shares(logits) if self._logprobs else logits, tokens)
            for row, token, logprob in zip(rows, tokens.tolist(), logprobs, strict=True):
                if row.finish is None:
                    row.add(token, report, logprob)
            return torch.tensor([row.finish is not None for row in rows], device=sequences.device)

        config = GenerationConfig(
            max_new_tokens=max(row.left for row in rows),
            do_sample=self._temperature > 0,
            temperature=self._temperature or 1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            eos_token_id=list(self.tokenizer.eos_ids),
            pad_token_id=pad,
        )
        with _seeded(self._generator):
            model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
                logits_processor=[keep] if self._logprobs else [],
                stopping_criteria=StoppingCriteriaList([finished]),
            )

    def _choose(self, logits: torch.Tensor) -> list[tuple[int, float | None]]:
        """A token id per row from logits ``(rows, vocabulary)``, and its log-probability where wanted."""
        shares = self._shares(logits) if self._temperature or self._logprobs else logits
        tokens = draw(shares, self._generator) if self._temperature else logits.argmax(-1)
        return list(zip(tokens.tolist(), self._logprobs_of(shares, tokens), strict=True))

    def _shares(self, logits: torch.Tensor) -> torch.Tensor:
        """The distribution that tokens are drawn from, computed in fp32."""
        return torch.softmax(logits.float() / (self._temperature or 1.0), dim=-1)

    def _logprobs_of(self, shares: torch.Tensor, tokens: torch.Tensor) -> list[float] | list[None]:
        """Of each row's token, in nats."""
        if not self._logprobs:
            return [None] * len(tokens)
        found: list[float] = shares.gather(-1, tokens[:, None])[:, 0].log().tolist()
        return found


def draw(shares: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """One index of each row ``(rows, vocabulary)`` by its share of the row.

    ``torch.multinomial`` draws an exponential for every share, which on a CPU is a good part of a small model's step.
    Here one number is drawn, which falls in a block of shares, and one more, which falls in a share of that block.
    """
    blocks = torch.nn.functional.pad(shares, (0, -shares.shape[1] % _BLOCK)).view(len(shares), -1, _BLOCK)
    block = _fallen(blocks.sum(-1), generator)
    return block * _BLOCK + _fallen(blocks[torch.arange(len(blocks), device=block.device), block], generator)


def _fallen(shares: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Where a number drawn for each row falls in its shares ``(rows, n)``; never where the share is 0."""
    ends = shares.cumsum(-1, dtype=torch.float64)
    drawn = torch.rand(len(ends), 1, generator=generator, dtype=ends.dtype, device=ends.device) * ends[:, -1:]
    return torch.searchsorted(ends, drawn, right=True)[:, 0].clamp(max=shares.shape[1] - 1)  # 1 - 2^-53 may round to 1


class _Session:
    """What is kept between turns: the cache and, on a CPU, faster products."""

    def __init__(self) -> None:
        self.cache: RaggedCache | None = None
        self._fast = ExitStack()

    @property
    def names(self) -> set[int]:
        return set(self.cache.names) if self.cache else set()

    def keep(self, cache: RaggedCache) -> None:
        if self.cache is None:
            self._fast.enter_context(fast_products(cache.model))
        self.cache = cache

    def close(self) -> None:
        self.cache = None
        self._fast.close()


@dataclass(eq=False)
class _Row:
    """One row while it is sampled."""

    request: SampleRequest
    stop: tuple[str, ...]
    tokenizer: ChatTokenizer
    limit: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None
    reported: int = 0

    @property
    def name(self) -> int:
        return self.request.row

    @property
    def ids(self) -> list[int]:
        return [*self.request.token_ids, *self.token_ids]

    @property
    def left(self) -> int:
        return self.limit - len(self.token_ids)

    def add(self, token: int, report: Report, logprob: float | None = None) -> None:
        """Appends a sampled token, decides whether it ends the row, and reports new text."""
        self.token_ids.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        if token in self.tokenizer.eos_ids:
            self.finish = "eos"
        elif self._stopped():
            self.finish = "stop"
        elif not self.left or (self.request.wanted and not self.request.wanted()):
            self.finish = "length"
        if report is not ignore:
            self._report(report)

    def completion(self) -> Completion:
        text = self.tokenizer.decode(self.token_ids)
        return Completion(tuple(self.token_ids), text, self.finish or "length", tuple(self.logprobs))

    def _stopped(self) -> bool:
        """Whether a stop string is in the last tokens: as many as it has bytes, since a token has one at least."""
        if not self.stop:
            return False
        tail = self.tokenizer.decode(self.token_ids[-max(len(text.encode()) for text in self.stop) :])
        return any(text in tail for text in self.stop)

    def _report(self, report: Report) -> None:
        """Reports new text, but no character of which bytes are still to come."""
        text = self.tokenizer.decode(self.token_ids)
        whole = text if self.finish else text.rstrip("\ufffd")
        if len(whole) > self.reported:
            report(TextSampled(self.request.row, whole[self.reported :]))
            self.reported = len(whole)


@contextmanager
def _seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Has ``generate``, which knows the global generator only, draw from ours."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        yield


@contextmanager
def _mode_kept(model: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
