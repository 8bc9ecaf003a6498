"""A reward of the user's own: ``reward.function: module:function``, from a trajectory to a number.

What the module and the function print goes to stderr: stdout is for results, and the command line discards what is
printed there by others.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

from ragr1_lite.config import RewardConfig
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.core.rewards import PARTS
from ragr1_lite.core.types import Example, Reward, Segment, Trajectory, Turn

_TAKEN = frozenset(
    (
        *PARTS,
        *"reward signal dead resampled invalid rounds queries tokens tokens_per_second rollout_seconds".split(),
        *"expert expert_reward continued continued_reward trained".split(),
        *"loss grad_norm lr kl entropy memory_gb seconds".split(),
    )
)
"""Names of other figures of a step."""


@dataclass(frozen=True, slots=True)
class UserReward:
    """A function that takes part in the reward."""

    spec: str  # as it stands in the recipe
    weight: float  # what it is multiplied by
    function: Callable[[Trajectory], Any]  # the function

    @property
    def name(self) -> str:
        """Its part's name: the function's, or ``function`` where that is another figure's."""
        name = self.spec.partition(":")[2]
        return "function" if name in _TAKEN else name

    def add_to(self, reward: Reward, trajectory: Trajectory) -> Reward:
        """The reward with this part.

        Raises:
            RunError: The function raises, or what it returns is no finite number.
        """
        try:
            value = self._value(trajectory)
        except ValueError as error:
            where = f"on question {trajectory.example.id}"
            raise RunError(f"{error} {where}", "Correct the function and go on with --resume.") from error
        return Reward(reward.total + self.weight * value, reward.parts | {self.name: value})

    def rehearse(self, example: Example) -> None:
        """Calls the function as training will, on a trajectory with the right answer and one without any.

        Raises:
            ConfigError: It raises, or what it returns is no finite number.
        """
        search = Turn("search", "?", (example.question,), passages=((),))
        answer = Turn("answer", "?", answer=next(iter(example.answers), ""))
        begun = (Segment("prompt", (0,)), Segment("model", (0,)), Segment("env", (0,)), Segment("model", (0,)))
        for trial in (
            Trajectory(example, begun, (search, answer), "answer"),
            Trajectory(example, begun, (search, Turn("invalid")), "invalid"),
        ):
            try:
                self._value(trial)
            except ValueError as error:
                raise ConfigError(
                    f"{error} when it is tried on a trajectory {'with' if trial.answer else 'without'} an answer",
                    "It gets every Trajectory, unanswered ones as well, and returns a number.",
                ) from error

    def _value(self, trajectory: Trajectory) -> float:
        """What the function says; raises ValueError where it fails or that is no finite number."""
        try:
            with redirect_stdout(sys.stderr):
                value = self.function(trajectory)
            number = float(value) if isinstance(value, SupportsFloat) else math.nan
        except Exception as raised:  # whatever the user's code raises
            text = " ".join(str(raised).split())[:200]
            why = f"raises {type(raised).__name__}" + (f" ({text})" if text else "")
            raise ValueError(f"reward.function {self.spec} {why}") from raised
        if not math.isfinite(number):
            raise ValueError(f"reward.function {self.spec} returns {value!r:.80}, no finite number,")
        return number


def load_user_reward(config: RewardConfig) -> UserReward | None:
    """Imports the function that a recipe names, from what is installed or else from the working directory.

    Raises:
        ConfigError: There is no such module or function, or the module cannot be imported.
    """
    if config.function is None:
        return None
    module_name, colon, name = config.function.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise ConfigError(
            f"reward.function {config.function!r} is not of the form module:function",
            "Write it like my_rewards:brevity, for brevity in my_rewards.py.",
        )
    module = _module(module_name)
    function = getattr(module, name, None)
    if not callable(function):
        found = "is no function" if hasattr(module, name) else f"is not in {getattr(module, '__file__', module_name)}"
        raise ConfigError(f"reward.function {config.function}: {name} {found}", "Name a function of the module.")
    return UserReward(config.function, config.function_weight, function)


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.append(here)  # last, or a random.py there would replace Python's own for every package
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"reward.function: there is no module {error.name} in {here} or among the installed ones",
                "Run in the folder of its file, or install it.",
            ) from None
        raise ConfigError(
            f"reward.function: the module {name} cannot be imported: {type(error).__name__}: {error}",
            "Correct it, or install what it needs.",
        ) from error
