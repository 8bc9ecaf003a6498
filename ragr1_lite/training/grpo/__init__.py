"""GRPO with retrieval: the model learns from the rewards of its own searches.

One step, as TRL 1.14.2 computes it here (``GRPOTrainer._generate_and_score_completions`` and ``_compute_loss``):

1. *Rollouts.* ``train.batch_size`` trajectories, ``grpo.group_size`` of each question. The model samples at
   ``grpo.temperature`` from its whole distribution; where it stops at a search, the passages are appended, and it goes
   on. (``rollouts.py``, :func:`~ragr1_lite.core.rollout.run_rollouts`)
2. *Rewards.* One number R a trajectory: the weighted parts of ``reward``, exact match of the answer by default;
   ``reward.stages`` has weights by step.
3. *Advantages.* A = (R - mean) / (std + 1e-4), over the group, with the sample standard deviation; ``dr_grpo`` leaves
   the division out. A group of equal rewards has A = 0 and teaches nothing; ``grpo.resample`` replaces it.
4. *Ratio.* The trainer computes log p of each completion token t again, by logits / temperature. With p_old the model
   that sampled, r_t = exp(log p_t - log p_old,t). With one update per batch of rollouts (``grpo.iterations`` 1) p_old
   is p itself without gradient: r_t is 1 and only its gradient counts. ``gspo`` and ``luspo`` take one r per sequence:
   the exponential of the mean of log p_t - log p_old,t over its trained tokens.
5. *Clipping.* l_t = -min(r_t A, clip(r_t, 1 - epsilon, 1 + epsilon) A); epsilon is 0.2, for ``gspo`` 3e-4 below and
   4e-4 above. ``cispo`` takes -min(r_t, 5) A log p_t with no gradient through the minimum; ``sapo`` and ``vespo``
   replace the clip by smooth weights.
6. *KL.* With q the starting policy (the SFT adapter, or the base model) and d_t = log q_t - log p_t,
   l_t += beta r_t (exp(d_t) - d_t - 1), an estimate of KL(p, q) that is never negative; r_t, though 1 at first, makes
   its gradient that of the KL. ``grpo.beta`` 0 leaves q out.
7. *Mask.* m_t is 1 where the model wrote the token and 0 where it was retrieved (``env_mask``) or is padding. Retrieved
   tokens are read, but they have no loss, no KL, no share in any mean below.
8. *Normalisation.* The sums over t are of m_t l_t; a micro-batch adds its share of the step's loss::

       dapo, cispo, vespo   sum over the step's tokens / their number: each token counts the same
       grpo, gspo, sapo     mean over trajectories of (sum / its number of tokens): each trajectory counts the same
       bnpo                 mean over micro-batches of (sum / the micro-batch's number of tokens)
       dr_grpo              sum / (trajectories x rollout.max_length)
       luspo                mean over trajectories of the sum, with r per sequence

9. *Update.* The gradients of all micro-batches, clipped to ``train.max_grad_norm``, make one AdamW step of the adapter.
   With ``grpo.iterations`` n the same rollouts serve n steps, and from the second on r_t differs from 1.

Before the first step ``proof.py`` shows on the real batch that steps 4, 6 and 7 do what is said here.

Options for few rollouts, in which a small model seldom finds a reward by itself:

*Expert rows* (``grpo.expert`` n, after LUFFY, arXiv 2504.14945). The first n places of a group are not sampled: they
are gold trajectories of its question (``data.expert``) in the tokens that SFT trains, and in steps 2 to 9 rows like any
other. They were not drawn from the policy, and of what wrote them no p_old is known. Here it is p without gradient, as
for the other rows: r_t begins at 1, and a row's gradient is A times that of its log-likelihood, SFT weighted by A.
(LUFFY sets p_old to 1, which weighs a token by its p, or shapes that by p / (p + 0.1).) The bias: this is not the
gradient of the expected reward; it pulls towards the expert however unlikely its tokens are, and ends only where all
of a group earn the same. To the sampled rows the expert is part of the baseline, which hangs on nothing they drew: no
bias, but where all of them fail, A is below 0 for each. Figures under ``rollout/`` are those of the sampled rows, with
``expert`` and ``expert_reward`` apart; ``signal`` and ``dead``, ``kl`` and ``entropy`` are those of all rows. The proof
compares log-probabilities of sampled rows alone.

*Continued near misses* (``grpo.continue_near_misses`` n). In a group in which no sampled answer is right, the rollout
that was shown most of the question's gold passages keeps its place, and the last n of the other sampled ones give
theirs to rollouts that go on behind the information by which it had seen them. What they go on from is their prompt: it
has no loss. The policy of this very step wrote it, so it could be trained; but it was chosen for what it led to, and
its log-likelihood times A would reward whatever else stands in it, n times. What follows it is sampled from the policy,
and its gradient is that of the reward expected from there on. The bias: where a continuation is right, the failed
rollouts of its group have A below 0, which they would not have in a group left alone. The figures under ``rollout/``
are those of the rollouts that began at the question, replaced ones included, with ``continued`` and
``continued_reward`` apart. ``grpo.resample`` replaces what has no signal even then. A group spread over two processes
is left as it is. In rewards, ``format``, ``shaped_format`` and ``length`` of a continuation are of what it wrote
itself; queries, rounds and evidence count from the question on.

::

    trainer.py     the whole stage: model, questions, run, and TRL's GRPOTrainer from a recipe
    rollouts.py    its rollout_func and its reward
    places.py      who has the places of a batch, near misses that a group goes on from, the figures of a step
    user_reward.py a reward of the user's own
    proof.py       what is shown before the first step
    guard.py       what is watched after each
    by_unsloth.py  what unsloth's trainer needs to be TRL's
"""

from ragr1_lite.training.grpo.trainer import make_trainer, questions_read, train

__all__ = ["make_trainer", "questions_read", "train"]
