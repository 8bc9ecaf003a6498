"""The model and the adapter that a recipe names, in the loader's terms."""

from __future__ import annotations

from ragr1_lite.config import Recipe
from ragr1_lite.models.loading import LoraSpec, ModelSpec


def model_spec(recipe: Recipe) -> ModelSpec:
    """The model a recipe names, in the loader's terms."""
    model = recipe.model
    return ModelSpec(model.name, model.dtype, model.engine, model.adapter, recipe.rollout.max_length)


def lora_spec(recipe: Recipe) -> LoraSpec:
    """The adapter a recipe trains, in the loader's terms."""
    return LoraSpec(recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout, recipe.lora.targets)
