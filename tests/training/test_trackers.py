"""Trackers by name: what is wrong is said early, and they get what ``metrics.jsonl`` gets."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import StepFinished
from ragr1_lite.training import sft
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import check_trackers, logging_into
from tests.support import tiny
from tests.support.workplace import training_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and trajectories."""
    return training_folder(tmp_path_factory.mktemp("trackers"), count=4)


def recipe_with(tracker: str, folder: Path, output: Path) -> Recipe:
    train = {"steps": 3, "save_every": 1, "report_to": (tracker,)}
    data = {"train": str(folder / "trajectories.jsonl")}
    return tiny.make_recipe("sft", folder / "tiny-byte", output, train=train, data=data)


@pytest.mark.parametrize(("tracker", "package"), [("wandb", "wandb"), ("azure_ml", "azureml-core")])
def test_a_tracker_that_is_not_installed(
    tracker: str, package: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"{tracker} is not installed.*pip install {package}"):
        sft.train(recipe_with(tracker, folder, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tracker 'tensorbord'.*tensorboard") as caught:
        check_trackers(recipe_with("tensorbord", folder, tmp_path / "run"))
    assert "wandb" in caught.value.hint


def test_every_tracker_of_transformers_can_be_looked_for(folder: Path, tmp_path: Path) -> None:
    """No name makes the search itself fail."""
    for tracker in INTEGRATION_TO_CALLBACK:
        try:
            check_trackers(recipe_with(tracker, folder, tmp_path / "run"))
        except ConfigError as error:
            assert "pip install" in error.hint


def test_a_tracker_sees_what_the_run_writes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: list[dict[str, Any]] = []
    names: list[str] = []

    class Tracker(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            names.append(args.run_name)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            seen.append({"step": state.global_step} | logs)

    seen = logs
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "json", Tracker)  # the name of something that is installed
    recipe = recipe_with("json", folder, tmp_path / "my-run")

    def stop(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft.train(recipe, report=stop)
    sft.train(recipe, resume=True)
    assert names == ["my-run", "my-run"]
    steps = [one for one in logs if "loss" in one]
    assert [one["step"] for one in steps] == [1, 2, 3], "step 2 is reported by the resumed run alone"
    for one, line in zip(steps, tiny.metrics_of(recipe.output), strict=True):
        assert all(one[name] == line[name] for name in ("loss", "memory_gb", "tokens_per_second", "seconds"))


def test_a_resumed_run_goes_on_in_its_old_log(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.setenv("WANDB_DIR", "/mine")
    recipe = recipe_with("wandb", folder, tmp_path / "run")
    names = []
    for resume in (False, True):
        with logging_into(Run.start(recipe, resume=resume), recipe):
            names.append(os.environ["WANDB_RUN_ID"])
            assert os.environ["WANDB_RESUME"] == "allow"
            assert os.environ["WANDB_DIR"] == "/mine", "what the user has set stays"
    assert names[0] == names[1]
    assert "WANDB_RUN_ID" not in os.environ
    with logging_into(Run.start(recipe, overwrite=True), recipe):
        assert os.environ["WANDB_RUN_ID"] != names[0]


def test_tensorboard(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = recipe_with("tensorboard", folder, tmp_path / "run")

    def stop(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft.train(recipe, report=stop)
    sft.train(recipe, resume=True)
    found = EventAccumulator(str(recipe.output / "tensorboard"))
    found.Reload()
    losses = {event.step: event.value for event in found.Scalars("train/loss")}
    assert losses == pytest.approx({line["step"]: line["loss"] for line in tiny.metrics_of(recipe.output)})
    assert {event.step for event in found.Scalars("train/memory_gb")} == {1, 2, 3}
