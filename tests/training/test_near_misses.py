"""Groups without a right answer go on from the evidence that their best rollout had found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import CheckpointSaved, Notice, RolloutsFinished
from ragr1_lite.core.rewards import score
from ragr1_lite.core.types import Completion, Example, Passage, SampleRequest, Segment, Trajectory, Turn
from ragr1_lite.data.sets import require_titles
from ragr1_lite.models.loading import Policy
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import trainer
from ragr1_lite.training.grpo.places import Place, to_continue, up_to_evidence
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny
from tests.training.test_grpo import Watched, advantages, objective
from tests.training.test_grpo_rollouts import Step

NAMED = [replace(example, titles=(*example.answers, "Oman")) for example in tiny.EXAMPLES]
"""The questions, with the passages that hold their evidence."""

# --- which and from where ------------------------------------------------------------------------------------------


def rolled(*searches: str, answer: str = "wrong", titles: Sequence[str] = ("A", "B")) -> Trajectory:
    """One that searches for words one after the other, each found as a passage of its title, and then answers."""
    segments, turns = [Segment("prompt", (0,))], []
    for at, word in enumerate(searches, start=1):
        segments += [Segment("model", (at,)), Segment("env", (10 + at,))]
        turns.append(Turn("search", "t", (word,), passages=((Passage(word, word, "text"),),)))
    segments.append(Segment("model", (99,)))
    turns.append(Turn("answer", "t", answer=answer))
    return Trajectory(Example("1", "?", ("right",), titles=tuple(titles)), tuple(segments), tuple(turns), "answer")


def group_of(*trajectories: Trajectory) -> list[Place]:
    return [Place(one, score(one, {"em": 1.0})) for one in trajectories]


@pytest.mark.parametrize(
    ("searches", "kept"),
    [("A", 1), ("AB", 2), ("xAB", 3), ("AxB", 3), ("AxxB", 4), ("ABx", 2), ("AAxx", 1), ("xx", 0), ("", 0)],
)
def test_a_beginning_ends_where_all_was_found_that_it_finds(searches: str, kept: int) -> None:
    whole = rolled(*searches)
    begun = up_to_evidence(whole)
    assert begun.turns == whole.turns[:kept]
    assert begun.segments == whole.segments[: 1 + 2 * kept]
    assert [segment.source for segment in begun.segments][-1] == ("env" if kept else "prompt")


@pytest.mark.parametrize(
    ("group", "best"),
    [
        (["xx", "A", "xAB", "ABx"], 3),  # all of it, in the fewest turns
        (["xA", "Bx", "Ax", ""], 1),  # half of it; the first of equals
        (["", "x", "xA", "xx"], 2),
    ],
)
def test_the_best_near_miss_stays_and_the_last_others_go_on_from_it(group: list[str], best: int) -> None:
    trajectories = [rolled(*searches) for searches in group]
    begun = up_to_evidence(trajectories[best])
    others = [place for place in range(4) if place != best]
    for places in (1, 2, 3):
        assert to_continue(group_of(*trajectories), places) == dict.fromkeys(others[-places:], begun)


def test_experts_neither_count_nor_go() -> None:
    expert = replace(rolled("A", "B", answer="right"), expert=True)
    group = group_of(expert, rolled("A"), rolled(), rolled("x"))
    assert to_continue(group, 2) == dict.fromkeys((2, 3), up_to_evidence(rolled("A")))


def test_groups_that_need_none_or_have_none() -> None:
    assert to_continue(group_of(rolled("A", "B"), rolled("A", answer="right")), 1) == {}
    assert to_continue(group_of(rolled("x"), rolled()), 1) == {}
    assert to_continue(group_of(*[rolled("A", titles=())] * 2), 1) == {}


def test_questions_without_titles() -> None:
    events: list[object] = []
    with pytest.raises(DataError, match="no question names any"):
        require_titles(tiny.EXAMPLES)
    require_titles(NAMED, events.append)
    assert events == []
    require_titles([*NAMED, *tiny.EXAMPLES[:2]], events.append)
    (notice,) = events
    assert isinstance(notice, Notice) and notice.text.startswith("2 of 10 questions name no gold passages")


# --- in a batch ----------------------------------------------------------------------------------------------------


class Stubborn(tiny.Script):
    """Even rows search for their question's country and are wrong; what was asked before is answered rightly."""

    def __init__(self, tokenizer: Any, right: bool = True) -> None:
        super().__init__(tokenizer, lambda row, turn: "")
        self._right, self._asked = right, set[tuple[int, ...]]()

    def sample(self, requests: Sequence[SampleRequest], **options: Any) -> list[Completion]:
        said = super().sample(requests, **options)
        self._asked.update(tuple(request.token_ids) for request in requests)
        return said

    def knows(self, request: SampleRequest) -> bool:
        return self._right and tuple(request.token_ids) in self._asked

    def _complete(self, request: SampleRequest) -> Completion:
        text = self.tokenizer.decode(request.token_ids)
        name = next(name for name in tiny.COUNTRIES if name in text)
        begun = "</information>" in text
        if not begun and request.row % 2 == 0:
            text = f"<think>Search.</think><search>{name}</search>"
            return Completion(tuple(self.tokenizer.encode(text)), text, "stop", (-1.0,) * len(text))
        text = f"<think>So.</think><answer>{name if begun and self.knows(request) else 'Nowhere'}</answer>"
        ids = (*self.tokenizer.encode(text), self.tokenizer.eos_ids[0])
        return Completion(ids, text, "eos", (-1.0,) * len(ids))


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


@pytest.fixture(scope="module")
def policy(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return tiny.load(tiny.make_recipe("grpo", byte_model, tmp_path_factory.mktemp("policy") / "run"))


@pytest.fixture
def roll(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Step]:
    monkeypatch.setattr(tiny, "EXAMPLES", NAMED)

    def rolled(numbers: Sequence[int], *, right: bool = True, **options: Any) -> Step:
        sampler = Stubborn(policy.tokenizer, right)
        return Step(policy, tmp_path, numbers, (), sampler=sampler, **{"size": 4, "resample": 0} | options)

    return rolled


def test_a_group_goes_on_from_its_near_miss(roll: Any) -> None:
    """Row 0 finds the passage of Chad; of the others the last two go on behind it."""
    step = roll([0] * 4, continued=2)
    first, second, *continued = step.rollouts.trajectories
    assert step.rewards == [0, 0, 1, 1]
    assert [one.turns[:1] for one in continued] == [first.turns[:1]] * 2
    begun = tuple(token for segment in first.segments[:3] for token in segment.token_ids)
    assert first.segments[2].source == "env"
    for place in (2, 3):
        assert step.output["prompt_ids"][place] == list(begun)
        assert set(step.output["env_mask"][place]) == {1}, "what was sampled anew is trained, and nothing else"
        assert set(step.output["logprobs"][place]) == {-1.0}
    assert step.output["prompt_ids"][0] == step.output["prompt_ids"][1] == list(first.prompt_ids)


def test_figures_are_those_of_what_began_at_the_question(roll: Any) -> None:
    """Neither the continuations' rewards nor their tokens; groups are counted as they are trained."""
    step, plain = roll([0] * 4, continued=2), roll([0] * 4)
    ours, theirs = step.figures, plain.figures
    apart = {f"rollout/{name}" for name in ("dead", "signal", "tokens_per_second", "rollout_seconds")}
    assert {name: ours[name] for name in theirs if name not in apart} == {
        name: theirs[name] for name in theirs if name not in apart
    }
    assert (ours["rollout/em"], ours["rollout/continued"], ours["rollout/continued_reward"]) == (0, 2, 1)
    assert (ours["rollout/dead"], theirs["rollout/dead"]) == (0, 1)
    assert "rollout/continued" not in theirs


def test_what_no_continuation_saves_is_replaced_and_new_groups_go_on_as_well(roll: Any) -> None:
    kept = roll([0] * 4, continued=1, resample=1)
    assert kept.questions == ["Chad"] * 4 and kept.figures["rollout/resampled"] == 0
    replaced = roll([0] * 4, continued=1, resample=1, right=False)
    assert "Chad" not in replaced.questions
    assert (replaced.figures["rollout/resampled"], replaced.figures["rollout/continued"]) == (1, 1)


@pytest.mark.parametrize(("rank", "continued"), [(0, [3]), (1, [5])])
def test_a_process_continues_its_own_groups_alone(
    roll: Any, monkeypatch: pytest.MonkeyPatch, rank: int, continued: list[int]
) -> None:
    """Six rows in each of two processes, groups of four: the second group is spread over both."""
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: mine)
    numbers = [[0] * 4 + [1] * 2, [1] * 2 + [2] * 4][rank]
    step = roll(numbers, continued=1, place=(rank, 2))
    assert [place for place, reward in enumerate(step.rewards) if reward] == continued


# --- in a training -------------------------------------------------------------------------------------------------

SECTIONS: dict[str, Any] = {
    "train": {"steps": 4, "batch_size": 8, "max_grad_norm": 1e6, "learning_rate": 0.01, "save_every": 1},
    "grpo": {"group_size": 4, "continue_near_misses": 2},
    "reward": {"stages": {3: {"em": 1.0, "evidence": 0.5}}},
}


@pytest.mark.parametrize("micro_batch", [1, 8])
def test_the_beginning_is_not_trained(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int
) -> None:
    """The step's gradient is that of the plain objective over what was sampled anew."""
    monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: Silent(policy.tokenizer))
    train = SECTIONS["train"] | {"steps": 1, "micro_batch": micro_batch}
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run", **SECTIONS | {"train": train})
    watched = Watched(tiny.load(recipe), recipe, NAMED[:2])
    (line,) = watched.fit()
    assert line["continued"] == 4 and line["dead"] == 0
    trajectories = watched.trajectories
    rewards = [score(one, recipe.reward.weights).total for one in trajectories]
    assert rewards == [0, 0, 1, 1] * 2
    fresh = tiny.load(recipe)
    weights = [weight for weight in fresh.model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(objective(fresh, trajectories, advantages(rewards, 4)), weights)
    assert line["grad_norm"] == pytest.approx(float(torch.cat([one.flatten() for one in gradients]).norm()), rel=1e-3)


class Silent(Stubborn):
    """Gives no log-probabilities, which would be invented ones."""

    def _complete(self, request: SampleRequest) -> Completion:
        return replace(super()._complete(request), logprobs=())


class Drawing(Silent):
    """Whoever has searched is right by chance, as drawn by torch's random numbers, which a checkpoint keeps."""

    def knows(self, request: SampleRequest) -> bool:
        return bool(torch.rand(1) < 0.4)


def test_a_resumed_run_continues_the_same(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: Drawing(policy.tokenizer))

    def train(name: str, *, crash_at: int = 0, resume: bool = False) -> list[list[float]]:
        recipe = tiny.make_recipe("grpo", byte_model, tmp_path / name, **SECTIONS)
        run, earned = Run.start(recipe, resume=resume), []

        def report(event: object) -> None:
            if isinstance(event, RolloutsFinished):
                earned.append([reward.total for reward in event.rewards])
            if isinstance(event, CheckpointSaved) and event.step == crash_at:
                raise InterruptedError

        policy = tiny.load(recipe)
        fit(
            grpo.make_trainer(policy, NAMED, tiny.OnePassage(), recipe, run, report),
            policy,
            recipe,
            run,
            report,
            resume=resume,
        )
        return earned

    whole = train("whole")
    with pytest.raises(InterruptedError):
        train("cut", crash_at=2)
    assert train("cut", resume=True) == whole[2:]
    assert tiny.same_adapter(tmp_path / "whole" / "adapter", tmp_path / "cut" / "adapter")
    assert any("continued" in line for line in tiny.metrics_of(tmp_path / "cut")[2:])
