"""The stage as a whole: from a recipe to a trained adapter."""

from __future__ import annotations

from ragr1_lite.config import WORLD, Recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.data.sets import load_examples, require_expert
from ragr1_lite.data.unanswerable import hide_some
from ragr1_lite.files.alone import alone_at
from ragr1_lite.models.adapter_folder import require_adapter
from ragr1_lite.models.processes import is_main
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.training import held_out
from ragr1_lite.training.grpo.trainer import make_sampler, make_trainer
from ragr1_lite.training.grpo.user_reward import load_user_reward
from ragr1_lite.training.out_of_memory import fit_within_memory
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import check_trackers
from ragr1_lite.training.trainer import TrainResult, finished, import_in_order, load_trainable


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
    examples = hide_some(examples, recipe.data.train, recipe.data.unanswerable, recipe.train.seed)
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
        callbacks=held_out.callbacks(questions, policy, recipe, run, report, searcher),
    )


def questions_read(recipe: Recipe) -> int | None:
    """How many questions are loaded: no more than training meets, unless weights are to choose among a file's."""
    weighted = recipe.data.weights != "even" and recipe.data.train != WORLD
    return recipe.data.limit or (None if weighted else recipe.groups_needed * (1 + recipe.grpo.resample))
