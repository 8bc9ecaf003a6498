"""Batched sampling with a transformers model.

A decode loop of our own over :class:`ragr1_lite.ragged.RaggedCache` rather than ``generate``: rows that begin alike
share their prefill, rows that are finished leave the batch, and nothing is padded. Models whose attention is not plain
(sliding windows, unsloth's own) go through ``generate``, with the same rows, stops and probabilities.
Nothing but softmax decides: a model's own top-k, top-p or repetition penalty would part the sampler from the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragr1_lite.core import Completion, Finish, SampleRequest
from ragr1_lite.events import TextSampled, ignore
from ragr1_lite.models import Policy
from ragr1_lite.tokenization import ChatTokenizer

if TYPE_CHECKING:
    import torch


class TransformersSampler:
    """Fulfils :class:`ragr1_lite.core.Sampler`.

    Args:
        policy: The model and its tokenizer.
        temperature: 0 takes the likeliest token; above, tokens are drawn from ``softmax(logits / temperature)``.
        batch_size: Rows sampled side by side.
        seed: Seeds this sampler's own generator; None draws from torch's global one.
    """

    def __init__(
        self, policy: Policy, *, temperature: float = 0.0, batch_size: int = 16, seed: int | None = None
    ) -> None:
        self._policy = policy
        self._temperature = temperature
        self._batch_size = batch_size
        self._generator = _generator(policy.device, seed)
        self._plain = policy.engine != "unsloth" and _has_plain_attention(policy.model)

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The tokenizer of the model that samples."""
        return self._policy.tokenizer

    def drawing(self, seed: int, temperature: float) -> TransformersSampler:
        """The same model, drawing by a seed of its own."""
        return TransformersSampler(self._policy, temperature=temperature, batch_size=self._batch_size, seed=seed)

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None] = ignore,
    ) -> list[Completion]:
        """Continues each row until a stop string is in its new text, an end token, or the limit.

        Rows are sorted before they are cut into batches: those that begin alike compute their beginning once.

        Returns:
            One completion per request, in the requests' order.
        """
        rows = [_Row(request, tuple(stop), self.tokenizer) for request in requests]
        alike = sorted(rows, key=lambda row: tuple(row.request.token_ids))
        tell = report if len(rows) == 1 else ignore
        sample_batch = self._sample_batch if self._plain else self._generate_batch
        with _inference(self._policy.model, ragged=self._plain):
            for start in range(0, len(rows), self._batch_size):
                sample_batch(alike[start : start + self._batch_size], max_new_tokens, tell)
        return [row.completion() for row in rows]

    def _sample_batch(self, rows: list[_Row], max_new_tokens: int, report: Callable[[object], None]) -> None:
        """Samples rows side by side until all are finished."""
        from ragr1_lite.ragged import RaggedCache

        live = list(rows)
        longest = max(len(row.request.token_ids) for row in rows)
        cache = RaggedCache(self._policy.model, len(rows), longest + max_new_tokens)
        logits = cache.prefill([row.request.token_ids for row in rows])
        for left in reversed(range(max_new_tokens)):
            tokens = self._choose(logits).tolist()
            for row, token in zip(live, tokens, strict=True):
                row.add(token, report, last=left == 0)
            for i in reversed(range(len(live))):
                if live[i].finish:  # the last one takes its place, here as in the cache
                    cache.drop(i)
                    live[i], tokens[i] = live[-1], tokens[-1]
                    live.pop(), tokens.pop()
            if not live:
                return
            logits = cache.extend(tokens)

    def _generate_batch(self, rows: list[_Row], max_new_tokens: int, report: Callable[[object], None]) -> None:
        """The same by ``generate``: rows are padded on the left and stay until the last is finished."""
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        model: Any = self._policy.model
        pad = self.tokenizer.pad_id
        longest = max(len(row.request.token_ids) for row in rows)
        padding = [longest - len(row.request.token_ids) for row in rows]
        ids = [[pad] * extra + list(row.request.token_ids) for row, extra in zip(rows, padding, strict=True)]
        mask = [[0] * extra + [1] * (longest - extra) for extra in padding]

        def finished(sequences: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
            last = sequences.shape[1] - longest == max_new_tokens
            for row, token in zip(rows, sequences[:, -1].tolist(), strict=True):
                if row.finish is None:
                    row.add(token, report, last=last)
            return torch.tensor([row.finish is not None for row in rows], device=sequences.device)

        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
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
                stopping_criteria=StoppingCriteriaList([finished]),
            )

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """One token id per row from logits ``(rows, vocabulary)``."""
        import torch

        if self._temperature == 0:
            return logits.argmax(-1)
        shares = torch.softmax(logits.float() / self._temperature, dim=-1)
        return torch.multinomial(shares, 1, generator=self._generator)[:, 0]


@dataclass(eq=False)
class _Row:
    """One row while it is sampled."""

    request: SampleRequest
    stop: tuple[str, ...]
    tokenizer: ChatTokenizer
    token_ids: list[int] = field(default_factory=list)
    finish: Finish | None = None
    told: int = 0

    def add(self, token: int, report: Callable[[object], None], *, last: bool) -> None:
        """Takes a sampled token, sees whether it ends the row, and tells what is new; ``last`` is the limit's token."""
        self.token_ids.append(token)
        if token in self.tokenizer.eos_ids:
            self.finish = "eos"
        elif self._stopped():
            self.finish = "stop"
        elif last:
            self.finish = "length"
        self._tell(report)

    def completion(self) -> Completion:
        """The finished row."""
        return Completion(tuple(self.token_ids), self.tokenizer.decode(self.token_ids), self.finish or "length")

    def _stopped(self) -> bool:
        """Whether a stop string is in the last tokens; as many as it has bytes are enough, since no token has less."""
        if not self.stop:
            return False
        tail = self.tokenizer.decode(self.token_ids[-max(len(text.encode()) for text in self.stop) :])
        return any(text in tail for text in self.stop)

    def _tell(self, report: Callable[[object], None]) -> None:
        """Reports new text, but no character of which bytes are still to come."""
        if report is ignore:
            return
        text = self.tokenizer.decode(self.token_ids)
        whole = text if self.finish else text.rstrip("\ufffd")
        if len(whole) > self.told:
            report(TextSampled(self.request.row, whole[self.told :]))
            self.told = len(whole)


def _generator(device: str, seed: int | None) -> torch.Generator | None:
    import torch

    return None if seed is None else torch.Generator(device).manual_seed(seed)


@contextmanager
def _seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Lets ``generate``, which knows the global generator only, draw from ours."""
    import torch

    if generator is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        yield


def _has_plain_attention(model: Any) -> bool:
    from ragr1_lite.ragged import supports

    return supports(model.config)


@contextmanager
def _inference(model: Any, *, ragged: bool) -> Iterator[None]:
    """Evaluation mode without gradients, our attention where asked for; everything is restored afterwards."""
    import torch

    from ragr1_lite.ragged import ragged_attention

    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), ragged_attention(model) if ragged else nullcontext():
            yield
    finally:
        model.train(training)
