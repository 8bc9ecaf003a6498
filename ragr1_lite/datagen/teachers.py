"""Who writes trajectories: a local model, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.protocol import Protocol as Rules
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Sampler, Searcher, Tokenizer
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.datagen.chat import ChatSampler
from ragr1_lite.datagen.endpoint import Connection, Endpoint, Usage
from ragr1_lite.retrieval import open_searcher

if TYPE_CHECKING:
    from ragr1_lite.assistant import Assistant
    from ragr1_lite.models.sampler import TransformersSampler

_BYTES = 4
"""Bytes of a token, about: the budgets of a teacher that is counted in bytes."""


class Teacher(Protocol):
    """A model, the index it searches, and the rules it keeps."""

    @property
    def name(self) -> str:
        """What its trajectories are signed with."""
        ...

    @property
    def searcher(self) -> Searcher:
        """Answers its searches."""
        ...

    @property
    def protocol(self) -> Rules:
        """Its prompt and grammar."""
        ...

    @property
    def limits(self) -> Limits:
        """Its budgets, in its tokenizer's tokens."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What it has cost since it was opened; None where nobody counts."""
        ...

    def sampler(self, seed: int, temperature: float) -> Sampler:
        """A fresh sampler: what it says follows from the seed, the temperature and what it is asked."""
        ...

    def close(self) -> None:
        """Closes its connections, where it has some."""
        ...


def open_teacher(recipe: Recipe, *, connection: Connection | None = None, report: Report = ignore) -> Teacher:
    """Opens a teacher with the index it searches.

    Args:
        recipe: What :meth:`~ragr1_lite.assistant.Setup.recipe` returns; ``model.name`` may be the URL of an
            OpenAI-compatible endpoint.
        connection: How an endpoint is asked.
        report: Receives notices and progress.

    Raises:
        RagR1Error: Model, adapter, endpoint or index cannot be opened.
    """
    name = recipe.model.name
    if is_url(name):
        searcher = open_searcher(recipe.retrieval.index, report)
        endpoint = Endpoint(name, connection or Connection(), report)
        report(Notice(f"Asking {endpoint.model} at {endpoint.url}"))
        return EndpointTeacher(endpoint, searcher, recipe.rollout.protocol(), _in_bytes(recipe.retrieval.k))
    from ragr1_lite.assistant import Assistant

    return LocalTeacher(name, Assistant.open_recipe(recipe, report=report))


def is_url(name: str) -> bool:
    """Whether a teacher's name is that of an endpoint."""
    return name.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class EndpointTeacher:
    """A model behind a URL."""

    endpoint: Endpoint
    searcher: Searcher
    protocol: Rules
    limits: Limits
    tokenizer: Tokenizer = field(default_factory=ByteTokenizer)

    @property
    def name(self) -> str:
        """The model's name at its endpoint."""
        return self.endpoint.model

    @property
    def usage(self) -> Usage:
        """What its requests have cost."""
        return self.endpoint.usage

    def sampler(self, seed: int, temperature: float) -> Sampler:
        """Asks the endpoint, which may or may not go by seeds."""
        return ChatSampler(self.endpoint, seed=seed, temperature=temperature)

    def close(self) -> None:
        """Closes the connections."""
        self.endpoint.close()


@dataclass(frozen=True, slots=True)
class LocalTeacher:
    """A model on this machine, asked the way it was trained."""

    name: str
    assistant: Assistant
    usage: None = None

    @property
    def searcher(self) -> Searcher:
        """Answers its searches."""
        return self.assistant.searcher

    @property
    def protocol(self) -> Rules:
        """The prompt and grammar of its recipe."""
        return self.assistant.protocol

    @property
    def limits(self) -> Limits:
        """The budgets of its recipe."""
        return self.assistant.limits

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        return self.assistant.sampler.tokenizer

    def sampler(self, seed: int, temperature: float) -> Sampler:
        """The same model, drawing by a seed of its own."""
        return cast("TransformersSampler", self.assistant.sampler).drawing(seed, temperature)

    def close(self) -> None:
        """There is nothing to close."""


def _in_bytes(k: int) -> Limits:
    """The usual budgets for documents, counted in bytes; how long a sequence may be, only the endpoint knows."""
    usual = Limits(k=k)
    return replace(
        usual,
        document_tokens=_BYTES * usual.document_tokens,
        total_document_tokens=_BYTES * usual.total_document_tokens,
        max_length=10**9,
    )
