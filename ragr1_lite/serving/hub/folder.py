"""The files of a repository: an adapter's or a merged model's, the tokenizer, the recipe, the card."""

from __future__ import annotations

import shutil
from pathlib import Path

from ragr1_lite.config import Recipe, to_yaml
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.models.adapter_folder import find_adapter
from ragr1_lite.models.hub import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_folder
from ragr1_lite.models.lora import name_base
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.serving.hub.card import RECIPE, render
from ragr1_lite.serving.hub.facts import Facts, Wanted, public


def copy_adapter(recipe: Recipe, facts: Facts, folder: Path, report: Report = ignore) -> None:
    """Writes the adapter under its base model's hub name, and that model's tokenizer with all its end tokens.

    Raises:
        ModelError: There is no adapter, or the base model is not here and cannot be fetched.
    """
    from transformers import GenerationConfig

    if recipe.model.adapter is None:
        raise ModelError("There is no adapter to export", "Name one, or add --merged.")
    adapter = find_adapter(recipe.model.adapter, recipe.model.name, report)
    adapter.require_fit(recipe.model.name, report)
    tokenizer = ChatTokenizer.load(find_folder(recipe.model.name, report), report)
    folder.mkdir()
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        shutil.copyfile(adapter.folder / name, folder / name)
    name_base(folder / ADAPTER_CONFIG, facts.base)
    tokenizer.hf.save_pretrained(folder)
    ends = {"eos_token_id": list(tokenizer.eos_ids), "pad_token_id": tokenizer.pad_id}
    GenerationConfig(**ends).save_pretrained(folder)


def describe(wanted: Wanted, facts: Facts, folder: Path) -> None:
    """Adds the card, and the recipe of the run without what is private to this machine."""
    (folder / "README.md").write_text(render(wanted, facts), encoding="utf-8")
    if facts.trained:
        (folder / RECIPE).write_text(to_yaml(public(facts.trained.model_dump(mode="json"))), encoding="utf-8")
