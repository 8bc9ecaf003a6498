"""What `learn` trains by, and how many steps a time is enough for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.cli.learn_folder import LearnFolder
from ragr1_lite.cli.learn_plan import affordable, recipes, size_of, training_work, with_steps
from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import ignore

FOLDER = LearnFolder(Path("runs/learn-notes"))


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ("smollm2-135m", (110, 12)),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", (110, 12)),
        ("qwen2.5-coder-0.5b", (40, 30)),
        ("models/mine", (110, 12)),
        ("Qwen/Qwen2.5-1.5B-Instruct", (300, None)),
    ],
)
def test_a_model_has_its_own_recipes(model: str, steps: tuple[int, int | None]) -> None:
    first, second = recipes(FOLDER, model, ["train.seed=3"])
    assert (first.task, second.task) == ("sft", "grpo")
    assert first.model.name == second.model.name == model and first.train.seed == second.train.seed == 3
    assert first.train.steps == steps[0] and steps[1] in (None, second.train.steps)
    assert second.model.adapter == "runs/learn-notes/sft/adapter"
    ships = any(name in model.lower() for name in ("smollm2-135m", "qwen2.5-coder-0.5b"))
    assert bool(first.model.adapter) == ships, "it goes on from what ships"
    assert (first.data.train, second.data.train) == (str(FOLDER.file("trajectories")), str(FOLDER.file("train")))
    for section in ("rollout", "retrieval"):
        mine, other = (getattr(recipe, section).model_dump() for recipe in (first, second))
        assert {name for name in mine if mine[name] != other[name]} <= {"batch_size"}
    assert first.data.mix == second.data.mix == {} and first.lora == second.lora


def fitting(seconds: float, token: float = 0.01) -> dict[str, int]:
    """SFT's step takes 4 s, GRPO's 24 * (.85 + .5) = 32.4 s, an evaluation of 40 questions 34 s."""
    first, second = recipes(FOLDER, "smollm2-135m")
    return affordable(first, second, seconds, row=1.0, token=token, questions=40, report=ignore)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (34 + 20 * 4 + 1, {"SFT": 20, "GRPO": 0}),
        (34 + 110 * 4 + 20, {"SFT": 110, "GRPO": 0}),
        (68 + 110 * 4 + 3.9 * 32.4, {"SFT": 110, "GRPO": 0}),
        (68 + 110 * 4 + 4.1 * 32.4, {"SFT": 110, "GRPO": 4}),
        (10_000.0, {"SFT": 110, "GRPO": 12}),
    ],
)
def test_first_all_of_sft_then_grpo(seconds: float, steps: dict[str, int]) -> None:
    assert fitting(seconds) == steps
    assert fitting(seconds + 100, token=0.0)["GRPO"] == 0, "nothing is known of sampling"


def test_too_little_time_says_how_much_is_needed() -> None:
    with pytest.raises(RunError, match="20 steps of SFT and an evaluation take 2 minutes here"):
        fitting(34 + 19 * 4)


def test_the_work_follows_the_steps() -> None:
    first, second = recipes(FOLDER, "smollm2-135m")
    work: Any = training_work(first, with_steps(second, 3), 40)
    assert work["SFT"] == {"trained": 110 * 4 * 700}
    assert work["GRPO"] == {"sampled": 3 * 24 * 85, "trained": 3 * 24 * 350}
    assert [stage for stage, some in training_work(first, None, 40).items() if not some] == ["GRPO", "eval SFT + GRPO"]


def test_the_size_of_a_model_is_known_or_not() -> None:
    assert size_of("smollm2-135m") == 1.0 and 10 < (size_of("Qwen/Qwen2.5-1.5B-Instruct") or 0) < 13
    assert size_of("nobody/nothing") is None
