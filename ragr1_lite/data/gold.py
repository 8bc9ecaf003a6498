"""Gold trajectories: plans replayed through the rollout that models go through, with real retrieval results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragr1_lite.core.evidence import cut_away
from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Example, GoldPlan, SampleRequest, Searcher, Tokenizer, Trajectory


class PlanSampler:
    """A sampler that writes what its plans say, one plan per rollout, with an end token after each answer."""

    def __init__(self, tokenizer: Tokenizer, plans: Sequence[GoldPlan]) -> None:
        self.tokenizer = tokenizer
        self._plans = plans
        self._turn = [0] * len(plans)

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        """The next turn of each row's plan."""
        return [self._next(request.row) for request in requests]

    def _next(self, row: int) -> Completion:
        plan, turn = self._plans[row], self._turn[row]
        self._turn[row] += 1
        step = plan.steps[turn] if turn < len(plan.steps) else None
        text = render_turn(step.think, queries=step.queries) if step else render_turn(plan.think, answer=plan.answer)
        if not turn:  # the prompt has opened its thought
            text = text.removeprefix(self.tokenizer.opening.strip())
        ids = (*self.tokenizer.encode(text), *(() if step else self.tokenizer.eos_ids[:1]))
        return Completion(ids, text, "stop" if step else "eos")


class ByteTokenizer:
    """A tokenizer of UTF-8 bytes, for trajectories that are wanted as text only."""

    eos_ids = (256,)
    opening = ""

    def encode(self, text: str) -> list[int]:
        """The text's bytes."""
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of the bytes."""
        return bytes(token for token in token_ids if token < 256).decode(errors="replace")

    def render_chat(self, user: str) -> list[int]:
        """The message's bytes."""
        return self.encode(user)


def gold_trajectories(
    examples: Sequence[Example],
    plans: Sequence[GoldPlan],
    tokenizer: Tokenizer,
    searcher: Searcher,
    *,
    protocol: Protocol,
    limits: Limits,
) -> list[Trajectory]:
    """The trajectories of the examples and their plans that end in their answer, in order.

    Left out are those that break off (no room), those of which a search was not understood as planned, such as three
    queries where the protocol allows two, and those whose evidence the token budget cut away: their answer would rest
    on documents that the model never sees.
    """
    sampler = PlanSampler(tokenizer, plans)
    trajectories = run_rollouts(examples, sampler, searcher, protocol=protocol, limits=limits)
    return [one for one, plan in zip(trajectories, plans, strict=True) if _as_planned(one, plan)]


def _as_planned(trajectory: Trajectory, plan: GoldPlan) -> bool:
    queries = [len(turn.queries) for turn in trajectory.turns[-len(plan.steps) - 1 : -1]]
    answered = trajectory.stop_reason == "answer" and queries == [len(step.queries) for step in plan.steps]
    return answered and not cut_away(trajectory)
