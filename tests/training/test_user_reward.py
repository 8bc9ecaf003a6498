"""A reward of the user's own: where its function is found, what it adds, and what is said when it does not work."""

from __future__ import annotations

import importlib
import io
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import RewardConfig
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.core.types import Example, Reward, Segment, Trajectory, Turn
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import trainer as trainer_module
from ragr1_lite.training.grpo.user_reward import UserReward, load_user_reward
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

ASKED = Example("q7", "Who?", ("Chad",), titles=("Chad",))
SAID = Trajectory(ASKED, (Segment("prompt", (1,)), Segment("model", (2, 3))), (Turn("answer", answer="x"),), "answer")
CODE = """
import statistics

scale = 2

def brevity(trajectory):
    return scale / trajectory.sampled_tokens

def reward(trajectory):
    return 1

def em(trajectory):
    return 0.5

def careless(trajectory):
    return len(trajectory.answer)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of the user's; what was imported from it is forgotten."""
    (tmp_path / "my_rewards.py").write_text(CODE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (file := getattr(sys.modules[name], "__file__", None)) and file.startswith(str(tmp_path)):
            del sys.modules[name]


def own(spec: str, weight: float = 1.0) -> UserReward:
    found = load_user_reward(RewardConfig(function=spec, function_weight=weight))
    assert found is not None
    return found


def test_a_function_of_the_working_directory_is_a_part_by_its_name() -> None:
    reward = own("my_rewards:brevity", 0.5).add_to(Reward(1.0, {"em": 1.0}), SAID)
    assert reward == Reward(1.5, {"em": 1.0, "brevity": 1.0})
    assert load_user_reward(RewardConfig()) is None


def test_a_function_of_an_installed_package() -> None:
    assert own("operator:truth").add_to(Reward(0.0), SAID) == Reward(1.0, {"truth": 1.0})


@pytest.mark.parametrize("name", ["reward", "em"])
def test_a_name_that_another_figure_has(name: str) -> None:
    reward = own(f"my_rewards:{name}").add_to(Reward(1.0, {"em": 1.0}), SAID)
    assert reward.parts.keys() == {"em", "function"}
    assert reward.parts["em"] == 1.0


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("my_rewards", "'my_rewards' is not of the form module:function"),
        ("my_rewards:", "is not of the form module:function"),
        ("../my_rewards.py:brevity", "is not of the form module:function"),
        ("no_such:brevity", "no module no_such in"),
        ("my_rewards.no_such:brevity", "my_rewards.no_such"),
        ("my_rewards:brevty", "brevty is not in .*my_rewards.py"),
        ("my_rewards:scale", "scale is no function"),
        ("broken:brevity", "the module broken cannot be imported: SyntaxError: "),
        ("needy:brevity", "the module needy cannot be imported: ModuleNotFoundError: No module named 'not_installed'"),
    ],
)
def test_what_cannot_be_imported(here: Path, spec: str, problem: str) -> None:
    (here / "broken.py").write_text("def brevity(:\n", encoding="utf-8")
    (here / "needy.py").write_text("import not_installed\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        own(spec)
    assert "reward.function" in caught.value.message and "\n" not in str(caught.value)


def with_function(function: Callable[[Trajectory], Any]) -> UserReward:
    return UserReward("mine:bonus", 1.0, function)


@pytest.mark.parametrize("value", [1, 1.0, True, torch.tensor(1.0), torch.tensor([1])])
def test_whatever_is_a_number_is_one(value: Any) -> None:
    assert with_function(lambda _: value).add_to(Reward(0.0), SAID).total == 1.0


@pytest.mark.parametrize("value", [None, "1", math.nan, math.inf, [1.0], torch.tensor([1.0, 2.0]), 1j])
def test_whatever_is_none_stops_before_training_and_in_it(value: Any) -> None:
    bonus = with_function(lambda _: value)
    with pytest.raises(ConfigError, match=r"mine:bonus (returns|raises) .* tried on a trajectory with an answer"):
        bonus.rehearse(ASKED)
    with pytest.raises(RunError, match=r"mine:bonus (returns|raises) .* on question q7.*--resume"):
        bonus.add_to(Reward(0.0), SAID)


def test_a_function_that_forgets_unanswered_trajectories_is_found_before_training() -> None:
    with pytest.raises(
        ConfigError, match=r"careless raises TypeError \(object of type 'NoneType' .* without an answer"
    ):
        own("my_rewards:careless").rehearse(ASKED)


def test_a_rehearsal_shows_a_question_of_the_training_set() -> None:
    seen: list[Trajectory] = []
    with_function(lambda one: seen.append(one) or 0.0).rehearse(ASKED)  # type: ignore[func-returns-value]
    assert [(one.example, one.answer, one.queries, one.sampled_tokens) for one in seen] == [
        (ASKED, "Chad", 1, 2),
        (ASKED, None, 1, 2),
    ]


def test_what_it_prints_is_seen_and_spoils_no_result(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As under the command line, which keeps stdout for results and discards what others print there."""
    code = "print('imported')\ndef loud(trajectory):\n    print('called')\n    return 1.0\n"
    (here / "loud_rewards.py").write_text(code, encoding="utf-8")
    with redirect_stdout(io.StringIO()) as discarded:
        own("loud_rewards:loud").add_to(Reward(0.0), SAID)
    assert discarded.getvalue() == ""
    assert capsys.readouterr() == ("", "imported\ncalled\n")


def test_a_module_of_the_working_directory_replaces_no_other(here: Path) -> None:
    (here / "colorsys.py").write_text("raise RuntimeError('not Python's own')\n", encoding="utf-8")
    own("my_rewards:brevity")
    sys.modules.pop("colorsys", None)
    assert importlib.import_module("colorsys").__file__ != str(here / "colorsys.py")
    assert sys.path[-1] == str(here)


def test_it_is_part_of_what_is_trained_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["<think>a</think><answer>Oman</answer>", "<think>a longer one</think><answer>Oman</answer>"]
    script = lambda policy, *_: tiny.Script(policy.tokenizer, lambda row, turn: texts[row % 2])  # noqa: E731
    monkeypatch.setattr(trainer_module, "make_sampler", script)
    model = tiny.save_byte_model(tmp_path / "tiny-byte")
    own_section = {"function": "my_rewards:brevity", "function_weight": 3.0, "em": 1.0}
    recipe = tiny.make_recipe("grpo", model, tmp_path / "run", train={"steps": 1}, reward=own_section)
    policy, run = tiny.load(recipe), Run.start(recipe)
    fit(
        grpo.make_trainer(policy, tiny.EXAMPLES[:2], tiny.OnePassage(), recipe, run),
        policy,
        recipe,
        run,
        lambda event: None,
        resume=False,
    )
    (line,) = tiny.metrics_of(recipe.output)
    expected = sum(2 / (len(text) + 1) for text in texts) / 2
    assert line["brevity"] == pytest.approx(expected, rel=1e-6)
    assert line["reward"] == pytest.approx(3 * expected, rel=1e-6)
    assert line["signal"] == 1.0
