"""SFT, GRPO, resuming and evaluation by unsloth, end to end with a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.training import grpo, held_out
from tests.support import tiny
from tests.training import test_resume as resuming
from tests.unsloth import work


@pytest.fixture(scope="module")
def folder(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, trajectories and held-out questions."""
    folder = tmp_path_factory.mktemp("training")
    shutil.copytree(byte_model, folder / "tiny-byte")
    policy = work.load(work.recipe_of("sft", "unsloth", byte_model, folder / "none"))
    write_records(
        folder / "trajectories.jsonl", tiny.gold(policy, work.recipe_of("sft", "unsloth", byte_model, folder))
    )
    lines = [{"question": f"Where is {name}?", "answers": [name]} for name in tiny.COUNTRIES[:2]]
    (folder / "held-out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_a_resumed_run_ends_as_an_undisturbed_one(
    task: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    resuming.untrained(monkeypatch)
    told: list[str] = []
    job = resuming.Job(
        task,
        folder,
        model={"engine": "unsloth"},
        data={"train": str(folder / "trajectories.jsonl"), "limit": 3},
        train={"steps": 4, "save_every": 2, "learning_rate": 0.01},
        lora={"dropout": 0.1} if task == "sft" else {},
        grpo={"beta": 0.05},
    )
    job.train(f"{task}-whole", report=lambda event: told.append(event.text) if isinstance(event, Notice) else None)
    with pytest.raises(resuming.Crash):
        job.train(f"{task}-cut", report=resuming.at_step(3, resuming.crash))
    job.train(f"{task}-cut", resume=True)
    resuming.assert_whole(job, f"{task}-cut")
    assert not capfd.readouterr().out
    lines = tiny.metrics_of(folder / f"{task}-whole")
    assert all(line["grad_norm"] > 0 and line["tokens_per_second"] > 0 for line in lines[:1])
    assert any("by unsloth" in text for text in told)
    if task == "grpo":
        assert any(text.startswith("Proved") and "differ by 0.000" in text for text in told)


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_held_out_questions_change_nothing(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are answered between two steps, outside of what unsloth itself wraps."""
    resuming.untrained(monkeypatch)
    monkeypatch.setattr(held_out, "open_searcher", lambda index, report: tiny.OnePassage())
    for name in ("asked", "unasked"):
        recipe = tiny.make_recipe(
            task,
            folder / "tiny-byte",
            folder / f"{task}-{name}",
            model={"engine": "unsloth"},
            data={"train": str(folder / "trajectories.jsonl")},
            train={"steps": 3, "learning_rate": 0.01},
        )
        asked = {"data": str(folder / "held-out.jsonl"), "every": 1 if name == "asked" else 0, "questions": 2}
        torch.seed()
        train = resuming.sft.train if task == "sft" else grpo.train
        train(Recipe.model_validate(recipe.model_dump() | {"eval": asked}))
    assert tiny.same_adapter(folder / f"{task}-asked" / "adapter", folder / f"{task}-unasked" / "adapter")
    assert all("eval_em" in line for line in tiny.metrics_of(folder / f"{task}-asked"))


def test_eval(folder: Path, tmp_path: Path) -> None:
    from ragr1_lite.cli.main import app

    work_on = work.load(work.recipe_of("sft", "unsloth", folder / "tiny-byte", tmp_path / "run"))
    saved = save_adapter(work_on, tmp_path / "adapter")
    options = ["--questions", "2", "--mode", "direct", "--json", "--model", str(folder / "tiny-byte")]
    done = CliRunner().invoke(app, ["eval", "--adapter", str(saved), *options])
    assert done.exit_code == 0, done.output
    assert "by unsloth" in done.stderr and "Unsloth" in done.stderr, "what it prints is no result"
    assert json.loads(done.stdout)


# Padding


@pytest.mark.parametrize("pad", ["<|im_end|>", None], ids=["end", "missing"])
def test_padding_that_ends_turns_is_replaced(pad: str | None, plain: Path, byte_model: Path, tmp_path: Path) -> None:
    """Prompts hold end tokens: taken for padding, they would move."""
    recipe = work.recipe_of("dapo", "unsloth", byte_model, tmp_path / "run")
    policy = work.load(recipe)
    policy.tokenizer.hf.pad_token = pad
    found, expected = work.gradients(policy, work.make_trainer(policy, recipe)), load_file(plain / "dapo.safetensors")
    ours, theirs = (torch.cat([one[key].flatten() for key in sorted(expected)]) for one in (found, expected))
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def with_vocabulary(folder: Path, rows: int) -> Path:
    """A model whose tokenizer has no token to spare, and whose embedding has so many rows more than it."""
    from transformers import AutoModelForCausalLM

    tiny.save_byte_model(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(model.config.vocab_size + rows)
    model.save_pretrained(folder)
    return folder


def test_a_row_of_the_embedding_that_no_token_has(tmp_path: Path) -> None:
    recipe = work.recipe_of("dapo", "unsloth", with_vocabulary(tmp_path / "wide", 5), tmp_path / "run")
    policy = work.load(recipe)
    before = len(policy.tokenizer.hf)
    work.make_trainer(policy, recipe)
    assert policy.tokenizer.pad_id == before
    assert policy.tokenizer.encode(policy.tokenizer.hf.pad_token) != [before], "text cannot become padding"


def test_no_token_to_spare(tmp_path: Path) -> None:
    recipe = work.recipe_of("dapo", "unsloth", with_vocabulary(tmp_path / "narrow", 0), tmp_path / "run")
    with pytest.raises(ModelError, match=r"no token to spare.*model\.engine to transformers"):
        work.make_trainer(work.load(recipe), recipe)


# Guard


def test_entropy_is_not_watched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resuming.untrained(monkeypatch)
    told: list[str] = []
    recipe = tiny.make_recipe(
        "grpo",
        folder / "tiny-byte",
        tmp_path / "run",
        model={"engine": "unsloth"},
        data={"train": str(folder / "trajectories.jsonl")},
        train={"steps": 1},
    )
    recipe = Recipe.model_validate(recipe.model_dump() | {"guard": {"min_entropy": 0.1}})
    grpo.train(recipe, report=lambda event: told.append(event.text) if isinstance(event, Notice) else None)
    assert any("guard.min_entropy is not watched" in text for text in told)
