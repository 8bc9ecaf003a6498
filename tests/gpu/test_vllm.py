"""Sampling by vLLM on an NVIDIA card, where vLLM is installed: ``python -m pytest tests/gpu/test_vllm.py -m gpu``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ragr1_lite.core.types import Completion, Sampler, SampleRequest
from ragr1_lite.models import vllm_sampler
from tests.support import tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
    pytest.mark.skipif(not vllm_sampler.available(), reason="vLLM is not installed"),
    pytest.mark.filterwarnings("ignore"),  # its imports' own, and TRL's word on releases that TRL does not drive
]

QUESTIONS = ("What is the capital of France?", "Name a river in Chad.", "What is the capital of France?")


def say(sampler: Sampler, prompts: Sequence[Sequence[int]]) -> list[Completion]:
    requests = [SampleRequest(row, ids) for row, ids in enumerate(prompts)]
    return sampler.sample(requests, stop=("</answer>",), max_new_tokens=16, report=lambda event: None)


@pytest.mark.parametrize("dtype", ["bf16", "nf4"])
def test_it_samples_from_the_model_in_training(dtype: str) -> None:
    """Its log-probabilities are those of our own sampler, before the adapter moves and after, and rows differ."""
    from ragr1_lite.config import LoraConfig
    from ragr1_lite.models.loading import ModelSpec, load_policy
    from ragr1_lite.models.sampler import TransformersSampler
    from ragr1_lite.training.grpo.proof import OTHER_KERNELS

    policy = load_policy(ModelSpec("smollm2-135m", dtype=dtype, engine="transformers"), lora=LoraConfig(r=8))
    prompts = [policy.tokenizer.render_chat(question) for question in QUESTIONS]
    sampler = vllm_sampler.VllmSampler(policy, temperature=1.0, max_length=512, batch_size=4, gpu_share=0.3)
    texts = []
    for scale in (0.0, 0.02):
        with torch.no_grad():
            for name, weight in policy.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, scale)
        found = say(sampler, prompts)
        texts.append([one.text for one in found])
        assert found[0].token_ids != found[2].token_ids, "members of a group draw for themselves"
        ours = torch.cat(
            [tiny.token_logprobs(policy, prompt, one.token_ids) for prompt, one in zip(prompts, found, strict=True)]
        )
        theirs = torch.tensor([logprob for one in found for logprob in one.logprobs])
        nats, share = OTHER_KERNELS
        assert (ours - theirs).square().mean().sqrt() < nats + share * ours.square().mean().sqrt()
    greedy = say(TransformersSampler(policy), prompts)
    assert [one.text for one in greedy] != texts[1]


def test_grpo_rolls_out_by_vllm(tmp_path: Path) -> None:
    """The start-up proof compares its log-probabilities with the trainer's."""
    from ragr1_lite.config import load_recipe
    from ragr1_lite.core.events import Notice
    from ragr1_lite.training import grpo

    told: list[str] = []
    short = ["train.steps=2", "train.batch_size=8", "grpo.group_size=4", "rollout.max_new_tokens=64"]
    recipe = load_recipe(
        "grpo-smollm2-135m",
        [*short, "model.adapter=shipped", "rollout.engine=vllm", f"output={tmp_path / 'run'}"],
        task="grpo",
    )
    result = grpo.train(recipe, report=lambda event: told.append(event.text) if isinstance(event, Notice) else None)
    assert result.steps == 2
    assert any("vLLM" in text for text in told)
