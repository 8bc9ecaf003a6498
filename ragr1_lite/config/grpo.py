"""What a recipe may say of GRPO: its groups, its guard and its reward."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from ragr1_lite.config.section import Section

RewardPart = Literal["em", "f1", "cover_em", "evidence", "format", "shaped_format", "length", "retrieval"]


class GrpoConfig(Section):
    """Group-relative policy optimization (TRL's), as far as this project sets it."""

    group_size: int = Field(8, ge=2)
    """Rollouts per question."""
    temperature: float = Field(1.0, gt=0)
    """Of the rollouts; no top-p or top-k, so that sampling and training distributions agree."""
    beta: float = Field(0.001, ge=0)
    """Weight of the KL to the starting policy."""
    loss_type: Literal["dapo", "grpo", "gspo", "bnpo", "dr_grpo", "cispo", "luspo", "sapo", "vespo"] = "dapo"
    """TRL's losses by their names; ``gspo`` is ``grpo`` with one importance weight per sequence."""
    epsilon: float | None = Field(None, gt=0)
    """How far an importance weight may be from 1 before it is clipped. By default 0.2; for ``gspo``, whose weights are
    those of whole sequences, 3e-4 below and 4e-4 above, as its authors (arXiv 2507.18071) have it."""
    iterations: int = Field(1, ge=1)
    """Updates per batch of rollouts."""
    resample: int = Field(0, ge=0)
    """How often groups whose rollouts all earned the same are replaced by those of other questions."""
    expert: int = Field(0, ge=0)
    """Of each group so many are not sampled: gold trajectories of the question, from ``data.expert``."""
    continue_near_misses: int = Field(0, ge=0)
    """Of a group without a right answer, so many rollouts are replaced by others that go on from where the one that was
    shown most gold passages had seen them. The questions must name their gold passages."""


class GuardConfig(Section):
    """What ends a collapse.

    A breach warns; one that lasts rolls back to the last good adapter at half the learning rate, once.
    """

    enabled: bool = True
    patience: int = Field(3, ge=1)
    """Steps in a row with a breach before the roll-back."""
    min_entropy: float = Field(0.0, ge=0)
    """Nats per token. 0: not watched, since a model that is sure of its format is near 0."""
    max_kl: float = Field(1.0, gt=0)
    """Nats per token from the starting policy; measured where ``grpo.beta`` is above 0."""
    max_length_growth: float = Field(3.0, gt=1)
    """Sampled tokens per rollout over those of the first steps."""
    max_invalid: float = Field(0.5, gt=0, le=1)
    """Share of rollouts that end in no usable turn, above what it was in the first steps."""
    max_dead: float = Field(1.0, gt=0, le=1)
    """Share of groups without signal."""


class RewardConfig(Section):
    """Weights of the reward's parts; the paper's reward is exact match alone."""

    em: float = 1.0
    f1: float = 0.0
    cover_em: float = 0.0
    """1 where an accepted answer stands inside the answer."""
    evidence: float = 0.0
    """Share of the gold passages that the model was shown, where the questions name them."""
    format: float = 0.0
    """1 for a well-formed trajectory."""
    shaped_format: float = 0.0
    """Share of well-formed turns, for cold starts."""
    length: float = 0.0
    """Per 100 sampled tokens; negative to shorten."""
    retrieval: float = 0.0
    """Per query; negative to spare searches."""
    function: str | None = None
    """A reward of your own, ``module:function``, from a trajectory to a number; the module is imported."""
    function_weight: float = 1.0
    stages: dict[Annotated[int, Field(ge=0)], dict[RewardPart, float]] = {}
    """After so many steps, these weights in place of all above: a part that a stage does not name weighs nothing in it,
    such as ``{0: {em: 1, evidence: 0.5}, 30: {em: 1}}``. The weight of a function of your own stays."""

    @property
    def weights(self) -> dict[str, float]:
        """Weights by the names of the parts, before the first stage."""
        return {name: getattr(self, name) for name in get_args(RewardPart)}

    def weights_at(self, step: int) -> dict[str, float]:
        """Weights by the names of the parts after so many steps."""
        begun = [first for first in self.stages if first <= step]
        return (
            {name: self.stages[max(begun)].get(name, 0.0) for name in get_args(RewardPart)} if begun else self.weights
        )
