"""Who writes trajectories: a local model, or one behind an OpenAI-compatible endpoint.

An endpoint takes messages, where rollouts hold token ids: ids are bytes there, and its sampler remembers which of them
the model wrote; what lies between is the user's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from ragr1_lite.assistant import BARE, Assistant, Setup
from ragr1_lite.config import Recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Finish, Sampler, SampleRequest, Searcher
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.datagen.endpoint import Connection, Endpoint, Message, Usage
from ragr1_lite.models.adapter_folder import adapter_of
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.retrieval.remote.client import side_by_side

_OPENING = re.compile(r"<(search|answer)>")


class ChatSampler:
    """A Sampler that asks an endpoint for all rows of a turn at once, each with a seed from ``seed``, row and turn."""

    def __init__(self, endpoint: Endpoint, seed: int, temperature: float) -> None:
        self.tokenizer = ByteTokenizer()
        self._endpoint, self._seed, self._temperature = endpoint, seed, temperature
        self._written: dict[int, list[tuple[int, int]]] = {}

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None] = ignore,
    ) -> list[Completion]:
        """Continues each row by one message of the assistant; raises ModelError where one cannot be continued."""

        def ask(request: SampleRequest) -> tuple[str, Finish]:
            turn = len(self._written.get(request.row, ()))
            text, reason = self._endpoint.complete(
                self._messages(request),
                stop=stop,
                max_new_tokens=max_new_tokens,
                temperature=self._temperature,
                seed=random.Random(f"{self._seed}:{request.row}:{turn}").getrandbits(31),
            )
            return as_written(text, reason, stop)

        written = side_by_side(ask, requests, self._endpoint.connection.concurrency)
        return [self._take(request, *one) for request, one in zip(requests, written, strict=True)]

    def _take(self, request: SampleRequest, text: str, finish: Finish) -> Completion:
        token_ids = (*self.tokenizer.encode(text), *(self.tokenizer.eos_ids if finish == "eos" else ()))
        start = len(request.token_ids)
        self._written.setdefault(request.row, []).append((start, start + len(token_ids)))
        return Completion(token_ids, text, finish)

    def _messages(self, request: SampleRequest) -> list[Message]:
        """The conversation so far: what the model wrote is the assistant's, all else the user's."""
        messages, at = [], 0
        for start, end in self._written.get(request.row, ()):
            messages.append(self._message("user", request.token_ids[at:start]))
            messages.append(self._message("assistant", request.token_ids[start:end]))
            at = end
        return [*messages, self._message("user", request.token_ids[at:])]

    def _message(self, role: str, token_ids: Sequence[int]) -> Message:
        return {"role": role, "content": self.tokenizer.decode(token_ids).strip("\n")}


def as_written(text: str, reason: str, stop: Iterable[str]) -> tuple[str, Finish]:
    """The completion as the model wrote it: up to its first stop string, which most servers cut off.

    >>> as_written("<think>Two.</think><search>Chad", "stop", ("</search>", "</answer>"))
    ('<think>Two.</think><search>Chad</search>', 'stop')
    """
    ends = [text.index(tag) + len(tag) for tag in stop if tag in text]
    if ends:
        return text[: min(ends)], "stop"
    if reason == "length":
        return text, "length"
    opened = [f"</{tag}>" for tag in _OPENING.findall(text)]
    if opened and opened[-1] in stop and reason != "content_filter":
        return text + opened[-1], "stop"
    return text, "eos"


_BYTES = 4
"""Bytes of a token, about: an endpoint's budgets are counted in bytes."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model, the index it searches, its prompt and grammar, and its budgets in its samplers' tokens.

    ``sampler`` makes a fresh sampler from a seed and a temperature, from which all that it writes follows; an
    ``endpoint`` may or may not go by seeds.
    """

    name: str
    searcher: Searcher
    protocol: Protocol
    limits: Limits
    sampler: Callable[[int, float], Sampler]
    endpoint: Endpoint | None = None

    @property
    def usage(self) -> Usage | None:
        """Of its requests since it was opened; None without an endpoint."""
        return self.endpoint.usage if self.endpoint else None

    def close(self) -> None:
        """Closes the endpoint's connections."""
        if self.endpoint:
            self.endpoint.close()


def open_teacher(recipe: Recipe, *, connection: Connection = Connection(), report: Report = ignore) -> Teacher:
    """Opens the recipe's model, which may be the URL of an OpenAI-compatible endpoint, with the index it searches.

    Raises:
        RagR1Error: Model, adapter, endpoint or index cannot be opened.
    """
    name = recipe.model.name
    if name.startswith(("http://", "https://")):
        searcher = open_searcher(recipe.retrieval.index, report)
        endpoint = Endpoint(name, connection, report)
        report(Notice(f"Asking {endpoint.model} at {endpoint.url}"))
        protocol, limits = recipe.rollout.protocol(), _in_bytes(recipe.retrieval.k)
        return Teacher(endpoint.model, searcher, protocol, limits, partial(ChatSampler, endpoint), endpoint)
    return local_teacher(name, Assistant.open_recipe(recipe, report=report))


def as_teacher(setup: Setup) -> Setup:
    """A model that no adapter is named or ships for teaches as it is, and nothing is said of training it."""
    bare = setup.model and not setup.adapter and not adapter_of(setup.model)
    return replace(setup, adapter=BARE) if bare else setup


def settings_of(recipe: Recipe, connection: Connection) -> dict[str, Any]:
    """All that decides a teacher's rollouts, as JSON."""
    return {
        "teacher": recipe.model.name,
        "teacher_model": connection.model,
        "adapter": recipe.model.adapter,
        "index": recipe.retrieval.index,
        "mode": recipe.rollout.mode,
        "k": recipe.retrieval.k,
        "max_queries": recipe.rollout.max_queries,
        "batch_size": recipe.rollout.batch_size,
    }


def local_teacher(name: str, assistant: Assistant) -> Teacher:
    """A model on this machine, asked the way it was trained."""
    drawing = cast(Any, assistant.sampler).drawing
    return Teacher(name, assistant.searcher, assistant.protocol, assistant.limits, drawing)


def _in_bytes(k: int) -> Limits:
    """The usual budgets for documents, counted in bytes; only the endpoint knows how long a sequence may be."""
    usual = Limits(k=k)
    return replace(
        usual,
        document_tokens=_BYTES * usual.document_tokens,
        total_document_tokens=_BYTES * usual.total_document_tokens,
        max_length=10**9,
    )
