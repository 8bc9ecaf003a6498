"""Answering questions: a model, an index and a protocol put together."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ragr1_lite.config import SHIPPED, WORLD, Recipe, index_names, load_recipe, shipped_recipes
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.evidence import Evidence
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import refuses
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.safe_text import cleaned
from ragr1_lite.core.types import Example, Mode, Passage, Sampler, Searcher, Trajectory
from ragr1_lite.core.urls import COMMAND, without_secrets
from ragr1_lite.files.answer_log import AnswerLog
from ragr1_lite.models.adapter_folder import adapter_of, base_key, find_adapter, prompt_in, recipe_in, trained_models
from ragr1_lite.models.hub import folder_here

BARE = "none"
"""As an adapter: the base model alone."""
_CITED = 3


@dataclass(frozen=True)
class Answer:
    """An answered question: its rollout, its wall time, and the part of that time that was spent searching.

    ``mode`` and ``model`` say how it was asked, and of whom.
    """

    trajectory: Trajectory
    seconds: float
    searching: float = 0.0
    mode: str = ""
    model: str = ""

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each part: ``generate``, ``search``."""
        return {"generate": max(self.seconds - self.searching, 0.0), "search": self.searching}

    @property
    def sources(self) -> tuple[Passage, ...]:
        """What the model had read when it answered, each passage once; those that hold the answer come first."""
        holding, others = self._read
        return (*holding, *others)

    @property
    def refused(self) -> bool:
        """Whether the model said that the documents do not hold the answer; then there are no sources of it."""
        return refuses(self.trajectory.answer)

    @property
    def held(self) -> bool:
        """Whether something that the model had read holds the answer."""
        return bool(self._read[0])

    def holds(self, passage: Passage) -> bool:
        """Whether one of its sources holds the answer, or was merely read."""
        return passage in self._read[0]

    @property
    def cited(self) -> list[dict[str, str]]:
        """The few sources to name under an answer: those that hold it where there are some, three at most."""
        holding, others = self._read
        sources = [source_of(passage) for passage in holding or others]
        named = {(one.get("file", one["id"]), one.get("place"), one["title"] or one["id"]): one for one in sources}
        return list(named.values())[:_CITED]

    @cached_property
    def _read(self) -> tuple[list[Passage], list[Passage]]:
        """What the model had read when it answered, each passage once: those that hold the answer, and the others."""
        answer, shown = self.trajectory.answer, self.trajectory.shown
        if answer is None or self.refused:
            return [], []
        holds = Evidence.of(replace(self.trajectory.example, answers=(answer,))).held_by
        once = {(one.key, one.title): one for one in shown}
        holding = {(one.key, one.title): one for one in shown if holds(one)}  # once cut, once whole: it was read whole
        return list(holding.values()), [one for key, one in once.items() if key not in holding]

    def to_json(self) -> dict[str, Any]:
        """What `ask --json` prints, foreign text made safe; only turns that searched are listed."""
        trajectory = self.trajectory
        turns = []
        for turn in trajectory.turns:
            if turn.passages:
                found = [[{"title": one.title, "score": round(one.score, 4)} for one in hits] for hits in turn.passages]
                turns.append({"queries": list(turn.queries), "passages": found})
        known = {
            "question": trajectory.example.question,
            "answer": trajectory.answer,
            **({"refused": True} if self.refused else {}),
            "mode": self.mode,
            "model": self.model,
            "sources": [{**source_of(one), "holds": self.holds(one)} for one in self.sources],
            "turns": turns,
            "rounds": trajectory.rounds,
            "queries": trajectory.queries,
            "seconds": round(self.seconds, 3),
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
        }
        safe: dict[str, Any] = cleaned(known)
        return safe


def source_of(passage: Passage) -> dict[str, str]:
    """Where a passage is from: its ``title`` and ``id``, and what is known of index, file, place and url.

    >>> source_of(Passage("manual.pdf#12", "Manual", "Oil it weekly.", place="page 3"))
    {'title': 'Manual', 'id': 'manual.pdf#12', 'place': 'page 3', 'file': 'manual.pdf'}
    """
    source = {"title": passage.title, "id": passage.id}
    if passage.place:
        source["place"] = passage.place
    if passage.index:
        source["index"] = passage.index
    if re.match("https?://", passage.id):
        source["url"] = passage.id
    elif passage.file:
        source["file"] = passage.file
    elif document := re.fullmatch(r"(.+\.\w+)#\d+", passage.id, re.DOTALL):
        source["file"] = document[1]
    return source


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Which model is asked, and how.

    What is None is taken from the recipe of the adapter's run, where the adapter is in its run's folder, else from the
    recipe in an exported model's folder or the one that ships for the model.

    Attributes:
        model: A built-in name, folder or hub id; by default the adapter's, else :func:`default_model`'s. A
            teacher may also be ``gold`` or the URL of an endpoint.
        adapter: A run's folder, an adapter's, a checkpoint or a hub id; by default the one in the model's folder or the
            shipped one; ``none`` for no adapter.
        index: ``world``, an index folder or a URL; or several, searched together.
        mode: See :class:`~ragr1_lite.core.protocol.Protocol`.
        k: Passages per query.
        max_queries: Parallel queries per search, or by search, such as ``(3, 2, 1)`` or ``"3,2,1"``.
        batch_size: Rows sampled together.
        dtype: See :class:`~ragr1_lite.config.ModelConfig`.
    """

    model: str | None = None
    adapter: str | None = None
    index: str | Sequence[str] | None = None
    mode: Mode | None = None
    k: int | None = None
    max_queries: int | tuple[int, ...] | str | None = None
    batch_size: int = 16
    dtype: str = "auto"

    def recipe(self, report: Report = ignore) -> Recipe:
        """The recipe with everything filled in; its ``model.adapter`` is the one to load.

        Raises:
            ConfigError: The run's recipe or a value is invalid, or its index is a command that was not named here.
            ModelError: There is no such adapter, or its model is not known.
        """
        model = self.model
        if not model and self.adapter in (None, BARE, SHIPPED):
            model = default_model(self.index or WORLD, report, bare=self.adapter == BARE)
        adapter = find_adapter(self.adapter, model or "", report) if self.adapter not in (None, BARE) else None
        trained = adapter.recipe if adapter else recipe_in(Path(str(model)))
        if adapter and not (model or trained):
            model = adapter.base()
        given = {
            "model.name": model,
            "model.dtype": self.dtype,
            "rollout.mode": self.mode,
            "rollout.max_queries": self.max_queries,
            "rollout.batch_size": self.batch_size,
            "rollout.template": None if adapter else prompt_in(Path(str(model))),
            "retrieval.index": self.index or (None if adapter and trained else WORLD),
            "retrieval.k": self.k,
        }
        if adapter:
            given |= {key: path for key, path in adapter.paths_of_run().items() if given[key] is None}
        overrides = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
        shipped = f"sft-{base_key(str(model))}"
        shipped = shipped if shipped in shipped_recipes() else "sft-qwen2.5-1.5b"
        folder = str(adapter.folder) if adapter else self.adapter or _adapter_for(str(model), report)
        recipe = load_recipe(str(trained or shipped), overrides)
        commands = [name for name in recipe.retrieval.indexes if name.startswith(COMMAND)]
        if commands and not self.index:
            raise ConfigError(
                f"The run of {folder} searched by a command, which is not started unless you name it",
                f"If you trust it: --index {shlex.quote(commands[0])}",
            )
        return with_adapter(recipe, folder)


@dataclass(frozen=True, slots=True)
class Assistant:
    """A model with an index, ready to answer; ``model`` and ``index`` say which, where that is known.

    What it answers is kept in its ``log``, where it has one.
    """

    sampler: Sampler
    searcher: Searcher
    protocol: Protocol
    limits: Limits
    model: str = ""
    index: str | tuple[str, ...] = ""
    log: AnswerLog | None = None

    @property
    def searched(self) -> str:
        """The index's name, or those of several."""
        return ", ".join(index_names(self.index))

    @classmethod
    def open(cls, setup: Setup = Setup(), *, report: Report = ignore) -> Assistant:
        """Loads the model, the adapter and the index; raises RagR1Error where one of them cannot be opened."""
        return cls.open_recipe(setup.recipe(report), report=report)

    @classmethod
    def open_recipe(cls, recipe: Recipe, *, searcher: Searcher | None = None, report: Report = ignore) -> Assistant:
        """Loads the model and the adapter that a recipe names, and its index unless a ``searcher`` is given."""
        from ragr1_lite.models.loading import load_policy, model_spec
        from ragr1_lite.models.lora import merge_adapter
        from ragr1_lite.models.sampler import TransformersSampler
        from ragr1_lite.retrieval import open_searcher

        if searcher is None:
            searcher = open_searcher(recipe.retrieval.index, report)
        policy = load_policy(model_spec(recipe), report=report)
        merge_adapter(policy)
        return cls(
            TransformersSampler(policy, batch_size=recipe.rollout.batch_size),
            searcher,
            recipe.rollout.protocol(),
            recipe.rollout.limits(recipe.retrieval.k),
            recipe.model.name,
            recipe.retrieval.index,
        )

    def with_index(self, index: str | Sequence[str], report: Report = ignore) -> Assistant:
        """The same model with another index, a folder, a URL or ``world``, or with several."""
        from ragr1_lite.retrieval import open_searcher

        return replace(
            self, searcher=open_searcher(index, report), index=index if isinstance(index, str) else tuple(index)
        )

    def with_mode(self, mode: Mode) -> Assistant:
        """The same model in another mode."""
        return replace(self, protocol=replace(self.protocol, mode=mode))

    def ask(self, question: str, report: Report = ignore) -> Answer:
        """Answers one question; ``report`` receives the text as it is sampled, and the searches."""
        began, searcher = time.perf_counter(), TimedSearcher(self.searcher)
        examples = [Example("question", question, ())]
        protocol = replace(self.protocol, free_text=True)
        (trajectory,) = run_rollouts(
            examples, self.sampler, searcher, protocol=protocol, limits=self.limits, report=report
        )
        return self.answered(trajectory, time.perf_counter() - began, searcher.seconds, report)

    def answered(self, trajectory: Trajectory, seconds: float, searching: float, report: Report = ignore) -> Answer:
        """The answer that a rollout of this assistant's gave, which its log keeps."""
        answer = Answer(trajectory, seconds, searching, self.protocol.mode, self.model)
        if self.log is not None:
            index = ", ".join(map(without_secrets, index_names(self.index)))
            self.log.add(answer.to_json() | {"index": index}, report)
        return answer


class TimedSearcher:
    """A searcher that counts the seconds it takes."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self.seconds = 0.0

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """What the searcher inside finds."""
        began = time.perf_counter()
        try:
            return self._searcher.search(queries, k)
        finally:
            self.seconds += time.perf_counter() - began


def default_model(index: str | Sequence[str] = WORLD, report: Report = ignore, *, bare: bool = False) -> str:
    """The built-in model for an index, or several, on this machine, of those whose adapter ships; a notice says why.

    With ``bare`` that adapter is not used, which the notice says instead.
    The smallest was trained on the embedded world and is the quickest there on a CPU; else the largest is the best.
    """
    import torch

    world = index_names(index) == (WORLD,)
    on_card, ready = torch.cuda.is_available(), trained_models()
    name = ready[0] if world and not on_card else ready[-1]
    why = "the best built-in model that an adapter ships for"
    if name == ready[0]:
        why = "small, quick, and trained on the embedded world"
        if not world:
            why += " alone: for documents of your own it is a start, and docs/data.md says how to train on them"
    if bare:
        why = "without its adapter it is untrained"
    report(Notice(f"Using {name}: {why}. Choose another with --model."))
    return name


def with_adapter(recipe: Recipe, adapter: str) -> Recipe:
    """The recipe with another adapter folder; ``none`` for no adapter."""
    model = recipe.model.model_copy(update={"adapter": None if adapter == BARE else adapter})
    return recipe.model_copy(update={"model": model})


def _adapter_for(model: str, report: Report) -> str:
    """The adapter that a model is asked with where none is named, which a notice says; raises as folder_here does."""
    if model == "gold" or "://" in model:
        return BARE
    folder = adapter_of(model)
    if folder is None and recipe_in(Path(model)):
        return BARE
    if folder is None:
        folder_here(model)
        train = f"ragr1-lite sft RECIPE --set model.name={model}"
        report(Notice(f"{model} is untrained: no adapter was named or ships for it; to train one: {train}", "warning"))
        return BARE
    place = f"that lies in {folder}" if folder == Path(model).expanduser() else f"that ships for {model}"
    report(Notice(f"Using the adapter {place}; --adapter none leaves it out."))
    return str(folder)
