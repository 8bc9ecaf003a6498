"""Training on models whose template, end of a turn and padding are not the usual ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.events import Notice, ignore
from ragr1_lite.models.loading import Policy
from ragr1_lite.training import grpo, sft
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

OPENS = tiny.CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}"
OTHER_END = tiny.CHATML.replace("im_start", "turn").replace("im_end", "end_turn")
TURNS = ("<|turn|>", "<|end_turn|>")
KINDS: dict[str, dict[str, Any]] = {
    "opened": {"template": OPENS},
    "opened-and-padded-with-the-end": {"template": OPENS, "pad": "<|im_end|>"},
    "another-end": {"template": OTHER_END, "special": TURNS, "eos": "<eos>", "pad": "<pad>"},
    "another-end-that-pads": {"template": OTHER_END, "special": TURNS, "eos": "<eos>", "pad": "<|end_turn|>"},
    "no-padding": {"template": OTHER_END, "special": TURNS, "eos": "<eos>", "pad": None},
    "no-template": {"template": None, "special": (), "eos": "</s>", "pad": None},
}


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("model") / "tiny", tiny.byte_tokenizer(**KINDS[request.param]))


def test_sft_trains_what_the_model_says_and_its_end(folder: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", folder, tmp_path / "run", train={"steps": 1})
    policy = tiny.load(recipe)
    trajectories = tiny.gold(policy, recipe)
    run = Run.start(recipe)
    trainer = sft.make_trainer(policy, trajectories, recipe, run)
    with tiny.final_gradients() as found:
        fit(trainer, policy, recipe, run, ignore, resume=False)
    gradients = [gradient for micro_batch in found for _, gradient in micro_batch]
    for one, gradient in zip(sft.arrange(trajectories, recipe), gradients, strict=True):
        model_tokens = [i for i, trained in enumerate(one.loss_mask) if trained]
        assert tiny.trained_positions(gradient) == model_tokens
        assert one.token_ids[model_tokens[-1]] == policy.tokenizer.eos_ids[0]
    assert trainer.processing_class.eos_token_id == policy.tokenizer.eos_ids[0]
    model: Any = policy.model
    assert model.generation_config.eos_token_id == list(policy.tokenizer.eos_ids)


def test_grpo_trains_what_was_sampled(folder: Path, tmp_path: Path) -> None:
    """The proof compares tokens, masks and log-probabilities, padding among them, with those of the sampler."""
    recipe = tiny.make_recipe("grpo", folder, tmp_path / "run", train={"steps": 1}, grpo={"group_size": 4})
    policy: Policy = tiny.load(recipe)
    run, reported = Run.start(recipe), []

    def report(event: object) -> None:
        reported.append(event.text if isinstance(event, Notice) else "")

    trainer = grpo.make_trainer(policy, tiny.EXAMPLES[:1], tiny.OnePassage(), recipe, run, report)
    fit(trainer, policy, recipe, run, report, resume=False)
    assert [text for text in reported if text.startswith("Proved")]
    for one in trainer.rollout_func.trajectories:
        assert policy.tokenizer.hf.decode(one.prompt_ids).endswith(policy.tokenizer.opening or "\n")
