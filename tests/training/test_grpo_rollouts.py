"""A step's rollouts as the trainer gets them: log-probabilities, figures, and groups without signal replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.config import Recipe, RewardConfig
from ragr1_lite.core.events import CheckpointSaved, PhaseAdvanced, PhaseFinished, PhaseStarted, RolloutsFinished
from ragr1_lite.core.types import Completion, Example, Reward, Sampler, SampleRequest, Segment, Trajectory, Turn
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.models.loading import Policy
from ragr1_lite.training import grpo
from ragr1_lite.training.grpo import trainer as trainer_module
from ragr1_lite.training.grpo.places import Place, describe, row_of
from ragr1_lite.training.grpo.rollouts import Rollouts, to_trl
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

SEARCHED = Turn("search", "t", ("q", "r"), passages=((), ()))
ANSWERED = Turn("answer", "t", answer="a")
ASKED = Example("1", "?", ("a",))


def two_turns(*logprobs: tuple[float, ...]) -> Trajectory:
    """A search and an answer, of 3 sampled tokens; with the log-probabilities of each turn where they are given."""
    first, second = logprobs or ((), ())
    segments = (
        Segment("prompt", (5, 6)),
        Segment("model", (7, 8), first),
        Segment("env", (9,)),
        Segment("model", (10,), second),
    )
    return Trajectory(ASKED, segments, (SEARCHED, ANSWERED), "answer")


UNBEGUN = Trajectory(ASKED, (Segment("prompt", (5,)),), (), "context")


def test_trajectories_in_the_trainers_form() -> None:
    assert to_trl([two_turns(), UNBEGUN], eos_id=3) == {
        "prompt_ids": [[5, 6], [5]],
        "completion_ids": [[7, 8, 9, 10], [3]],
        "env_mask": [[1, 1, 0, 1], [0]],
        "logprobs": None,
    }


def test_log_probabilities_are_handed_over_where_every_sampled_token_has_one() -> None:
    reported = two_turns((-0.5, -0.25), (-1.0,))
    assert to_trl([reported, UNBEGUN], eos_id=3)["logprobs"] == [[-0.5, -0.25, 0.0, -1.0], [0.0]]
    for lacking in (two_turns(), two_turns((-0.5, -0.25), ()), two_turns((-0.5,), (-1.0,))):
        assert to_trl([reported, lacking], eos_id=3)["logprobs"] is None


def test_a_rollout_that_drew_the_padding_is_not_trained_where_padding_is_told_by_its_token() -> None:
    assert to_trl([two_turns(), UNBEGUN], eos_id=3, padding=8)["env_mask"] == [[0, 0, 0, 0], [0]]
    assert to_trl([two_turns(), UNBEGUN], eos_id=3, padding=4)["env_mask"] == [[1, 1, 0, 1], [0]]


def test_figures_are_means_over_those_that_have_them() -> None:
    rewards = [
        Reward(1.0, {"em": 1.0, "evidence": 0.5}),
        Reward(0.0, {"em": 0.0}),
        Reward(0.5, {"em": 0.0, "evidence": 0.25}),
        Reward(0.5, {"em": 0.0, "reward": 9.0}),
    ]
    rolled = [two_turns(), UNBEGUN, two_turns(), two_turns()]
    assert describe([row_of(Place(*pair)) for pair in zip(rolled, rewards, strict=True)], group_size=2) == {
        "reward": 0.5,
        "em": 0.25,
        "evidence": 0.375,
        "signal": 0.5,
        "dead": 0.5,
        "invalid": 0.25,
        "rounds": 0.75,
        "queries": 1.5,
        "tokens": 2.25,
    }


# --- groups without signal -----------------------------------------------------------------------------------------

NAMES = tiny.COUNTRIES


class Knowing(tiny.Script):
    """Every other rollout is right on the questions of some countries; on the others each is wrong."""

    def __init__(self, tokenizer: Any, known: Collection[str]) -> None:
        super().__init__(tokenizer, lambda row, turn: "")
        self._known = known

    def _complete(self, request: SampleRequest) -> Completion:
        asked = self.tokenizer.decode(request.token_ids)
        name = next(name for name in NAMES if name in asked)
        answer = name if name in self._known and request.row % 2 else "Oman"
        text = f"<think>{name}</think><answer>{answer}</answer>"
        return Completion((*self.tokenizer.encode(text), self.tokenizer.eos_ids[0]), text, "eos")


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


def recipe_of(model: Path, output: Path, **grpo: Any) -> Recipe:
    """Four steps of two groups; where ``grpo`` has an expert, it is that of ``gold.jsonl`` next to the run."""
    train = {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "save_every": 1}
    data = {"expert": str(output.parent / "gold.jsonl")}
    return tiny.make_recipe("grpo", model, output, train=train, grpo={"beta": 0.0} | grpo, data=data)


@pytest.fixture(scope="module")
def policy(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return tiny.load(recipe_of(byte_model, tmp_path_factory.mktemp("policy") / "run", resample=0))


class Step:
    """One batch of rollouts, as the trainer asks for it.

    Args:
        numbers: The questions of the batch, each repeated for its group of two.
        known: Countries whose questions have signal.
        resample: How often groups without are replaced.
        step: The trainer's step.
        place: The process's number, and how many there are.
        size: Rollouts of a group.
        experts: Gold trajectories of each question.
        sampler: In place of the one that knows some countries.
        continued: Rollouts of a group that go on from its near miss.
        stages: The reward's weights by step.
    """

    def __init__(
        self,
        policy: Policy,
        folder: Path,
        numbers: Sequence[int],
        known: Collection[str],
        *,
        resample: int,
        step: int = 0,
        place: tuple[int, int] = (0, 1),
        size: int = 2,
        experts: Sequence[Sequence[Trajectory]] = (),
        sampler: Sampler | None = None,
        continued: int = 0,
        stages: Mapping[int, Mapping[str, float]] = {},
    ) -> None:
        recipe = recipe_of(Path(policy.spec.name), folder / "run", resample=resample)
        update = {"group_size": size, "continue_near_misses": continued}
        reward = RewardConfig.model_validate({"stages": stages})
        recipe = recipe.model_copy(update={"grpo": recipe.grpo.model_copy(update=update), "reward": reward})
        self.events: list[object] = []
        sampler = sampler or Knowing(policy.tokenizer, known)
        self.rollouts = Rollouts(policy, sampler, tiny.OnePassage(), tiny.EXAMPLES, recipe, self.events.append, experts)
        accelerator = SimpleNamespace(process_index=place[0], num_processes=place[1])
        state = SimpleNamespace(global_step=step)
        trainer = SimpleNamespace(model_wrapped=policy.model, accelerator=accelerator, state=state)
        with pytest.MonkeyPatch.context() as alone:
            alone.setattr("trl.trainer.grpo_trainer.unwrap_model_for_generation", lambda *_: nullcontext())
            self.output = self.rollouts([str(number) for number in numbers], trainer)
        self.figures: dict[str, float] = {}
        self.rewards = self.rollouts.reward(
            total_reward=self.output["total_reward"], log_metric=self.figures.__setitem__
        )

    @property
    def questions(self) -> list[str]:
        """The country of each row's question."""
        return [one.example.answers[0] for one in self.rollouts.trajectories]


@pytest.fixture
def roll(policy: Policy, tmp_path: Path) -> Any:
    return lambda *args, **options: Step(policy, tmp_path, *args, **options)


PAIR = [0, 0, 1, 1]
"""A batch of two groups: Chad and Mali."""


def test_nothing_is_replaced_unless_asked_for(roll: Any) -> None:
    step = roll(PAIR, {"Mali"}, resample=0)
    assert step.questions == ["Chad", "Chad", "Mali", "Mali"]
    assert step.rewards == [0.0, 0.0, 0.0, 1.0]
    assert (step.figures["rollout/dead"], step.figures["rollout/signal"]) == (0.5, 0.5)
    assert step.figures["rollout/resampled"] == 0.0
    assert step.figures["rollout/tokens_per_second"] > 0 and step.figures["rollout/rollout_seconds"] > 0
    tokens = sum(sum(mask) for mask in step.output["env_mask"])
    speed = step.figures["rollout/tokens_per_second"] * step.figures["rollout/rollout_seconds"]
    assert speed == pytest.approx(tokens)


def test_a_group_without_signal_gives_way_to_another_question(roll: Any) -> None:
    others = set(NAMES) - {"Chad"}
    step = roll(PAIR, others, resample=1)
    assert step.questions[2:] == ["Mali", "Mali"], "a group with signal stays"
    new, again = step.questions[:2]
    assert new == again and new not in ("Chad", "Mali")
    assert (step.figures["rollout/dead"], step.figures["rollout/resampled"]) == (0.0, 1.0)
    assert len(step.output["completion_ids"]) == len(step.rewards) == 4
    assert step.rewards == [0.0, 1.0, 0.0, 1.0]
    prompt = step.rollouts._policy.tokenizer.decode(step.output["prompt_ids"][0])
    assert new in prompt, "the trainer gets the new question's tokens"


def test_the_draw_hangs_on_the_step_alone(roll: Any) -> None:
    def drawn(step: int) -> list[str]:
        questions: list[str] = roll(PAIR, (), resample=2, step=step).questions
        return questions

    assert drawn(3) == drawn(3)
    assert len({tuple(drawn(step)) for step in range(6)}) > 1


@pytest.mark.parametrize(("resample", "phases"), [(1, 2), (2, 3), (9, 4)])
def test_it_is_tried_no_more_often_than_asked_for_and_never_twice_with_a_question(
    roll: Any, resample: int, phases: int
) -> None:
    """Eight questions, two of them in the batch: after three tries there is no other."""
    step = roll(PAIR, (), resample=resample)
    begun = [event for event in step.events if isinstance(event, PhaseStarted)]
    assert begun == [PhaseStarted("rollouts", 4, "rollouts")] * phases
    assert not {"Chad", "Mali"} & set(step.questions), "what was rolled out last stays"
    assert (step.figures["rollout/dead"], step.figures["rollout/resampled"]) == (1.0, 2.0)
    rolled = [name for name in NAMES if name in str(step.questions)]
    assert len(rolled) == 2


def test_fewer_other_questions_than_groups_without_signal(roll: Any) -> None:
    batch = [number for number in range(7) for _ in range(2)]
    step = roll(batch, {"Gabon"}, resample=3)
    assert step.questions == ["Gabon"] * 2 + [NAMES[number] for number in range(1, 7) for _ in range(2)]
    assert step.figures["rollout/resampled"] == 1.0


@pytest.mark.parametrize(("step", "rewards"), [(0, [0, 1]), (1, [0, 1]), (2, [0.5, 2.5]), (8, [0.5, 2.5]), (9, [1, 1])])
def test_weights_by_step(roll: Any, step: int, rewards: list[float]) -> None:
    """Before the first stage those of the recipe; a stage's replace them all."""
    stages = {2: {"em": 2.0, "format": 0.5}, 9: {"shaped_format": 1.0}}
    rolled = roll([1, 1], {"Mali"}, resample=0, step=step, stages=stages)
    assert rolled.rewards == rewards
    assert ("rollout/shaped_format" in rolled.figures) == (step == 9)


def test_every_sampled_token_counts_in_the_speed(roll: Any) -> None:
    step = roll(PAIR, (), resample=1)
    kept = sum(one.sampled_tokens for one in step.rollouts.trajectories)
    speed = step.figures["rollout/tokens_per_second"] * step.figures["rollout/rollout_seconds"]
    assert speed > 1.5 * kept


@pytest.mark.parametrize("expert", [0, 1])
def test_a_resumed_run_draws_the_same(
    byte_model: Path, tmp_path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch, expert: int
) -> None:
    class Crash(Exception):
        pass

    def train(name: str, *, crash_at: int = 0, resume: bool = False) -> list[list[str]]:
        recipe = recipe_of(byte_model, tmp_path / name, resample=1, expert=expert)
        run = Run.start(recipe, resume=resume)
        drawn: list[list[str]] = []

        def report(event: object) -> None:
            if isinstance(event, RolloutsFinished):
                drawn.append([one.example.answers[0] for one in event.trajectories])
            if isinstance(event, CheckpointSaved) and event.step == crash_at:
                raise Crash

        policy = tiny.load(recipe)
        trainer = grpo.make_trainer(policy, tiny.EXAMPLES, tiny.OnePassage(), recipe, run, report)
        fit(trainer, policy, recipe, run, report, resume=resume)
        return drawn

    write_records(tmp_path / "gold.jsonl", tiny.gold(policy, recipe_of(byte_model, tmp_path / "none")))
    monkeypatch.setattr(trainer_module, "make_sampler", lambda policy, *_: Knowing(policy.tokenizer, NAMES[::2]))
    whole = train("whole")
    with pytest.raises(Crash):
        train("cut", crash_at=2)
    assert train("cut", resume=True) == whole[2:]
    assert tiny.same_adapter(tmp_path / "whole" / "adapter", tmp_path / "cut" / "adapter")
    lines = tiny.metrics_of(tmp_path / "whole")
    assert sum(line["resampled"] for line in lines) > 0
    assert (sum(line.get("expert", 0) for line in lines) > 0) == bool(expert)


# --- several processes ---------------------------------------------------------------------------------------------


def test_figures_are_those_of_all_processes(roll: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows in each of two processes, in groups of four: the second group is spread over both."""
    size = {"known": ("Mali", "Niger"), "resample": 0, "size": 4}
    numbers = [0] * 4 + [1] * 4 + [2] * 4
    whole = roll(numbers, **size)
    gathered: list[Any] = []
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: gathered.append(mine) or mine)
    halves = [roll(numbers[6 * rank : 6 * rank + 6], **size, place=(rank, 2)) for rank in (0, 1)]
    rows = [gathered[0] + gathered[2], gathered[1] + gathered[3]]
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: rows[isinstance(mine[0], tuple)])
    again = roll(numbers[6:], **size, place=(1, 2))
    timed = {"rollout/tokens_per_second", "rollout/rollout_seconds"}
    assert {name: again.figures[name] for name in again.figures if name not in timed} == {
        name: whole.figures[name] for name in whole.figures if name not in timed
    }
    slower = max(half.figures["rollout/rollout_seconds"] for half in halves)
    assert again.figures["rollout/rollout_seconds"] == slower


@pytest.mark.parametrize(("rank", "replaced"), [(0, slice(0, 4)), (1, slice(2, 6))])
def test_a_process_replaces_its_own_groups_alone(
    roll: Any, monkeypatch: pytest.MonkeyPatch, rank: int, replaced: slice
) -> None:
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: mine)
    numbers = [[0] * 4 + [1] * 2, [1] * 2 + [2] * 4][rank]
    step = roll(numbers, (), resample=1, size=4, place=(rank, 2))
    before = [NAMES[number] for number in numbers]
    changed = [old != new for old, new in zip(before, step.questions, strict=True)]
    assert [at for at, new in enumerate(changed) if new] == list(range(6))[replaced]


# --- what is reported -----------------------------------------------------------------------------------------------


def test_rollouts_are_counted_as_they_finish(roll: Any) -> None:
    step = roll(PAIR, NAMES, resample=0)
    *phase, last = step.events
    assert phase[0] == PhaseStarted("rollouts", 4, "rollouts")
    assert phase[1:-1] == [PhaseAdvanced("rollouts", done, part="going on") for done in range(1, 5)]
    assert isinstance(phase[-1], PhaseFinished)
    assert isinstance(last, RolloutsFinished)
    assert list(last.trajectories) == step.rollouts.trajectories
    assert [reward.total for reward in last.rewards] == step.rewards
