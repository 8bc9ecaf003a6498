"""Format-learning SFT: whole gold trajectories, the loss on what the model writes, through TRL's SFTTrainer.

The paper trains on one sample per model turn, so that no target holds retrieved text. A trajectory's turns share their
prefix, so here a trajectory is one sequence and its loss mask picks the same targets: equal gradients, fewer tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ragr1_lite.config import Recipe
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.core.types import Trajectory
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.data.sets import training_material
from ragr1_lite.data.targets import categories
from ragr1_lite.files.alone import alone_at
from ragr1_lite.models import upstream
from ragr1_lite.models.adapter_folder import require_adapter
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.processes import is_main
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.training import held_out
from ragr1_lite.training.out_of_memory import fit_within_memory
from ragr1_lite.training.packed_pass import IGNORED, pack
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trackers import check_trackers
from ragr1_lite.training.trainer import (
    TrainResult,
    build_trainer,
    finished,
    import_in_order,
    load_trainable,
    trainer_arguments,
)


@alone_at("recipe.output", when=is_main)
def train(recipe: Recipe, *, resume: bool = False, overwrite: bool = False, report: Report = ignore) -> TrainResult:
    """Trains an adapter on gold trajectories.

    Raises:
        RagR1Error: A problem of recipe, data, model or disk.
        KeyboardInterrupt: After Ctrl-C; a checkpoint was written.
    """
    if resume and (result := finished(recipe, report)):
        return result
    import_in_order(recipe)
    check_trackers(recipe)
    require_adapter(recipe)
    encoded = training_material(recipe, report)  # what is wrong with data or index is said before the model is loaded
    questions = held_out.questions(recipe, report)
    searcher = open_searcher(recipe.retrieval.index, report) if questions else None
    run = Run.start(recipe, resume=resume, overwrite=overwrite)
    policy = load_trainable(recipe, run, report)
    trajectories = encoded(policy.tokenizer)
    if trajectories:  # else the trainer refuses
        _announce(trajectories, report)
    return fit_within_memory(
        lambda recipe: make_trainer(policy, trajectories, recipe, run),
        policy,
        recipe,
        run,
        report,
        resume=resume,
        questions=questions,
        searcher=searcher,
    )


def make_trainer(policy: Policy, trajectories: Sequence[Trajectory], recipe: Recipe, run: Run) -> Any:
    """TRL's SFTTrainer over ready ids and labels, in batches arranged by :func:`arrange`."""
    upstream.silence()
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    order = arrange(trajectories, recipe)
    arguments = trainer_arguments(recipe, run, policy) | {
        "train_sampling_strategy": "sequential",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        "pad_to_multiple_of": 32,  # few shapes keep the allocator from fragmenting
    }
    trainer = build_trainer(
        SFTTrainer,
        policy,
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list([to_features(trajectory) for trajectory in order]),
    )
    pack(trainer, policy)
    return trainer


def to_features(trajectory: Trajectory) -> dict[str, list[int]]:
    """Input ids and labels, each of the trajectory's length; labels are :data:`IGNORED` outside model segments.

    A trajectory of prompt ``[5, 6]``, model ``[7, 8]``, env ``[9]``, model ``[10]`` becomes labels
    ``[-100, -100, 7, 8, -100, 10]``.
    """
    ids = list(trajectory.token_ids)
    labels = [token if trained else IGNORED for token, trained in zip(ids, trajectory.loss_mask, strict=True)]
    return {"input_ids": ids, "labels": labels}


def arrange(trajectories: Sequence[Trajectory], recipe: Recipe) -> list[Trajectory]:
    """Orders ``steps x batch_size`` trajectories: scheduled into batches, each batch sorted by length.

    Neighbours in length share a micro-batch, which spares padding; the epochs differ in their shuffling.

    Raises:
        DataError: There is no trajectory, or the recipe's curriculum needs what the trajectories do not say.
    """
    batch, needed = recipe.train.batch_size, recipe.train.steps * recipe.train.batch_size
    drawn = schedule([one.example for one in trajectories], needed, recipe.train.seed, recipe.data)
    order = [trajectories[number] for number in drawn]
    batches = (order[start : start + batch] for start in range(0, needed, batch))
    return [trajectory for chunk in batches for trajectory in sorted(chunk, key=lambda one: len(one.token_ids))]


def _announce(trajectories: Sequence[Trajectory], report: Report) -> None:
    counts = Counter(label for trajectory in trajectories for label in categories(trajectory))
    tokens = sum(len(trajectory.token_ids) for trajectory in trajectories)
    trained = sum(trajectory.sampled_tokens for trajectory in trajectories)
    shares = ", ".join(f"({label}) {counts[label]}" for label in (1, 2, 3, 4))
    report(
        Notice(
            f"{len(trajectories)} trajectories, targets by the paper's categories: {shares}; "
            f"{tokens} tokens, {trained / tokens:.0%} of them trained."
        )
    )
