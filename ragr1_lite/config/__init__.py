"""Recipes: YAML files checked against one set of defaults.

The resolved recipe is written into the run's folder. A recipe may take over another's keys and change some of them:
``extends: NAME``. ``schema.py`` says what a recipe may hold; ``loading.py`` reads one.
"""

from ragr1_lite.config.loading import (
    extends,
    find_recipe,
    load_recipe,
    recipe_fields,
    recipes_folder,
    shipped_recipes,
)
from ragr1_lite.config.schema import (
    ALL_LINEAR,
    SHIPPED,
    WORLD,
    DataConfig,
    GrpoConfig,
    GuardConfig,
    LoraConfig,
    Order,
    Recipe,
    RetrievalConfig,
    RewardConfig,
    index_names,
    to_yaml,
)

__all__ = [
    "ALL_LINEAR",
    "SHIPPED",
    "WORLD",
    "DataConfig",
    "GrpoConfig",
    "GuardConfig",
    "LoraConfig",
    "Order",
    "Recipe",
    "RetrievalConfig",
    "RewardConfig",
    "extends",
    "find_recipe",
    "index_names",
    "load_recipe",
    "recipe_fields",
    "recipes_folder",
    "shipped_recipes",
    "to_yaml",
]
