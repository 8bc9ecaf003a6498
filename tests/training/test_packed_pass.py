"""The pass of a CPU against TRL's own: the same losses, figures and adapters, for fewer tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.core.events import ignore
from ragr1_lite.training import grpo, packed_pass, sft
from ragr1_lite.training.grpo import trainer as grpo_trainer
from ragr1_lite.training.run_folder import Run
from ragr1_lite.training.trainer import fit
from tests.support import tiny

RIGHT, WRONG = "<think>It is.</think><answer>Chad</answer>", "<think>It is.</think><answer>Oman</answer>"
SEARCH = "<think>Look.</think><search>Chad</search>"

Figures = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_byte_model(tmp_path_factory.mktemp("model") / "tiny")


def mixed(row: int, turn: int) -> str:
    """The first group: a search and then right, twice wrong, right; the second is all wrong."""
    if row % 4 == 0 and turn == 0:
        return SEARCH
    return RIGHT if row in (0, 3) else WRONG


def run_sft(model: Path, output: Path, **train: Any) -> Figures:
    shape = {"steps": 3, "batch_size": 4, "micro_batch": 4, "learning_rate": 0.01} | train
    recipe = tiny.make_recipe("sft", model, output, train=shape)
    policy = tiny.load(recipe)
    run = Run.start(recipe)
    made = sft.make_trainer(policy, tiny.gold(policy, recipe), recipe, run)
    fit(made, policy, recipe, run, ignore, resume=False)
    return tiny.metrics_of(output), adapter(policy)


def run_grpo(model: Path, output: Path, **options: Any) -> Figures:
    shape = {"steps": 2, "batch_size": 8, "micro_batch": 4, "learning_rate": 0.01}
    recipe = tiny.make_recipe("grpo", model, output, train=shape, grpo={"group_size": 4, "beta": 0.0} | options)
    policy = tiny.load(recipe)
    run = Run.start(recipe)
    sampler = tiny.Script(policy.tokenizer, mixed)
    made = grpo.make_trainer(policy, tiny.EXAMPLES[:1] * 4, tiny.OnePassage(), recipe, run, sampler=sampler)
    fit(made, policy, recipe, run, ignore, resume=False)
    return tiny.metrics_of(output), adapter(policy)


def adapter(policy: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.named_parameters() if weight.requires_grad}


def both(train: Callable[..., Figures], model: Path, tmp_path: Path, **options: Any) -> tuple[Figures, Figures]:
    """Trained in packed rows, and by TRL alone."""
    ours = train(model, tmp_path / "ours", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_pass, "supports", lambda config: False)
        theirs = train(model, tmp_path / "theirs", **options)
    return ours, theirs


def assert_equal(ours: Figures, theirs: Figures, names: tuple[str, ...]) -> None:
    for one, other in zip(ours[0], theirs[0], strict=True):
        for name in names:
            assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name
    for name, weight in theirs[1].items():
        # Adam makes a step of nearly the same size of any gradient, so tiny ones show their rounding
        torch.testing.assert_close(ours[1][name], weight, rtol=0, atol=2e-3, msg=name)
        if weight.norm() > 0.1:
            assert torch.cosine_similarity(ours[1][name].flatten(), weight.flatten(), dim=0) > 0.999, name


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_sft_is_trls(byte_model: Path, tmp_path: Path, micro_batch: int) -> None:
    ours, theirs = both(run_sft, byte_model, tmp_path, micro_batch=micro_batch)
    assert_equal(ours, theirs, ("loss", "grad_norm", "entropy"))


@pytest.mark.parametrize("loss", ["dapo", "grpo", "bnpo", "dr_grpo", "gspo", "cispo", "sapo"])
def test_grpo_is_trls(byte_model: Path, tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)  # a script has no log-probabilities
    ours, theirs = both(run_grpo, byte_model, tmp_path, loss_type=loss)
    assert_equal(ours, theirs, ("loss", "grad_norm", "reward"))


def test_the_temperature_of_sampling_is_that_of_training(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    ours, theirs = both(run_grpo, byte_model, tmp_path, temperature=0.6)
    assert_equal(ours, theirs, ("loss", "grad_norm"))


def test_a_kl_is_measured_on_every_row(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    ours, theirs = both(run_grpo, byte_model, tmp_path, beta=0.5)
    assert_equal(ours, theirs, ("loss", "grad_norm"))  # the KL is logged as a mean over passes


def test_rows_that_teach_nothing_are_not_read(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    with tiny.final_gradients() as found:
        run_grpo(byte_model, tmp_path / "run")
    read = [ids for micro_batch in found for ids, _ in micro_batch]
    assert len(read) == 2 * 4, "of two groups a step one has signal"
    found.clear()
    with tiny.final_gradients() as found:
        run_grpo(byte_model, tmp_path / "kl", beta=0.5)
    assert len([1 for micro_batch in found for _ in micro_batch]) == 2 * 8


def test_only_labels_that_count_have_logits(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    counts: list[int] = []
    scored = packed_pass.token_logprobs

    def count(states: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float) -> Any:
        counts.append(len(labels))
        return scored(states, weight, labels, temperature)

    monkeypatch.setattr(packed_pass, "token_logprobs", count)
    with tiny.final_gradients() as found:
        run_grpo(byte_model, tmp_path / "run")
    trained = sum(len(tiny.trained_positions(gradient)) for micro_batch in found for _, gradient in micro_batch)
    assert trained <= sum(counts)
    retrieved = "The area of Chad is 1,200 km²."
    assert sum(counts) < 2 * 4 * (len(SEARCH) + len(RIGHT) + len(retrieved.encode())), "retrieved tokens have none"


def test_a_group_is_read_together(byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    with tiny.final_gradients() as found:
        run_grpo(byte_model, tmp_path / "run", beta=0.5)
    assert len(found) == 2 * 2
    for micro_batch in found:
        searches = [ids for ids, _ in micro_batch if len(ids) > len(min((ids for ids, _ in micro_batch), key=len)) + 20]
        assert len(micro_batch) == 4 and len(searches) == 1, "each group has one row that searches"


def test_a_second_trainer_of_the_same_model_packs_as_well(byte_model: Path, tmp_path: Path) -> None:
    recipe = tiny.make_recipe("sft", byte_model, tmp_path / "run")
    policy = tiny.load(recipe)
    trajectories = tiny.gold(policy, recipe)
    for _ in range(2):  # as after memory ran out
        sft.make_trainer(policy, trajectories, recipe, Run(recipe.output))
        base: Any = policy.model.get_base_model()
        assert isinstance(vars(base)["forward"], packed_pass.PackedForward)
    packed_pass.unpack(policy)
    assert "forward" not in vars(base)
    assert base(input_ids=torch.tensor([[5, 6]])).logits.shape[:2] == (1, 2)


def test_a_step_without_signal_is_no_collapse_of_entropy(
    byte_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is read, so that there is no entropy to judge."""
    monkeypatch.setattr(grpo_trainer, "prove_first", lambda *_: None)
    recipe = tiny.make_recipe("grpo", byte_model, tmp_path / "run")
    recipe = recipe.model_copy(update={"guard": recipe.guard.model_copy(update={"min_entropy": 0.5})})
    policy = tiny.load(recipe)
    run = Run.start(recipe)
    sampler = tiny.Script(policy.tokenizer, lambda row, turn: WRONG)
    made = grpo.make_trainer(policy, tiny.EXAMPLES[:1] * 4, tiny.OnePassage(), recipe, run, sampler=sampler)
    notices: list[object] = []
    fit(made, policy, recipe, run, notices.append, resume=False)
    assert "entropy" not in tiny.metrics_of(recipe.output)[0]
    assert not [one for one in notices if "entropy" in str(one)]
