"""How long a quickstart, or `learn`, will take: guessed before anything is measured, then by its own steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ragr1_lite.core.events import Notice, Report, StepFinished
from ragr1_lite.core.timing import Stages
from ragr1_lite.evaluation import Evaluation
from ragr1_lite.models import cpu_speed

SAMPLED, TRAINED = 85, 330
"""Tokens of a trajectory about the embedded world that the model writes, and all of them."""
GIVE_UP_AFTER = 10
"""Questions of which a model that is not trained yet may answer none before it is asked no more."""
COSTS = {"sampled": 0.4e9, "trained": 0.33e9}
"""Multiplications a token of SmolLM2 costs, at the speed of large products: a guess that the first steps replace."""


def token_seconds() -> dict[str, float] | None:
    """Seconds a token of each kind takes on this CPU, guessed from its speed; on a card nothing is known beforehand."""
    import torch

    if torch.cuda.is_available():
        return None
    cpu_speed.use_best_threads()
    speed = cpu_speed.product_speed()
    return {kind: cost / speed for kind, cost in COSTS.items()}


class TimeLeft(Stages):
    """Says how long the rest takes, before each stage and as soon as a training knows its own time.

    It passes on what a training reports.

    Args:
        work: By stage, in their order, the tokens of each of :data:`COSTS`, and other work that ``guess`` knows.
        report: Receives what a training reports, and notices of the time.
        size: How many times SmolLM2's weights the model has; None where that is not known.
        guess: Seconds per unit of other kinds of work.
    """

    def __init__(
        self,
        work: Mapping[str, Mapping[str, float]],
        report: Report,
        *,
        size: float | None = 1.0,
        guess: Mapping[str, float] = {},
    ) -> None:
        tokens = (size and token_seconds()) or {}
        super().__init__(work, {kind: seconds * (size or 0) for kind, seconds in tokens.items()} | dict(guess))
        self._report, self._known, self._said = report, False, ""

    def __call__(self, event: object) -> None:
        """Learns from an SFT step, and says once what a training's own estimate means for the whole."""
        self._report(event)
        if not isinstance(event, StepFinished):
            return
        if speed := event.metrics.get("tokens_per_second") if "reward" not in event.metrics else None:
            self.learn("trained", speed * event.metrics["seconds"], event.metrics["seconds"])
        if event.left and not self._known:
            self._known = True
            self.say(event.left)

    def learn_from(self, evaluation: Evaluation) -> None:
        """Learns how fast the model writes."""
        if evaluation.resources:
            tokens = sum(one.sampled_tokens for one in evaluation.trajectories)
            self.learn("sampled", tokens, evaluation.resources.seconds)

    @contextmanager
    def stage(self, name: str, seconds: dict[str, float], *, quick: bool = False) -> Iterator[None]:
        """A stage, whose wall time goes into ``seconds``; before a quick one nothing is said."""
        if not quick:
            self.say()
        self._known = False
        began = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - began
        self.end(name)

    def say(self, now: float | None = None) -> bool:
        """Says what is left, unless it was just said; ``now`` is left of the stage at work. False: it is not known."""
        text = self.left(now)
        if text and text != self._said:
            self._said = text
            self._report(Notice(f"{text[0].upper()}{text[1:]}."))
        return bool(text)
