"""Where figures go next to ``metrics.jsonl``: to transformers' trackers, by their names in ``train.report_to``."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.models import upstream
from ragr1_lite.training.run_folder import TENSORBOARD, Run

_PACKAGES = {"azure_ml": "azureml-core", "flyte": "flytekit"}
"""What is installed, where it has another name than the tracker."""


def check_trackers(recipe: Recipe) -> None:
    """Makes sure, before anything is loaded, that figures can be sent where the recipe wants them.

    Raises:
        ConfigError: transformers knows no such tracker, or it is not installed.
    """
    if not recipe.train.report_to:
        return
    known = upstream.trackers()
    for name in recipe.train.report_to:
        if name not in known:
            names = ", ".join(sorted(known))
            raise ConfigError(f"train.report_to: transformers has no tracker {name!r}", f"Choose among {names}.")
        package = _PACKAGES.get(name, name)
        if importlib.util.find_spec(package.partition("-")[0]) is None:
            raise ConfigError(
                f"train.report_to: {name} is not installed", f"pip install {package}, or leave it out of the recipe."
            )


@contextmanager
def logging_into(run: Run, recipe: Recipe) -> Iterator[None]:
    """Lets trackers write into the run's folder, and a resumed run go on in its old log.

    They take both from the environment; what the user has set there stays.
    """
    settings: dict[str, str] = {}
    if "tensorboard" in recipe.train.report_to:
        settings["TENSORBOARD_LOGGING_DIR"] = str(run.folder / TENSORBOARD)
    if "wandb" in recipe.train.report_to:
        name = run.recall().get("wandb_id") or uuid.uuid4().hex
        run.remember(wandb_id=name)
        settings |= {"WANDB_DIR": str(run.folder), "WANDB_RUN_ID": name, "WANDB_RESUME": "allow"}
    from accelerate.utils import patch_environment

    with patch_environment(**{key: value for key, value in settings.items() if key not in os.environ}):
        yield
