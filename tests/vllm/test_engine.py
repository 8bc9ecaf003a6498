"""The real vLLM, on a CPU: what the stand-in of tests/models cannot show. ``make test-vllm`` makes its environment."""

from __future__ import annotations

import gc
import importlib.metadata
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.rollout import run_rollouts
from ragr1_lite.core.types import Completion, Sampler, SampleRequest, Trajectory
from ragr1_lite.models import vllm_sampler
from ragr1_lite.models.loading import Policy, load_policy, model_spec
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.models.vllm_sampler import VllmSampler
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo.proof import OTHER_KERNELS
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

pytestmark = [
    pytest.mark.skipif(not vllm_sampler._installed(), reason="needs the vLLM environment: make test-vllm"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's imports, and TRL's word on releases of vLLM that it does not drive
]

NEAR = 1e-3
"""Nats by which two ways to compute one log-probability in fp32 may differ; 3e-5 was seen."""


@pytest.fixture(scope="module", autouse=True)
def _without_a_card() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_sampler, "_has_cuda", lambda: True)
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt the protocol: it searches, answers and ends. vLLM takes heads of 32 at least."""
    folder = tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte", hidden_size=128)
    _teach(folder, tiny.make_recipe("grpo", folder, folder.parent / "lessons" / "run"))
    return folder


def _teach(folder: Path, recipe: Recipe) -> None:
    """Trains all weights, by plain SFT on gold trajectories, and saves them."""
    policy = tiny.load(recipe)
    end = policy.tokenizer.eos_ids[0]
    lessons = tiny.gold(policy, recipe, len(tiny.EXAMPLES))
    rows = [torch.tensor([*lesson.token_ids, end]) for lesson in lessons]
    targets = [torch.tensor([*lesson.loss_mask, 1]) for lesson in lessons]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    written = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    model: Any = policy.model.unload()
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(60):
        loss = model(input_ids=ids, labels=ids.masked_fill(written == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.1
    model.to(torch.bfloat16).save_pretrained(folder)  # as models are published, see the test of 4 bits


@pytest.fixture(scope="module")
def recipe(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny.make_recipe(
        "grpo",
        folder,
        tmp_path_factory.mktemp("recipe") / "run",
        rollout={"engine": "vllm", "max_new_tokens": 64, "max_length": 1024, "batch_size": 8},
        train={"steps": 1, "batch_size": 8, "micro_batch": 4},
        grpo={"group_size": 4},
    )


@pytest.fixture(scope="module")
def policy(recipe: Recipe) -> Policy:
    policy = tiny.load(recipe)
    move(policy, 0.02)
    return policy


@pytest.fixture(scope="module")
def alive() -> list[Any]:
    """What holds engines: one that goes takes along the process groups of all."""
    return []


@pytest.fixture(scope="module")
def greedy(policy: Policy, alive: list[Any]) -> VllmSampler:
    alive.append(VllmSampler(policy, temperature=0.0, max_length=1024, batch_size=8, gpu_share=0.3))
    return alive[-1]


def move(policy: Policy, scale: float) -> None:
    """Gives the adapter weights of that size, the same at every call."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale, generator=generator)


def roll_out(sampler: Sampler, recipe: Recipe) -> list[Trajectory]:
    return run_rollouts(
        tiny.EXAMPLES, sampler, tiny.OnePassage(), protocol=recipe.rollout.protocol(), limits=recipe.rollout.limits(1)
    )


def logprobs(trajectories: Sequence[Trajectory]) -> torch.Tensor:
    return torch.tensor([one for found in trajectories for part in found.segments for one in part.logprobs])


def test_greedy_rollouts_are_those_of_our_own_sampler(greedy: VllmSampler, policy: Policy, recipe: Recipe) -> None:
    """Over turns, with searches, stops, end tokens and a prefix cache."""
    threads = torch.get_num_threads()
    found = roll_out(greedy, recipe)
    assert torch.get_num_threads() == threads
    ours = roll_out(TransformersSampler(policy, logprobs=True), recipe)
    assert [one.token_ids for one in found] == [one.token_ids for one in ours]
    assert [one.stop_reason for one in found] == [one.stop_reason for one in ours]
    assert (logprobs(found) - logprobs(ours)).abs().max() < NEAR
    assert {len(one.turns) for one in found} == {1, 2}, "some search, some answer at once"
    assert {one.stop_reason for one in found} == {"answer"}


def say(sampler: Sampler, text: str, stop: Sequence[str] = (), rows: int = 1, limit: int = 64) -> list[Completion]:
    """Continues copies of one question."""
    ids = sampler.tokenizer.render_chat(tiny.TEMPLATE.replace("{question}", text))
    requests = [SampleRequest(row, ids) for row in range(rows)]
    return sampler.sample(requests, stop=stop, max_new_tokens=limit, report=lambda event: None)


def test_where_completions_end(greedy: VllmSampler, policy: Policy) -> None:
    """At a stop string, kept to the end of its token, at the end token and at the limit, as with our own sampler."""
    question, ours = tiny.EXAMPLES[1].question, TransformersSampler(policy, logprobs=True)
    for stop, limit, finish in [(("</think>", "never"), 64, "stop"), ((), 64, "eos"), ((), 5, "length")]:
        (found,), (own,) = (say(sampler, question, stop, limit=limit) for sampler in (greedy, ours))
        assert (found.finish, found.token_ids, found.text) == (finish, own.token_ids, own.text)
        assert found.finish == own.finish


def test_rows_are_drawn_from_the_tempered_distribution(policy: Policy, alive: list[Any]) -> None:
    """Log-probabilities are those of logits / temperature; equal rows draw for themselves, and alike when repeated."""
    sampler = VllmSampler(policy, temperature=1.5, max_length=512, batch_size=4, gpu_share=0.3)
    alive.append(sampler)
    question = tiny.EXAMPLES[0].question
    say(sampler, question)
    torch.manual_seed(3)
    found = say(sampler, question, rows=6)
    assert len({one.token_ids for one in found}) > 1
    torch.manual_seed(3)
    assert say(sampler, question, rows=6) == found
    prompt = policy.tokenizer.render_chat(tiny.TEMPLATE.replace("{question}", question))
    for one in found:
        expected = tiny.token_logprobs(policy, prompt, one.token_ids, temperature=1.5)
        assert (torch.tensor(one.logprobs) - expected).abs().max() < NEAR


def test_a_changed_adapter_changes_what_is_said_at_once(greedy: VllmSampler, policy: Policy) -> None:
    """Nothing of an older adapter is left in a cache, and in a session the adapter is the one of its beginning."""
    question, ours = tiny.EXAMPLES[0].question, TransformersSampler(policy, logprobs=True)
    before = say(greedy, question)
    try:
        for scale in (0.3, 0.6):
            move(policy, scale)
            (found,), (own,) = say(greedy, question), say(ours, question)
            assert found.token_ids == own.token_ids
            assert torch.tensor(found.logprobs) == pytest.approx(torch.tensor(own.logprobs), abs=NEAR)
            assert found.token_ids != before[0].token_ids
    finally:
        move(policy, 0.02)
    assert say(greedy, question) == before
    with greedy.session():
        try:
            move(policy, 0.6)
            assert say(greedy, question) == before
        finally:
            move(policy, 0.02)


def test_what_it_cannot_load_is_said(policy: Policy) -> None:
    """By vLLM's own checks; memory is not to blame."""
    sampler = VllmSampler(policy, temperature=0.0, max_length=99_999, batch_size=8, gpu_share=0.3)
    with pytest.raises(ModelError, match=r"max_model_len \(99999\) is greater .* Set rollout\.engine to transformers"):
        say(sampler, "Why?")


def test_4_bit_weights_are_those_in_training(folder: Path, tmp_path: Path, alive: list[Any]) -> None:
    """Where the model is stored in the precision that both quantize; after 0.27 vLLM reads such weights by a plugin."""
    recipe = tiny.make_recipe("grpo", folder, tmp_path / "run", model={"dtype": "nf4"})
    policy = load_policy(replace(model_spec(recipe), compute="bf16"), lora=recipe.lora)
    move(policy, 0.02)
    options: dict[str, Any] = {"temperature": 1.0, "max_length": 512, "batch_size": 4, "gpu_share": 0.3}
    built_in = Version(importlib.metadata.version("vllm-cpu")) < Version("0.28")
    if not built_in and not importlib.metadata.entry_points(group="vllm.general_plugins", name="bitsandbytes"):
        with pytest.raises(ModelError, match="vllm-bnb-plugin"):
            VllmSampler(policy, **options)
        return
    alive.append(VllmSampler(policy, **options))
    found = say(alive[-1], tiny.EXAMPLES[0].question, rows=4)
    prompt = policy.tokenizer.render_chat(tiny.TEMPLATE.replace("{question}", tiny.EXAMPLES[0].question))
    ours = torch.cat([tiny.token_logprobs(policy, prompt, one.token_ids) for one in found])
    theirs = torch.tensor([logprob for one in found for logprob in one.logprobs])
    nats, share = OTHER_KERNELS
    assert (ours - theirs).square().mean().sqrt() < nats + share * ours.square().mean().sqrt()


def test_a_step_of_grpo(recipe: Recipe, alive: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    """With an engine of its own, next to the others of this process; the proof compares it with the trainer."""
    told: list[str] = []
    policy = tiny.load(recipe)
    run = Run.start(recipe)

    def report(event: object) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])

    trainer = grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run, report)
    alive.append(trainer)
    result = fit(trainer, policy, recipe, run, report, resume=False)
    assert result.steps == 1
    assert any(text.startswith("Rollouts by vLLM") for text in told)
    (proof,) = [text for text in told if text.startswith("Proved before the first step")]
    (distance,) = re.findall(r"differ by ([\d.]+) nats", proof)
    assert float(distance) < NEAR
    assert "none of the environment is among them" not in proof
    assert "it/s" not in capfd.readouterr().err, "progress bars"


def test_an_engine_goes_with_its_sampler(policy: Policy, alive: list[Any]) -> None:
    """As where memory ran out and the trainer is made anew: what it held is free for the next one, which works."""
    knot: list[Any] = [VllmSampler(policy, temperature=0.0, max_length=512, batch_size=8, gpu_share=0.3)]
    knot.append(knot)
    expected = say(knot[0], "Why?")
    model = weakref.ref(knot[0]._engine.llm_engine.model_executor)
    del knot
    alive.clear()
    gc.collect(), gc.collect()  # as training/out_of_memory.py does, and vLLM when the next engine starts
    assert model() is None
    assert say(VllmSampler(policy, temperature=0.0, max_length=512, batch_size=8, gpu_share=0.3), "Why?") == expected
