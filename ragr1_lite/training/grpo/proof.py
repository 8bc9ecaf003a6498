"""What GRPO rests on, shown on the first micro-batch, before the first optimizer step.

TRL, transformers and unsloth change from version to version, and a version that ignores a hook or a mask says
nothing: it trains retrieved text, or other tokens than were sampled. So the trainer's first ``compute_loss`` is
preceded by calls of our own, which use nothing else of the trainer and hold for unsloth's as well:

- with every token masked, the adapter's gradient is exactly zero;
- with the rollouts' mask it is not, and nothing but the adapter has one;
- with that mask inverted it is not either, where the environment wrote something: the mask is what decides.

In the second call the sampler's log-probabilities stand in for the reference's, so that the KL which the trainer
reports is the distance between sampler and trainer. For small differences d that estimate is d²/2, and the root of
twice its mean is their root mean square. A masked token that took part would weigh tens of nats in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ragr1_lite.core.errors import RunError
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy
from ragr1_lite.models.processes import anywhere
from ragr1_lite.training.grpo.rollouts import Rollouts, version_error

Bound = tuple[float, float]
BOUNDS: dict[str, Bound] = {"fp32": (0.002, 0.0005), "bf16": (0.05, 0.02), "fp16": (0.05, 0.02), "nf4": (0.08, 0.02)}
"""How far sampler and trainer may be apart, by precision: nats, and a share of how unlikely the sampled tokens were,
both as root mean squares. They follow from what was measured, see docs/training.md; fp16, which was not, has bf16's."""
OTHER_KERNELS: Bound = (0.1, 0.05)  # the same where others sample than train: vLLM, or unsloth's own forward
_UNLIKELY = -30.0  # stands where nothing was sampled: whatever is compared with it is tens of nats away


def bound_of(policy: Policy) -> Bound:
    """How far transformers may sample and train apart: 4 bits computed in fp32 no further than fp32 itself."""
    return BOUNDS["fp32" if policy.compute == "fp32" else policy.dtype]


def prove_first(
    trainer: Any, whole: Callable[..., Any], policy: Policy, rollouts: Rollouts, bound: Bound, report: Report
) -> None:
    """Lets a trainer prove itself before its first optimizer step; a resumed one does so again.

    Under DeepSpeed and FSDP, where gradients are not where they are looked for, nothing is proved, which is reported.

    Args:
        trainer: Its ``compute_loss`` is replaced by one that proves first.
        whole: The trainer's own ``compute_loss``, which leaves out nothing.
        policy: What is trained.
        rollouts: What it is trained on.
        bound: How far sampler and trainer may be apart, see :data:`BOUNDS`.
        report: Receives what was shown.

    Raises:
        RunError: From ``trainer.train``, where something is not as it must be.
    """
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        report(Notice("Masks and gradients are not proved beforehand under DeepSpeed and FSDP", "warning"))
        return
    trainer.compute_loss = _Proof(trainer, whole, policy, rollouts, bound, report)


@dataclass
class _Proof:
    """The trainer's ``compute_loss`` once it has proved itself; see :func:`prove_first`."""

    trainer: Any
    whole: Callable[..., Any]
    policy: Policy
    rollouts: Rollouts
    bound: Bound
    report: Report

    def __post_init__(self) -> None:
        self._compute_loss, self._proved = self.trainer.compute_loss, False

    def __call__(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        if not self._proved:
            self._proved = self._prove(model, inputs)
        return self._compute_loss(model, inputs, *args, **options)

    def _prove(self, model: Any, inputs: dict[str, Any]) -> bool:
        """Proves by this micro-batch; one in which the model wrote nothing moves nothing, and is left to the next."""
        sampled, mask = self._match(inputs)
        written = int((inputs["completion_mask"] * mask).sum())
        retrieved = int((inputs["completion_mask"] * (1 - inputs["tool_mask"])).sum())
        if anywhere(not written):  # several processes count together, so each computes as often as the others
            return False
        with _left_as_it_was(self.trainer, self.policy):
            if self._gradient(model, inputs, torch.zeros_like(mask)):
                raise self._error("masked tokens are trained")
            moving = self._gradient(model, inputs, mask, sampled)
            if not moving:
                raise self._error("what the model wrote has no gradient")
            distance = self._distance(sampled)
            if not anywhere(not retrieved) and not self._gradient(model, inputs, 1 - inputs["tool_mask"]):
                raise self._error("the mask does not decide what is trained")
        self.report(Notice(_summary(written, retrieved, distance, len(moving))))
        return True

    def _match(self, inputs: dict[str, Any]) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Finds every row among the rollouts, its mask theirs.

        Returns:
            The sampler's log-probabilities, ``(rows, completion)``, None where it gives none; and the rows' masks,
            without the expert's rows, which no sampler wrote.
        """
        trajectories = self.rollouts.trajectories
        if not trajectories:
            raise self._error("rollout_func is never called")
        if "tool_mask" not in inputs:
            raise self._error("the mask of what the environment wrote is dropped")
        handed = self.rollouts.handed()
        rows = _by_ids_and_mask(handed, [one.expert for one in trajectories])
        known = {ids for ids, _ in rows}
        sampled = torch.full_like(inputs["tool_mask"], _UNLIKELY, dtype=torch.float32)
        written = inputs["tool_mask"].clone()
        for i, real in enumerate(inputs["completion_mask"].bool()):
            prompt = inputs["prompt_ids"][i][inputs["prompt_mask"][i].bool()]
            ids = (*prompt.tolist(), *inputs["completion_ids"][i][real].tolist())
            mask = tuple(inputs["tool_mask"][i][real].tolist())
            if ids not in known:
                raise self._error("other tokens are trained than those of the rollouts")
            if (ids, mask) not in rows:
                raise self._error("other tokens are masked than those that the environment wrote")
            logprobs, expert = rows[ids, mask]
            if expert:
                written[i] = 0
            elif logprobs is not None:
                own = torch.tensor(logprobs).masked_fill(torch.tensor(mask) == 0, _UNLIKELY)
                sampled[i, real] = own.to(sampled)
        return None if handed["logprobs"] is None else sampled, written

    def _gradient(
        self, model: Any, inputs: dict[str, Any], mask: torch.Tensor, reference: torch.Tensor | None = None
    ) -> list[str]:
        """Names of the weights whose gradient is not zero when every advantage is 1.

        Raises:
            RunError: A weight other than the adapter's has a gradient, or one of the adapter's has none.
        """
        changed = {"tool_mask": mask, "advantages": torch.ones_like(inputs["advantages"])}
        beta = self.trainer.beta
        if reference is not None:
            changed["ref_per_token_logps"] = self._in_place(reference, inputs["prompt_mask"])
            self.trainer.beta = beta or 1.0
        with self.trainer.accelerator.no_sync(model):
            loss = self.whole(model, inputs | changed)
            with torch.autocast(self.policy.device, enabled=False):
                self.trainer.accelerator.backward(loss)  # scaled where fp16 is
        self.trainer.beta = beta
        weights = dict(self.policy.model.named_parameters())
        for name, weight in weights.items():
            if weight.grad is not None and not upstream.of_adapter(name):
                raise self._error(f"{name} would be trained next to the adapter")
            if weight.grad is None and weight.requires_grad:
                raise self._error(f"{name} of the adapter gets no gradient")
        found = [name for name, weight in weights.items() if weight.grad is not None and weight.grad.any()]
        self.policy.model.zero_grad()
        return found

    def _in_place(self, values: torch.Tensor, prompt_mask: torch.Tensor) -> torch.Tensor:
        """Values of the completions where the trainer looks for them: unsloth moves all padding to the right."""
        if self.policy.engine != "unsloth":
            return values
        padding = (prompt_mask == 0).sum(1)
        moved = values.new_full((len(values), int(padding.max()) + values.shape[1]), _UNLIKELY)
        for row, value, begin in zip(moved, values, padding.max() - padding, strict=True):
            row[begin : begin + len(value)] = value
        return moved

    def _distance(self, sampled: torch.Tensor | None) -> float | None:
        """How far the sampler's log-probabilities are from the trainer's, in nats, after a pass that compared them."""
        if sampled is None:
            return None
        distance = math.sqrt(2 * max(upstream.last_kl(self.trainer), 0.0))
        nats, share = self.bound
        allowed = nats + share * float(sampled[sampled != _UNLIKELY].square().mean().sqrt())
        if not distance <= allowed:
            raise self._error(
                f"sampler and trainer differ by {distance:.3g} nats a token, rounding by no more than {allowed:.3g}"
            )
        return distance

    def _error(self, problem: str) -> RunError:
        return version_error(self.policy.engine, problem)


def _by_ids_and_mask(
    handed: dict[str, Any], experts: Sequence[bool]
) -> dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[list[float] | None, bool]]:
    """What was handed to the trainer, by the ids of prompt and completion and by the mask.

    That is the log-probabilities, and whether the row is the expert's.
    """
    logprobs = handed["logprobs"] or [None] * len(experts)
    rows = zip(handed["prompt_ids"], handed["completion_ids"], handed["env_mask"], logprobs, experts, strict=True)
    return {((*prompt, *own), tuple(mask)): (given, expert) for prompt, own, mask, given, expert in rows}


@contextmanager
def _left_as_it_was(trainer: Any, policy: Policy) -> Iterator[None]:
    """Takes out dropout, which the sampler has not; puts it back, random numbers, figures and beta as well.

    So are gradients: passes of the expert's rows alone may have gone before.
    """
    beta = trainer.beta
    gradients = [(weight, weight.grad) for weight in policy.model.parameters() if weight.grad is not None]
    dropouts = [(module, module.p) for module in policy.model.modules() if isinstance(module, torch.nn.Dropout)]
    try:
        devices = [torch.cuda.current_device()] if policy.device == "cuda" else []
        with torch.random.fork_rng(devices=devices), upstream.metrics_kept(trainer):
            policy.model.zero_grad()  # sets them to none
            for module, _ in dropouts:
                module.p = 0.0
            yield
    finally:
        trainer.beta = beta
        for module, share in dropouts:
            module.p = share
        for weight, gradient in gradients:
            weight.grad = gradient


def _summary(written: int, retrieved: int, distance: float | None, weights: int) -> str:
    masked = f"{retrieved} of the environment none" if retrieved else "none of the environment is among them"
    compared = "the sampler gave no log-probabilities to compare"
    if distance is not None:
        compared = f"sampler and trainer differ by {distance:.4f} nats a token"
    return (
        f"Proved before the first step: rollout_func was called; {written} tokens of the model have gradient, "
        f"{masked}; {compared}; {weights} weights move, all of the adapter"
    )
