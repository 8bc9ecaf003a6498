"""Who writes trajectories: a local model, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from ragr1_lite.assistant import BARE, Assistant, Setup
from ragr1_lite.config import Recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Sampler, Searcher
from ragr1_lite.datagen.chat import ChatSampler
from ragr1_lite.datagen.endpoint import Connection, Endpoint, Usage
from ragr1_lite.models.adapter_folder import adapter_of
from ragr1_lite.retrieval import open_searcher

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
