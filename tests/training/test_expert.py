"""Gold trajectories in the groups: the tokens that SFT trains, a part in rewards and advantages, figures apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice, RolloutsFinished
from ragr1_lite.core.rewards import score
from ragr1_lite.core.types import Example, Reward, Trajectory
from ragr1_lite.data.sets import expert_trajectories, load_examples, training_trajectories
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.models.loading import Policy
from ragr1_lite.retrieval import open_searcher
from ragr1_lite.training.grpo import trainer
from ragr1_lite.training.sft import to_features
from ragr1_lite.ui.training import Sample
from tests.support import tiny
from tests.training.test_grpo import Watched, advantages, mixed, objective
from tests.training.test_grpo_rollouts import NAMES, PAIR, Step
from tests.training.test_proof import Honest, Start

RIGHT, WRONG = "<think>It is.</think><answer>Chad</answer>", "<think>No.</think><answer>Oman</answer>"


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("byte") / "tiny-byte")


@pytest.fixture(scope="module")
def policy(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return tiny.load(tiny.make_recipe("grpo", byte_model, tmp_path_factory.mktemp("policy") / "run"))


@pytest.fixture(scope="module")
def golden(policy: Policy, byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of gold trajectories of all questions but the last four; every other one searches."""
    folder = tmp_path_factory.mktemp("golden")
    gold = tiny.gold(policy, tiny.make_recipe("sft", byte_model, folder / "none"))
    write_records(folder / "gold.jsonl", gold)
    return folder / "gold.jsonl"


def recipe_of(model: Path, output: Path, expert: Path | str, **sections: dict[str, Any]) -> Recipe:
    grpo = {"group_size": 4, "expert": 1} | sections.pop("grpo", {})
    return tiny.make_recipe("grpo", model, output, grpo=grpo, data={"expert": str(expert)}, **sections)


def of_file(
    policy: Policy, file: Path, tmp_path: Path, examples: Any = tiny.EXAMPLES, report: Any = None, **grpo: Any
) -> Any:
    recipe = recipe_of(Path(policy.spec.name), tmp_path / "run", file, grpo=grpo)
    return expert_trajectories(recipe, examples, policy.tokenizer, tiny.OnePassage(), report or [].append)


# --- which they are ------------------------------------------------------------------------------------------------


def test_ids_and_mask_are_those_that_sft_trains(policy: Policy, golden: Path, tmp_path: Path) -> None:
    sft = tiny.make_recipe("sft", Path(policy.spec.name), tmp_path / "sft", data={"train": str(golden)})
    taught = training_trajectories(sft, policy.tokenizer)
    experts = of_file(policy, golden, tmp_path)
    assert [len(own) for own in experts] == [1, 1, 1, 1, 0, 0, 0, 0]
    for (expert,), gold in zip(experts[:4], taught, strict=True):
        assert to_features(expert) == to_features(gold)
        assert expert == replace(gold, expert=True)
    assert any(one.rounds for (one,) in experts[:4])


def test_the_world_has_its_own(policy: Policy, tmp_path: Path) -> None:
    """Those that SFT on the world trains; a question of elsewhere has none."""
    room = {"max_length": 8192, "max_rounds": 4}
    mix = {"data": {"train": "world", "limit": 6}, "rollout": room}
    sft = tiny.make_recipe("sft", Path(policy.spec.name), tmp_path / "sft", **mix)
    examples = [*load_examples("world", "train", limit=6), tiny.EXAMPLES[0]]
    recipe = recipe_of(Path(policy.spec.name), tmp_path / "run", "world", rollout=room)
    experts = expert_trajectories(recipe, examples, policy.tokenizer, open_searcher("world"))
    assert [to_features(*own) for own in experts[:6]] == list(
        map(to_features, training_trajectories(sft, policy.tokenizer))
    )
    assert experts[6] == ()


def test_questions_without_one_are_counted_once(policy: Policy, golden: Path, tmp_path: Path) -> None:
    events: list[object] = []
    of_file(policy, golden, tmp_path, report=events.append)
    without = f"4 of 8 questions have no trajectory of {golden} that fits: their groups are sampled as a whole."
    assert events == [Notice(without, "warning")]


def test_a_question_is_known_by_its_text_and_its_own_id_comes_first(
    policy: Policy, golden: Path, tmp_path: Path, byte_model: Path
) -> None:
    """The answers that count are those of the question as it is asked."""
    asked, other = tiny.EXAMPLES[:2]
    (gold, *_) = tiny.gold(policy, tiny.make_recipe("sft", byte_model, tmp_path / "none"))
    file = tmp_path / "several.jsonl"

    def record(example: Example, thought: str) -> Trajectory:
        return replace(gold, example=example, turns=(*gold.turns[:-1], replace(gold.turns[-1], think=thought)))

    named = (("x", "first"), (asked.id, "own"), ("y", "last"))
    records = [record(replace(asked, id=name), thought) for name, thought in named]
    write_records(file, [*records, record(replace(other, id=asked.id), "of another question")])
    again = replace(asked, answers=("Chad", "Tchad"))
    for places, thoughts in ((1, ["own"]), (2, ["own", "first"]), (3, ["own", "first", "last"])):
        (experts,) = of_file(policy, file, tmp_path, [again], expert=places)
        assert [one.turns[-1].think for one in experts] == thoughts
        assert {one.example for one in experts} == {again}


def test_a_file_of_other_questions(policy: Policy, golden: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No trajectory of .*gold.jsonl is of a question of the training") as caught:
        of_file(policy, golden, tmp_path, [Example("q0", "Another one?", ("Chad",))])
    assert "data generate" in caught.value.hint


# --- their part in a group -----------------------------------------------------------------------------------------


@pytest.fixture
def experts(policy: Policy, golden: Path, tmp_path: Path) -> Any:
    return of_file(policy, golden, tmp_path)


@pytest.fixture
def roll(policy: Policy, tmp_path: Path, experts: Any) -> Callable[..., Step]:
    return lambda *args, **options: Step(policy, tmp_path, *args, **{"experts": experts, "resample": 0} | options)


def test_the_expert_has_the_first_place_of_its_group(roll: Any) -> None:
    step = roll([0, 0, 0, 7, 7, 7], (), size=3)
    chad, gabon = step.rollouts.trajectories[:3], step.rollouts.trajectories[3:]
    assert [one.expert for one in (*chad, *gabon)] == [True, False, False, False, False, False]
    assert [one.example for one in (*chad, *gabon)] == [tiny.EXAMPLES[0]] * 3 + [tiny.EXAMPLES[7]] * 3
    assert step.rewards == [1, 0, 0, 0, 0, 0]


def test_figures_are_those_of_what_was_sampled(roll: Any) -> None:
    """The expert's rewards would flatter; groups are counted as they are trained."""
    step, without = roll(PAIR, (), size=2), roll([0, 1], (), size=1, experts=())
    apart = {"expert", "expert_reward", "dead", "signal", "tokens_per_second", "rollout_seconds"}
    ours = {name.removeprefix("rollout/"): value for name, value in step.figures.items()}
    theirs = {name.removeprefix("rollout/"): value for name, value in without.figures.items()}
    assert {name: ours[name] for name in ours if name not in apart} == {
        name: theirs[name] for name in theirs if name not in apart
    }
    assert (ours["reward"], ours["em"]) == (0, 0)
    assert (ours["expert"], ours["expert_reward"], ours["dead"]) == (2, 1, 0)
    assert "expert" not in theirs
    sampled = sum(one.sampled_tokens for one in step.rollouts.trajectories if not one.expert)
    assert ours["tokens_per_second"] * ours["rollout_seconds"] == pytest.approx(sampled)


def test_a_group_that_only_the_expert_solves_is_kept_and_one_that_all_solve_is_replaced(roll: Any) -> None:
    """Row 0 of each roll-out of one question is wrong and row 1 right: of a group of two places one is sampled."""
    step = roll(PAIR, ("Mali", "Niger"), resample=2)
    kept, new = step.rollouts.trajectories[:2], step.rollouts.trajectories[2:]
    assert [one.example.answers[0] for one in kept] == ["Chad", "Chad"], "the sampled one is wrong"
    assert {one.example.answers[0] for one in new}.isdisjoint(("Chad", "Mali"))
    assert new[0].example == new[1].example
    assert new[0].expert == (new[0].example in tiny.EXAMPLES[:4]) and not new[1].expert


@pytest.mark.parametrize("rank", [0, 1])
def test_places_are_those_of_the_whole_batch(roll: Any, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    """Six rows in each of two processes, groups of four: the second group begins in the first process."""
    monkeypatch.setattr("accelerate.utils.gather_object", lambda mine: mine)
    numbers = [[0] * 4 + [1] * 2, [1] * 2 + [2] * 4][rank]
    step = roll(numbers, NAMES, size=4, place=(rank, 2))
    assert [place for place, one in enumerate(step.rollouts.trajectories) if one.expert] == [[0, 4], [2]][rank]


@pytest.mark.parametrize(("titles", "total"), [(("Niger", "Oman"), 1.5), (("Niger", "Mali"), 1.25), ((), 1.0)])
def test_its_evidence_is_that_of_the_question_as_it_is_asked(
    policy: Policy, golden: Path, tmp_path: Path, titles: tuple[str, ...], total: float
) -> None:
    """The file names no gold passages; a group has its evidence by the same titles, or has none at all."""
    asked = replace(tiny.EXAMPLES[2], titles=titles)
    ((expert,),) = of_file(policy, golden, tmp_path, [asked])
    assert [passage.title for passage in expert.shown] == ["Niger", "Oman"]
    assert score(expert, {"em": 1.0, "evidence": 0.5}).total == total


def test_log_probabilities_of_the_sampled_rows_are_handed_over(
    byte_model: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was drawn of an expert's: its log-probabilities are no reason to hand over none."""
    start = proved(byte_model, golden, tmp_path, monkeypatch)
    start.fit()
    handed = start.trainer.rollout_func.handed()
    expert, *sampled = handed["logprobs"][:2]
    assert set(expert) == {0.0} and len(expert) == len(handed["env_mask"][0])
    assert min(map(min, sampled)) < -1


def test_the_expert_is_not_shown_as_a_rollout(roll: Any) -> None:
    step = roll(PAIR, ())
    (event,) = (event for event in step.events if isinstance(event, RolloutsFinished))
    best, worst = Sample.of(event), Sample.of(event, failed=True)
    assert best and worst and not best.trajectory.expert and not worst.trajectory.expert
    assert Sample.of(RolloutsFinished(event.trajectories[:1], (Reward(1.0),), 1.0)) is None


# --- what is trained -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_gradient_is_the_advantage_times_that_of_the_log_likelihood(
    byte_model: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int
) -> None:
    """For the expert's rows as for the others. With one row a pass, the expert's goes before the proof."""
    monkeypatch.setattr(trainer, "TransformersSampler", lambda policy, **_: tiny.Script(policy.tokenizer, mixed))
    train = {"steps": 1, "batch_size": 8, "micro_batch": micro_batch, "max_grad_norm": 1e6}
    recipe = recipe_of(byte_model, tmp_path / "run", golden, train=train, reward={"f1": 0.5, "format": 0.25})
    policy = tiny.load(recipe)
    watched = Watched(policy, recipe, tiny.EXAMPLES[:2])
    (line,) = watched.fit()

    fresh = tiny.load(recipe)
    rewards = [score(one, recipe.reward.weights).total for one in watched.trajectories]
    assert [one.expert for one in watched.trajectories] == [True, False, False, False] * 2
    weights = [weight for weight in fresh.model.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(objective(fresh, watched.trajectories, advantages(rewards, 4)), weights)
    assert line["grad_norm"] == pytest.approx(float(torch.cat([one.flatten() for one in gradients]).norm()), rel=1e-3)
    assert line["grad_norm"] > 0
    assert line["reward"] == pytest.approx((sum(rewards) - rewards[0] - rewards[4]) / 6)


def proved(model: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Start:
    monkeypatch.setattr(trainer, "make_sampler", lambda policy, *_: Honest(policy, **options))
    sections: dict[str, Any] = {"data": {"expert": str(golden)}, "grpo": {"expert": 1}}
    return Start(model, tmp_path / "run", train={"steps": 1, "micro_batch": 1}, **sections)


def test_the_proof_compares_what_was_sampled(
    byte_model: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reported,) = proved(byte_model, golden, tmp_path, monkeypatch).fit()
    assert float(reported.partition("differ by ")[2].split()[0]) < 0.002


def test_the_proof_still_refuses_another_distribution(
    byte_model: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = proved(byte_model, golden, tmp_path, monkeypatch, temperature=0.5)
    with pytest.raises(RunError, match="sampler and trainer differ"):
        start.fit()
