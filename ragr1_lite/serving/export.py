"""A trained adapter for other programs: a merged model folder, a GGUF file, an Ollama model, a repository of the hub.

A model that was written is asked the same questions as what was trained, through the same loop, before it is kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ragr1_lite.assistant import Assistant, Setup, with_adapter
from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.rewards import OURS
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.core.types import Example, Trajectory
from ragr1_lite.files.journal import already_there
from ragr1_lite.files.writing import writing
from ragr1_lite.models.adapter_folder import write_way
from ragr1_lite.models.gguf import convert
from ragr1_lite.models.gguf_writing import Precision, write_gguf
from ragr1_lite.serving.hub.facts import Wanted, gather
from ragr1_lite.serving.hub.folder import copy_adapter, describe
from ragr1_lite.serving.modelfile import modelfile

Form = Literal["merged", "gguf", "ollama"]
ENOUGH = 0.75
"""Of the answers, so many have to be the same as before: greedy answers part where two tokens are nearly as likely."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How what was written answers, next to what was trained: shares of ``questions``."""

    questions: int
    same: float
    em_before: float
    em_after: float

    def to_json(self) -> dict[str, Any]:
        """``{"questions", "same", "em_before", "em_after"}``."""
        return {name: round(getattr(self, name), 4) for name in ("questions", "same", "em_before", "em_after")}


def export(
    setup: Setup,
    form: Form,
    out: Path,
    examples: list[Example],
    *,
    precision: Precision = "f16",
    hub: Wanted | None = None,
    report: Report = ignore,
) -> Agreement | None:
    """Writes a model with its adapter merged, whole or not at all.

    Args:
        setup: Which model and adapter, and by which index the questions are asked.
        form: ``merged``: a folder of bf16 weights that transformers, vLLM and others load. ``gguf``: that as one file,
            next to nothing else. ``ollama``: the file with a Modelfile that has the protocol's prompt.
        out: The folder to make.
        examples: What both are asked; none to keep what is written unasked.
        precision: Of GGUF's matrices.
        hub: What its card says where the merged folder is to be a repository of the hub.
        report: Receives notices and phases.

    Returns:
        How far the answers agree; None where nothing was asked.

    Raises:
        DataError: The folder exists.
        ModelError: The model cannot be written in that form, or answers too differently afterwards.
        StorageError: The folder cannot be written.
    """
    _require_new(out)
    recipe = setup.recipe(report)
    facts = gather(recipe, hub, report) if hub else None
    before = _answers(recipe, examples, report)
    with _making(out) as result:
        folder = result if form == "merged" else result.with_name("merged")
        _merge(recipe, folder, report)
        if form == "merged":
            write_way(recipe, folder)
        else:
            result.mkdir()
            write_gguf(folder, result / "model.gguf", precision)
        if form == "ollama":
            (result / "Modelfile").write_text(modelfile(recipe, folder), encoding="utf-8")
        if hub and facts:
            describe(hub, facts, result)
        return _asked_again(recipe, before, result, out, report) if examples else None


def export_adapter(setup: Setup, out: Path, hub: Wanted, *, report: Report = ignore) -> None:
    """Writes an adapter as a repository of the hub, whole or not at all; it is a copy, and so it is not asked.

    Raises:
        ModelError: There is no adapter, or its base model is not here and cannot be fetched.
        RunError: The summary of its run is broken.
        DataError: The folder exists, or an evaluation file cannot be read.
        StorageError: The folder cannot be written.
    """
    _require_new(out)
    recipe = setup.recipe(report)
    facts = gather(recipe, hub, report)
    with _making(out) as result:
        copy_adapter(recipe, facts, result, report)
        describe(hub, facts, result)


def _require_new(out: Path) -> None:
    if out.exists():
        raise already_there(out, "Name a folder that does not, or remove it.")


@contextmanager
def _making(out: Path) -> Iterator[Path]:
    """The name of a folder to make, with room next to it; it becomes ``out`` where nothing fails."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
            result = Path(made) / "result"
            yield result
            result.rename(out)


def _asked_again(recipe: Recipe, before: list[Trajectory], result: Path, out: Path, report: Report) -> Agreement:
    """Asks what was written, and calls it ``out``; raises ModelError where it answers too differently."""
    if (file := result / "model.gguf").exists():
        report(Notice("GGUF written: it is asked by the weights that it holds, through our own loop."))
        result = result.with_name("again")
        convert(file, result)

    def renamed(event: object) -> None:
        report(replace(event, text=event.text.replace(str(result), str(out))) if isinstance(event, Notice) else event)

    model = recipe.model.model_copy(update={"name": str(result)})
    written = with_adapter(recipe.model_copy(update={"model": model}), "none")
    agreement = _compare(before, _answers(written, [one.example for one in before], renamed))
    if agreement.same < ENOUGH:
        raise ModelError(
            f"Only {agreement.same:.0%} of {len(before)} answers are the same as before",
            "Nothing was kept: take another form or --precision f16, or report it.",
        )
    return agreement


def _merge(recipe: Recipe, folder: Path, report: Report) -> None:
    """Merges in fp32 and rounds once; the tokenizer goes with its template and every token that ends a turn."""
    import torch

    from ragr1_lite.models.loading import load_policy, model_spec
    from ragr1_lite.models.lora import merge_adapter

    policy = load_policy(replace(model_spec(recipe), dtype="fp32", engine="transformers"), report=report)
    merge_adapter(policy)
    model: Any = policy.model
    if hasattr(model, "peft_config"):
        raise ModelError("The adapter trains embeddings and cannot be merged", "Load it with peft where it is used.")
    config = model.generation_config
    config.eos_token_id, config.pad_token_id = list(policy.tokenizer.eos_ids), policy.tokenizer.pad_id
    model.to(torch.bfloat16).save_pretrained(folder)
    policy.tokenizer.hf.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):  # safetensors leaves them to their owner alone
        shutil.copymode(folder / "config.json", weights)


def _answers(recipe: Recipe, examples: list[Example], report: Report) -> list[Trajectory]:
    if not examples:
        return []
    assistant = Assistant.open_recipe(recipe, report=report)
    asked = assistant.sampler, assistant.searcher
    return list(run_rollouts(examples, *asked, protocol=assistant.protocol, limits=assistant.limits))


def _compare(before: list[Trajectory], after: list[Trajectory]) -> Agreement:
    same = sum(one.answer == other.answer for one, other in zip(before, after, strict=True))
    right = [sum(OURS.exact_match(one.answer, one.example.answers) for one in side) for side in (before, after)]
    count = len(before)
    return Agreement(count, same / count, right[0] / count, right[1] / count)
