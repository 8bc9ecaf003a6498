"""The stage as a whole, from a recipe to a trained adapter, and TRL's GRPOTrainer as the recipe wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragr1_lite.config import WORLD, GrpoConfig, Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Example, Sampler, Searcher
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.data.sets import expert_trajectories, load_examples, require_expert, require_titles
from ragr1_lite.data.unanswerable import with_hidden
from ragr1_lite.files.alone import alone_at
from ragr1_lite.models import upstream, vllm_sampler
from ragr1_lite.models.adapter_folder import require_adapter
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.processes import is_main
from ragr1_lite.models.sampler import TransformersSampler
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.training import held_out
from ragr1_lite.training.grpo import by_unsloth
from ragr1_lite.training.grpo.guard import Guard
from ragr1_lite.training.grpo.proof import OTHER_KERNELS, bound_of, prove_first
from ragr1_lite.training.grpo.rollouts import Rollouts, version_error
from ragr1_lite.training.grpo.user_reward import load_user_reward
from ragr1_lite.training.out_of_memory import fit_within_memory
from ragr1_lite.training.packed_pass import pack_grpo
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import check_trackers
from ragr1_lite.training.trainer import (
    TrainResult,
    as_callback,
    build_trainer,
    finished,
    import_in_order,
    load_trainable,
    trainer_arguments,
)

_OF_SEQUENCES = ("gspo", "luspo")
"""Losses whose importance weight is that of a whole sequence; the others weigh each token."""


@alone_at("recipe.output", when=is_main)
def train(recipe: Recipe, *, resume: bool = False, overwrite: bool = False, report: Report = ignore) -> TrainResult:
    """Trains an adapter by reward on its own rollouts.

    As :func:`ragr1_lite.training.sft.train`; ``model.adapter`` names the SFT adapter to start from.

    Raises:
        RagR1Error: A problem of recipe, data, model or disk.
        KeyboardInterrupt: After Ctrl-C; a checkpoint was written.
    """
    if resume and (result := finished(recipe, report)):
        return result
    import_in_order(recipe)
    check_trackers(recipe)
    load_user_reward(recipe.reward)  # what is wrong with it is reported before the run's folder is made
    require_adapter(recipe)
    examples = load_examples(
        recipe.data.train,
        "train",
        limit=questions_read(recipe),
        seed=recipe.train.seed,
        mix=recipe.data.mix,
        report=report,
    )
    examples = with_hidden(examples, recipe.data.train, recipe.data.unanswerable, recipe.train.seed)
    questions = held_out.questions(recipe, report)
    require_expert(recipe)  # before the model is loaded
    searcher = open_searcher(recipe.retrieval.index, report)
    run = Run.start(recipe, resume=resume, overwrite=overwrite)
    policy = load_trainable(recipe, run, report)
    if recipe.model.adapter is None:
        report(Notice("No model.adapter is given: small models rarely find a reward without SFT first.", "warning"))
    sampler = make_sampler(policy, recipe, report)  # whichever trainer is at work: vLLM takes its memory but once
    return fit_within_memory(
        lambda recipe: make_trainer(policy, examples, searcher, recipe, run, report, sampler),
        policy,
        recipe,
        run,
        report,
        resume=resume,
        questions=questions,
        searcher=searcher,
    )


def questions_read(recipe: Recipe) -> int | None:
    """How many questions are loaded: no more than training meets, unless weights are to choose among a file's."""
    weighted = recipe.data.weights != "even" and recipe.data.train != WORLD
    return recipe.data.limit or (None if weighted else recipe.groups_needed * (1 + recipe.grpo.resample))


def make_trainer(
    policy: Policy,
    examples: Sequence[Example],
    searcher: Searcher,
    recipe: Recipe,
    run: Run,
    report: Report = ignore,
    sampler: Sampler | None = None,
) -> Any:
    """TRL's GRPOTrainer with :class:`Rollouts` as its ``rollout_func``, which proves itself before its first step.

    ``sampler`` makes the rollouts, by default what :func:`make_sampler` makes for the recipe.

    To TRL a prompt is the number of its question: two questions may share their text.

    Raises:
        ConfigError: The recipe names something that cannot be used.
        DataError: There is no question, or the recipe's curriculum needs what the questions do not say.
        RunError: The TRL that is installed knows none of this.
    """
    upstream.silence()
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    order = schedule(examples, recipe.groups_needed, recipe.train.seed, recipe.data)
    sampler = sampler or make_sampler(policy, recipe, report)
    if recipe.grpo.continue_near_misses:
        require_titles(examples, report)
    experts = expert_trajectories(recipe, examples, policy.tokenizer, searcher, report)
    rollouts = Rollouts(policy, sampler, searcher, examples, recipe, report, experts)
    if policy.engine == "unsloth":
        by_unsloth.prepare(policy, beta=recipe.grpo.beta)
    try:
        trainer = build_trainer(
            GRPOTrainer,
            policy,
            reward_funcs=rollouts.reward,
            args=GRPOConfig(**_arguments(recipe, run, policy)),
            train_dataset=Dataset.from_list([{"prompt": str(number)} for number in order]),
            rollout_func=rollouts,
        )
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise version_error(policy.engine, f"its GRPO takes no {str(error).rpartition(' ')[-1]}") from error
    guard, whole = recipe.guard, trainer.compute_loss
    if policy.engine == "unsloth":
        guard = by_unsloth.watchable(guard, report)
        if recipe.grpo.loss_type == "bnpo":
            whole = by_unsloth.count_tokens_of_each_pass(trainer)
    elif not pack_grpo(trainer, policy, recipe):
        upstream.take_logits_in_chunks(trainer)
    if guard.enabled:
        trainer.add_callback(as_callback(Guard, policy, guard, report))
    same_kernels = policy.engine == "transformers" and not isinstance(sampler, vllm_sampler.VllmSampler)
    prove_first(trainer, whole, policy, rollouts, bound_of(policy) if same_kernels else OTHER_KERNELS, report)
    return trainer


def make_sampler(policy: Policy, recipe: Recipe, report: Report = ignore) -> Sampler:
    """Who samples the rollouts, by ``rollout.engine``: from softmax alone, and with log-probabilities.

    Raises:
        ModelError: vLLM is asked for and cannot be had.
    """
    rollout, temperature = recipe.rollout, recipe.grpo.temperature
    if rollout.engine == "vllm" or (rollout.engine == "auto" and vllm_sampler.available()):
        try:
            return vllm_sampler.VllmSampler(
                policy,
                temperature=temperature,
                max_length=rollout.max_length,
                batch_size=rollout.batch_size,
                gpu_share=rollout.gpu_share,
                report=report,
            )
        except ModelError as error:
            if rollout.engine == "vllm":
                raise
            report(Notice(f"{error.message}, so our own sampler makes the rollouts. {error.hint}", "warning"))
    return TransformersSampler(policy, temperature=temperature, batch_size=rollout.batch_size, logprobs=True)


def _arguments(recipe: Recipe, run: Run, policy: Policy) -> dict[str, Any]:
    shared, grpo = trainer_arguments(recipe, run, policy), recipe.grpo
    return shared | {
        "num_generations": grpo.group_size,
        "steps_per_generation": shared["gradient_accumulation_steps"],
        "num_iterations": grpo.iterations,
        "max_completion_length": recipe.rollout.max_length,
        "temperature": grpo.temperature,
        "beta": grpo.beta,
        **_clipping(grpo),
        "loss_type": "grpo" if grpo.loss_type == "gspo" else grpo.loss_type,
        "importance_sampling_level": "sequence" if grpo.loss_type in _OF_SEQUENCES else "token",
        "vllm_importance_sampling_correction": False,  # of TRL's own vLLM, which is not used
        "scale_rewards": "none" if grpo.loss_type == "dr_grpo" else "group",
        "shuffle_dataset": False,
        "mask_truncated_completions": False,
        "log_completions": False,
    }


def _clipping(grpo: GrpoConfig) -> dict[str, float]:
    """How far from 1 importance weights are clipped, below and above."""
    if grpo.loss_type == "gspo" and grpo.epsilon is None:
        return {"epsilon": 3e-4, "epsilon_high": 4e-4}
    epsilon = grpo.epsilon or 0.2
    # for cispo it is the weight itself that is cut, at what TRL recommends
    return {"epsilon": epsilon, "epsilon_high": 5.0 if grpo.loss_type == "cispo" else epsilon}
