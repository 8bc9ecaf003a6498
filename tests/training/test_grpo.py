"""GRPO through TRL's trainer: rollouts reach it untouched, rewards stay with their rows, and only what the model said
is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import DataError, ModelError
from ragr1_lite.core.events import Notice, StepFinished, ignore
from ragr1_lite.core.rewards import score
from ragr1_lite.core.types import Completion, Example, Reward, SampleRequest, Trajectory
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.models import adapter_folder
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import rollouts, trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny
from tests.support.rounding import GRADIENT

RIGHT = "<think>It is.</think><answer>Chad</answer>"
WRONG = "<think>No.</think><answer>Oman</answer>"
SEARCH = "<think>Search.</think><search>Chad, Oman</search>"


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


class Watched:
    """A trainer whose inputs are written down: the rollouts it was given and the micro-batches it made of them."""

    def __init__(self, policy: Policy, recipe: Recipe, examples: Sequence[Example], report: Any = ignore) -> None:
        self.policy, self.recipe, self.report = policy, recipe, report
        self.run = Run.start(recipe)
        self.trainer = grpo.make_trainer(policy, examples, tiny.OnePassage(), recipe, self.run)
        self.micro_batches: list[dict[str, Any]] = []
        plain = self.trainer.compute_loss

        def compute_loss(model: Any, inputs: dict[str, Any], **options: Any) -> torch.Tensor:
            self.micro_batches.append({**inputs})
            loss: torch.Tensor = plain(model, inputs, **options)
            return loss

        self.trainer.compute_loss = compute_loss

    @property
    def trajectories(self) -> list[Trajectory]:
        found: list[Trajectory] = self.trainer.rollout_func.trajectories
        return found

    def fit(self) -> list[dict[str, float]]:
        fit(self.trainer, self.policy, self.recipe, self.run, self.report, resume=False)
        return tiny.metrics_of(self.recipe.output)

    def rows(self) -> list[tuple[list[int], list[int], float]]:
        """Ids, loss mask and advantage of every row, padding taken off."""
        rows = []
        for batch in self.micro_batches:
            for i, advantage in enumerate(batch["advantages"].tolist()):
                prompt = batch["prompt_ids"][i][batch["prompt_mask"][i].bool()].tolist()
                real = batch["completion_mask"][i].bool()
                mask = [0] * len(prompt) + batch["tool_mask"][i][real].tolist()
                rows.append((prompt + batch["completion_ids"][i][real].tolist(), mask, advantage))
        return rows


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], str]], None]:
    """Makes rollouts say what ``say(row, turn)`` gives, in place of the model."""

    def use(say: Callable[[int, int], str]) -> None:
        monkeypatch.setattr(trainer, "TransformersSampler", lambda policy, **_: tiny.Script(policy.tokenizer, say))

    return use


@pytest.fixture
def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the proof at start-up, whose passes have gradients of their own."""
    monkeypatch.setattr(trainer, "prove_first", lambda *_: None)


def mixed(row: int, turn: int) -> str:
    """Rows of different lengths and rewards: with a search, right at once, wrong at once, cut off."""
    if row % 4 == 0 and turn == 0:
        return SEARCH
    return [RIGHT, f"<think>{'so ' * row}</think><answer>Chad</answer>", WRONG, "<think>hm"][row % 4]


def advantages(rewards: Sequence[float], group: int) -> list[float]:
    found: list[float] = []
    for start in range(0, len(rewards), group):
        some = torch.tensor(rewards[start : start + group])
        found += ((some - some.mean()) / (some.std() + 1e-4)).tolist()
    return found


# --- what is trained -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unproved")
@pytest.mark.parametrize("pad", ["own", "eos"])
@pytest.mark.parametrize("model", ["tiny_qwen2_folder", "tiny_qwen3_folder"])
def test_only_what_the_model_says_has_a_gradient(
    model: str, pad: str, request: pytest.FixtureRequest, tmp_path: Path, script: Any
) -> None:
    script(mixed)
    recipe = tiny.make_recipe(
        "grpo", request.getfixturevalue(model), tmp_path / "run", train={"steps": 1}, grpo={"group_size": 4}
    )
    policy = tiny.load(recipe)
    if pad == "eos":
        policy.tokenizer.hf.pad_token = "<|im_end|>"
    watched = Watched(policy, recipe, tiny.EXAMPLES[:1])
    with tiny.final_gradients() as found:
        watched.fit()
    rows = [row for micro_batch in found for row in micro_batch]
    assert len(rows) == len(watched.trajectories) == 4
    assert any(segment.source == "env" for one in watched.trajectories for segment in one.segments)
    for one in watched.trajectories:
        gradient = next(gradient for ids, gradient in rows if ids == one.token_ids)
        model_tokens = [i for i, trained in enumerate(one.loss_mask) if trained]
        assert tiny.trained_positions(gradient) == model_tokens
        if one.stop_reason == "answer":
            assert one.token_ids[-1] == policy.tokenizer.eos_ids[0], "a sampled end token is trained"


def objective(policy: Policy, trajectories: Sequence[Trajectory], weights: Sequence[float]) -> torch.Tensor:
    """DAPO's loss at its starting point, plainly: every model token counts the same, environment tokens not at all."""
    terms = [
        advantage * tiny.log_prob(policy, one).sum()
        for one, advantage in zip(trajectories, weights, strict=True)
        if any(one.loss_mask)
    ]
    return -torch.stack(terms).sum() / sum(one.sampled_tokens for one in trajectories)


def test_gradient_is_that_of_the_plain_objective(byte_model: Path, tmp_path: Path, script: Any) -> None:
    """Masks, advantages, their rows and the token count at once, over two groups cut into four micro-batches."""
    script(mixed)
    sections: dict[str, Any] = {
        "train": {"steps": 1, "batch_size": 8, "max_grad_norm": 1e6},
        "grpo": {"group_size": 4},
        "reward": {"f1": 0.5, "format": 0.25},
    }
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", **sections)
    policy = tiny.load(recipe)
    watched = Watched(policy, recipe, tiny.EXAMPLES[:2])
    (line,) = watched.fit()

    fresh = tiny.load(recipe)
    rewards = [score(one, recipe.reward.weights).total for one in watched.trajectories]
    expected = advantages(rewards, 4)
    weights = [weight for weight in fresh.model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(objective(fresh, watched.trajectories, expected), weights)
    assert line["grad_norm"] == pytest.approx(float(torch.cat([one.flatten() for one in gradients]).norm()), rel=1e-3)
    assert line["grad_norm"] > 0
    assert line["reward"] == pytest.approx(sum(rewards) / 8)


of_trl_1_14 = pytest.mark.skipif(
    not hasattr(GRPOTrainer, "_chunked_logps"), reason="newer releases of TRL never hold whole logits, unasked"
)


@of_trl_1_14
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_log_probs_in_chunks_are_those_of_whole_logits(
    byte_model: Path, tmp_path: Path, script: Any, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 50 words and 16 tokens, so that there are many; environment's and padding's tokens among them."""
    monkeypatch.setattr("trl.trainer.grpo_trainer._CHUNKED_LOGPROB_CHUNK_SIZE", 50)
    monkeypatch.setattr("trl.trainer.utils._CHUNKED_LOGPROB_TOKEN_CHUNK_SIZE", 16)
    script(mixed)
    sections: dict[str, Any] = {"model": {"dtype": dtype}, "train": {"steps": 1, "micro_batch": 4}}
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", grpo={"group_size": 4, "beta": 0.05}, **sections)
    policy = tiny.load(recipe)
    watched = Watched(policy, recipe, tiny.EXAMPLES[:1])
    assert watched.trainer.use_liger_kernel
    watched.fit()
    (inputs,) = watched.micro_batches
    weights = [weight for weight in policy.model.parameters() if weight.requires_grad]

    def loss_and_gradients(chunked: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        watched.trainer.use_liger_kernel = chunked
        with watched.trainer.compute_loss_context_manager():
            loss = watched.trainer.compute_loss(policy.model, inputs)
        return loss, list(torch.autograd.grad(loss, weights))

    (loss, gradients), (expected, wanted) = loss_and_gradients(chunked=True), loss_and_gradients(chunked=False)
    pairs = [(loss, expected), *zip(gradients, wanted, strict=True)]
    for one, other in pairs:
        if dtype == "bf16":
            torch.testing.assert_close(one, other, rtol=0.05, atol=0.02)
        else:
            size = 1.0 if one is loss else float(other.abs().max())  # terms of size 1 cancel out in the loss
            torch.testing.assert_close(one, other, rtol=0, atol=GRADIENT * size)
    assert max(one.abs().max() for one in gradients) > 0.05


@of_trl_1_14
def test_trl_without_chunks(byte_model: Path, tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before 1.14, where the switch asks for a package that is not there."""
    monkeypatch.delattr("trl.GRPOTrainer._chunked_logps")
    script(mixed)
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", train={"steps": 1}, grpo={"group_size": 4})
    (line,) = Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:1]).fit()
    assert line["grad_norm"] > 0


@pytest.mark.parametrize(
    ("engine", "installed"), [("auto", True), ("vllm", True), ("auto", False), ("transformers", True)]
)
def test_who_samples(byte_model: Path, tmp_path: Path, engine: str, installed: bool, monkeypatch: Any) -> None:
    opened: list[dict[str, Any]] = []
    monkeypatch.setattr(trainer.vllm_sampler, "available", lambda: installed)
    monkeypatch.setattr(trainer.vllm_sampler, "VllmSampler", lambda policy, **options: opened.append(options))
    rollout = {"engine": engine, "gpu_share": 0.4, "max_length": 300, "batch_size": 6}
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", rollout=rollout, grpo={"temperature": 1.2})
    sampler = trainer.make_sampler(tiny.load(recipe), recipe)
    if engine == "vllm" or (engine, installed) == ("auto", True):
        wanted = {"temperature": 1.2, "max_length": 300, "batch_size": 6, "gpu_share": 0.4, "report": ignore}
        assert opened == [wanted]
    else:
        assert isinstance(sampler, TransformersSampler)
        assert opened == []


def test_our_own_sampler_stands_in(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where vLLM cannot sample from this model, ``auto`` says so and goes on; who asked for vLLM gets the error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError("This vLLM reads no 4-bit weights", "Install the plugin.")

    monkeypatch.setattr(trainer.vllm_sampler, "available", lambda: True)
    monkeypatch.setattr(trainer.vllm_sampler, "VllmSampler", refuse)
    events: list[Any] = []
    recipes = [
        tiny.make_recipe("grpo", byte_model, tmp_path / one, rollout={"engine": one}) for one in ("auto", "vllm")
    ]
    policy = tiny.load(recipes[0])
    assert isinstance(trainer.make_sampler(policy, recipes[0], events.append), TransformersSampler)
    told = "This vLLM reads no 4-bit weights, so our own sampler makes the rollouts. Install the plugin."
    assert events == [Notice(told, "warning")]
    with pytest.raises(ModelError, match="4-bit"):
        trainer.make_sampler(policy, recipes[1])


def test_log_probs_follow_the_rewards(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: RIGHT if row % 2 else WRONG)
    recipe = tiny.make_recipe(
        "grpo",
        byte_model,
        tmp_path / "run",
        train={"steps": 4, "learning_rate": 0.01},
        grpo={"group_size": 4},
    )
    policy = tiny.load(recipe)
    frozen = tiny.frozen_hash(policy)
    watched = Watched(policy, recipe, tiny.EXAMPLES[:1])
    watched.fit()
    start = tiny.load(recipe)
    wrong, right = watched.trajectories[:2]
    assert tiny.log_prob(policy, right).sum() > tiny.log_prob(start, right).sum() + 0.5
    assert tiny.log_prob(policy, wrong).sum() < tiny.log_prob(start, wrong).sum() - 0.5
    assert tiny.frozen_hash(policy) == frozen


@pytest.mark.usefixtures("unproved")
def test_equal_rewards_teach_nothing_and_are_counted(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: RIGHT if row in (0, 1, 2) else WRONG)
    recipe = tiny.make_recipe(
        "grpo", byte_model, tmp_path / "run", train={"steps": 1, "batch_size": 4}, grpo={"group_size": 2}
    )
    policy = tiny.load(recipe)
    chad = [tiny.EXAMPLES[0], Example("again", "Is it Chad?", ("Chad",))]
    watched = Watched(policy, recipe, chad)
    with tiny.final_gradients() as found:
        (line,) = watched.fit()
    assert line["signal"] == 0.5
    moved = {ids for micro_batch in found for ids, gradient in micro_batch if (gradient != 0).any()}
    assert moved == {one.token_ids for one in watched.trajectories[2:]}


def test_all_equal_rewards_leave_the_adapter_as_it_was(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: WRONG)
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", train={"steps": 2, "learning_rate": 0.1})
    policy = tiny.load(recipe)
    before = [weight.clone() for weight in policy.model.parameters()]
    lines = Watched(policy, recipe, tiny.EXAMPLES[1:3]).fit()
    assert [(line["signal"], line["grad_norm"], line["reward"]) for line in lines] == [(0, 0, 0)] * 2
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.parameters(), strict=True))


# --- rollouts reach the trainer ------------------------------------------------------------------------------------


def test_ids_masks_and_advantages_are_those_of_the_rollouts(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(mixed)
    recipe = tiny.make_recipe(
        "grpo", byte_model, tmp_path / "run", train={"steps": 1, "batch_size": 8}, grpo={"group_size": 4}
    )
    watched = Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:2])
    watched.fit()
    rewards = [score(one, recipe.reward.weights).total for one in watched.trajectories]
    assert len(set(rewards)) > 1
    expected = [
        (list(one.token_ids), list(one.loss_mask), pytest.approx(advantage, abs=1e-5))
        for one, advantage in zip(watched.trajectories, advantages(rewards, 4), strict=True)
    ]
    assert sorted(watched.rows(), key=lambda row: row[:2]) == sorted(expected, key=lambda row: row[:2])


def test_every_group_is_one_question(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: RIGHT)
    asked: list[list[str]] = []
    recipe = tiny.make_recipe(
        "grpo", byte_model, tmp_path / "run", train={"steps": 4, "batch_size": 4}, grpo={"group_size": 2}
    )
    watched = Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:3])
    rollouts = watched.trainer.rollout_func
    watched.trainer.rollout_func = lambda prompts, trainer: (asked.append(list(prompts)), rollouts(prompts, trainer))[1]
    watched.fit()
    assert len(asked) == 4
    for prompts in asked:
        assert prompts[0::2] == prompts[1::2]
    groups = [prompt for prompts in asked for prompt in prompts[::2]]
    assert sorted(groups[:3]) == sorted(groups[3:6]) == ["0", "1", "2"]


def test_questions_of_the_same_text_keep_their_answers(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: RIGHT if row % 2 else WRONG)
    twins = [Example("a", "Which one?", ("Chad",)), Example("b", "Which one?", ("Nobody",))]
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", train={"steps": 1})
    watched = Watched(tiny.load(recipe), recipe, twins)
    (line,) = watched.fit()
    assert {one.example.id for one in watched.trajectories} == {"a", "b"}
    assert line["em"] == 0.25


def test_fewer_questions_than_a_step_needs(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(mixed)
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", train={"steps": 2, "batch_size": 8})
    assert len(Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:1]).fit()) == 2


def test_prompts_that_do_not_fit(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(lambda row, turn: RIGHT if row % 2 else WRONG)
    long = Example("long", "word " * 200, ("Chad",))
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", train={"steps": 1})
    watched = Watched(tiny.load(recipe), recipe, [long, tiny.EXAMPLES[0]])
    (line,) = watched.fit()
    assert sorted({one.stop_reason for one in watched.trajectories}) == ["answer", "context"]
    assert line["grad_norm"] > 0
    assert all(torch.isfinite(weight).all() for weight in watched.policy.model.parameters())
    only = tiny.make_recipe("grpo", byte_model, tmp_path / "only", train={"steps": 1})
    (line,) = Watched(tiny.load(only), only, [long]).fit()
    assert (line["grad_norm"], line["tokens"]) == (0, 0)


def test_each_iteration_uses_the_rollouts_again(byte_model: Path, tmp_path: Path, script: Any) -> None:
    script(mixed)
    recipe = tiny.make_recipe(
        "grpo",
        byte_model,
        tmp_path / "run",
        train={"steps": 4, "learning_rate": 0.01},
        grpo={"group_size": 4, "iterations": 2},
    )
    watched = Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:2])
    lines = watched.fit()
    assert ["reward" in line for line in lines] == [True, False, True, False]
    ids = [sorted(row[0] for row in watched.rows()[start : start + 4]) for start in (0, 4, 8, 12)]
    assert ids[0] == ids[1] != ids[2] == ids[3]


# --- the policy while it samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "nf4"])
def test_sampler_and_trainer_see_the_same_model(
    byte_model: Path, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real sampling: the second step's tokens come from the adapter that the first step has changed."""
    monkeypatch.setattr(rollouts, "score", lambda one, weights: Reward(float(sum(one.token_ids) % 3), {"em": 0.0}))
    recipe = tiny.make_recipe(
        "grpo",
        byte_model,
        tmp_path / "run",
        model={"dtype": dtype},
        train={"steps": 2, "learning_rate": 0.05},
        grpo={"group_size": 4},
    )
    policy = tiny.load(recipe)
    frozen = tiny.frozen_hash(policy)
    outside: list[float] = []
    sample = TransformersSampler.sample

    def sampled(self: TransformersSampler, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
        with torch.no_grad():
            ids = torch.tensor([requests[0].token_ids])
            model: Any = policy.model
            outside.append(float(model(input_ids=ids).logits[0, -1].float().logsumexp(-1)))
        return sample(self, requests, **options)

    monkeypatch.setattr(TransformersSampler, "sample", sampled)
    lines = Watched(policy, recipe, tiny.EXAMPLES[:1]).fit()
    assert lines[0]["grad_norm"] > 0
    assert abs(outside[-1] - outside[0]) > 1e-3, "the second step samples from the changed policy"
    assert tiny.frozen_hash(policy) == frozen
    assert policy.model.training
    trained = [weight for weight in policy.model.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in trained} == {torch.float32}


def trained_adapter(byte_model: Path, folder: Path) -> Path:
    """An adapter that does something, as SFT leaves it."""
    policy = tiny.load(tiny.make_recipe("sft", byte_model, folder / "sft"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=generator)
    return save_adapter(policy, folder / "sft-adapter")


@pytest.mark.parametrize("dtype", ["fp32", "nf4"])
def test_reference_is_the_adapter_it_started_from(byte_model: Path, tmp_path: Path, script: Any, dtype: str) -> None:
    script(mixed)
    start = trained_adapter(byte_model, tmp_path)
    recipe = tiny.make_recipe(
        "grpo",
        byte_model,
        tmp_path / "run",
        model={"adapter": str(start), "dtype": dtype},
        train={"steps": 3, "learning_rate": 0.01},
        grpo={"beta": 0.05, "group_size": 4},
    )
    policy = tiny.load(recipe)
    watched = Watched(policy, recipe, tiny.EXAMPLES[:1])
    model: Any = policy.model
    assert set(model.peft_config) == {"default", "ref"}
    assert {name.split(".")[-2] for name, weight in model.named_parameters() if weight.requires_grad} == {"default"}
    references = {name: weight.clone() for name, weight in model.named_parameters() if ".ref." in name}
    seen: dict[str, torch.Tensor] = {}

    def report(event: object) -> None:
        if isinstance(event, StepFinished):
            seen.update({name: weight.clone() for name, weight in model.named_parameters() if ".ref." in name})

    watched.report = report
    lines = watched.fit()
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6), "not the base model, from which the adapter is far away"
    assert lines[2]["kl"] > 1e-4
    assert seen.keys() == references.keys()
    assert all(torch.equal(seen[name], references[name]) for name in references)
    adapter = recipe.output / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    saved, before = tiny.adapter_of(adapter), tiny.adapter_of(start)
    assert saved.keys() == before.keys()
    assert all(not torch.equal(saved[name], before[name]) for name in saved)
    trained = {name.replace(".default", ""): weight for name, weight in model.named_parameters() if "lora_" in name}
    assert all(torch.equal(saved[name], trained[name]) for name in saved)


def test_base_of_a_checkpoint(byte_model: Path, tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint names its base as the recipe does, not by the cache's folder; the hub is never asked about it."""

    def ask(*_: object) -> None:
        raise AssertionError("the hub was asked")

    script(mixed)
    start = trained_adapter(byte_model, tmp_path)
    config = start / "adapter_config.json"
    config.write_text(config.read_text().replace(str(byte_model), "org/tiny-byte"), encoding="utf-8")
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", ask)
    monkeypatch.setattr("ragr1_lite.models.loading.find_folder", lambda name, report: byte_model)
    named = {"name": "org/tiny-byte", "adapter": str(start)}
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", model=named, grpo={"beta": 0.05})
    Watched(tiny.load(recipe), recipe, tiny.EXAMPLES[:1]).fit()
    for folder in (recipe.output / "checkpoints" / "checkpoint-2", recipe.output / "adapter"):
        fields = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        assert fields["base_model_name_or_path"] == "org/tiny-byte"


# --- what is reported, and what can be wrong ------------------------------------------------------------------------


def question_file(folder: Path) -> dict[str, Any]:
    """A data section that names a file of two questions."""
    file = folder / "questions.jsonl"
    file.write_text('{"question": "Which?", "answers": ["Chad"]}\n{"question": "Who?", "answers": ["Mali"]}\n')
    return {"train": str(file)}


def test_one_line_a_step_and_nothing_printed(
    byte_model: Path,
    tmp_path: Path,
    script: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    script(mixed)
    monkeypatch.setattr(trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    monkeypatch.delenv("TRL_EXPERIMENTAL_SILENCE", raising=False)
    recipe = tiny.make_recipe(
        "grpo", byte_model, tmp_path / "run", data=question_file(tmp_path), grpo={"beta": 0.01}, train={"steps": 2}
    )
    events: list[object] = []
    result = grpo.train(recipe, report=events.append)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    lines = tiny.metrics_of(recipe.output)
    assert [line["step"] for line in lines] == [1, 2]
    wanted = "loss grad_norm lr kl reward em f1 format signal rounds queries tokens seconds rollout_seconds".split()
    assert all(set(wanted) <= line.keys() for line in lines)
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1, 2]
    warnings = [event.text for event in events if isinstance(event, Notice) and event.level == "warning"]
    assert len(warnings) == 1
    assert "without SFT" in warnings[0]
    assert result.adapter.is_dir()


def test_shipped_adapter_by_name(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", model={"adapter": "shipped"})
    with pytest.raises(ModelError, match="No adapter ships.*the folder of an SFT run"):
        grpo.train(recipe)
    shipped = trained_adapter(byte_model, tmp_path)
    monkeypatch.setattr(adapter_folder, "shipped_adapter", lambda model: shipped)
    assert tiny.load(recipe).spec.adapter == str(shipped)


def test_no_question(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run")
    with pytest.raises(DataError, match="nothing to train on"):
        Watched(tiny.load(recipe), recipe, [])


def test_trajectory_file_of_sft_serves_as_questions(byte_model: Path, tmp_path: Path) -> None:
    from ragr1_lite.data.sets import load_examples

    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run")
    write_records(tmp_path / "records.jsonl", tiny.gold(tiny.load(recipe), recipe))
    assert load_examples(str(tmp_path / "records.jsonl"), "train") == tiny.EXAMPLES[:4]


@pytest.mark.parametrize(
    ("section", "below", "above"),
    [
        ({}, 0.2, 0.2),
        ({"epsilon": 0.1}, 0.1, 0.1),
        ({"loss_type": "gspo"}, 3e-4, 4e-4),
        ({"loss_type": "gspo", "epsilon": 0.1}, 0.1, 0.1),
        ({"loss_type": "cispo"}, 0.2, 5.0),
    ],
)
def test_where_importance_weights_are_clipped(
    byte_model: Path, tmp_path: Path, section: dict[str, Any], below: float, above: float
) -> None:
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", grpo=section)
    watched = Watched(tiny.load(recipe), recipe, tiny.EXAMPLES)
    assert (watched.trainer.epsilon_low, watched.trainer.epsilon_high) == (below, above)
