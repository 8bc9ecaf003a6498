"""Retrieval-augmented RL: our rollouts inside TRL's GRPOTrainer.

TRL repeats each prompt ``group_size`` times and hands the batch to ``rollout_func``; what comes back are the ids
exactly as sampled and retrieved, and an ``env_mask`` by which retrieved tokens carry no loss, no KL and no share of the
token count.

::

    stage.py       the whole stage: model, questions, trainer, run
    trainer.py     TRL's GRPOTrainer from a recipe
    rollouts.py    its rollout_func and its reward
    user_reward.py a reward of the user's own
    proof.py       what is shown before the first step
    guard.py       what is watched after each
"""

from ragr1_lite.training.grpo.stage import questions_read, train
from ragr1_lite.training.grpo.trainer import make_trainer

__all__ = ["make_trainer", "questions_read", "train"]
