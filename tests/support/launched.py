"""What :mod:`tests.training.test_distributed` runs as one process and as two: several small trainings in a row.

The scripted rollouts and the batches of SFT are those of the whole batch, whoever has which share of it, so that the
trainings should not depend on the number of processes. The sampled ones should.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import RolloutsFinished, StepFinished, ignore
from ragr1_lite.models import processes
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.grpo import trainer
from tests.support import tiny
from tests.training import test_resume

SAYS = (
    "<think>It is.</think><answer>Chad</answer>",
    "<think>No.</think><answer>Oman</answer>",
    "<think>so so so</think><answer>Mali</answer>",
    "<think>hm",
    "<think>Well.</think><answer>Niger</answer>",
)
SEARCH = "<think>Search.</think><search>Chad, Oman</search>"
BATCH, GROUP = 12, 4
"""With two processes the second of three groups is spread over both."""


def recipe_for(task: str, folder: Path, name: str, **sections: dict[str, Any]) -> Recipe:
    """A recipe of a few steps over the folder's model and data."""
    train = {"steps": 3, "batch_size": BATCH, "micro_batch": 2, "learning_rate": 0.01, "save_every": 2}
    data = {"train": str(folder / "trajectories.jsonl")}
    defaults: dict[str, Any] = {"train": train, "data": data, "grpo": {"group_size": GROUP, "beta": 0.05}}
    sections = {key: defaults.get(key, {}) | sections.get(key, {}) for key in {*defaults, *sections}}
    return tiny.make_recipe(task, folder / "tiny-byte", folder / name, **sections)


class Trainings:
    """The trainings, and the folder they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suffix = str(processes.processes())

    def sft(self) -> None:
        """Two epochs in batches of trajectories of different lengths."""
        self._train(recipe_for("sft", self.folder, f"sft-{self.suffix}"))

    def scripted(self) -> None:
        """GRPO of what the script says for each row of the whole batch."""
        share = BATCH // processes.processes()

        def say(row: int, turn: int) -> str:
            row += share * processes.rank()
            return SEARCH if row % 3 == 0 and turn == 0 else SAYS[row % len(SAYS)]

        trainer.TransformersSampler = lambda policy, **_: tiny.Script(policy.tokenizer, say)
        self._train(recipe_for("grpo", self.folder, f"scripted-{self.suffix}"))
        trainer.TransformersSampler = TransformersSampler

    def sampled(self) -> None:
        """GRPO of what the model says, once at a stretch and once with Ctrl-C in the main process."""
        recipe = recipe_for("grpo", self.folder, f"whole-{self.suffix}", train={"steps": 4})
        said: list[list[int]] = []
        self._train(recipe, lambda event: said.extend(_ids(event)))
        path = self.folder / f"said-{self.suffix}-{processes.rank()}.json"
        path.write_text(json.dumps(said), encoding="utf-8")
        recipe = recipe_for("grpo", self.folder, f"stopped-{self.suffix}", train={"steps": 4, "save_every": 4})
        try:
            self._train(recipe, _stop if processes.is_main() else ignore)
        except KeyboardInterrupt:
            self._train(recipe, resume=True)

    def _train(self, recipe: Recipe, report: Any = ignore, *, resume: bool = False) -> None:
        torch.manual_seed(17)
        train = sft.train if recipe.task == "sft" else grpo.train
        train(recipe, report=report, resume=resume)


def _ids(event: object) -> list[list[int]]:
    return [list(one.token_ids) for one in event.trajectories] if isinstance(event, RolloutsFinished) else []


def _stop(event: object) -> None:
    if isinstance(event, StepFinished) and event.step == 2:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    test_resume.untrained()
    trainings = Trainings(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        getattr(trainings, name)()
