"""Run folders: who may start where, what a crash leaves, what a resumed run forgets."""

from __future__ import annotations

import errno
import json
import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import DataError, RunError, StorageError
from ragr1_lite.evaluation.report.tables import read_sources
from ragr1_lite.files.writing import write_atomic
from ragr1_lite.training.run_folder import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "é"


def start(folder: Path, *, resume: bool = False, overwrite: bool = False, **sections: object) -> Run:
    recipe = Recipe.model_validate({"task": "sft", "output": folder, **sections})
    return Run.start(recipe, resume=resume, overwrite=overwrite)


def checkpoint(run: Run, step: int, *, complete: bool = True) -> Path:
    path = run.checkpoints / f"checkpoint-{step}"
    path.mkdir()
    (path / "adapter.safetensors").write_text("weights", encoding="utf-8")
    return run.mark_complete(step) if complete else path


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# Starting


def test_a_new_run_writes_its_recipe(folder: Path) -> None:
    run = start(folder)
    assert (folder / "recipe.yaml").read_text(encoding="utf-8") == Recipe(task="sft", output=folder).dump()
    assert contents(folder) == ["checkpoints", "recipe.yaml"]
    assert run.last_checkpoint() is None
    assert not run.adapter.exists()


def test_a_second_run_does_not_write_over_the_first(folder: Path) -> None:
    start(folder).log(1, {"loss": 1.0})
    with pytest.raises(RunError, match="There is a run in .* already") as caught:
        start(folder)
    assert "--resume" in caught.value.hint
    assert "--overwrite" in caught.value.hint
    assert "metrics.jsonl" in contents(folder)


def test_a_checkpoint_is_on_the_disk_before_it_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves a complete one with empty weights."""
    run, done, sync = start(folder), list[int](), os.fsync
    path = checkpoint(run, 1, complete=False)

    def synced(file: int) -> None:
        done.append(os.fstat(file).st_ino)
        sync(file)

    monkeypatch.setattr(os, "fsync", synced)
    run.mark_complete(1)
    weights, mark = path / "adapter.safetensors", path / "complete"
    assert done == [one.stat().st_ino for one in (weights, path, mark)]


def test_a_start_that_failed_does_not_block_the_corrected_command(folder: Path) -> None:
    start(folder).remember(micro_batch=2)  # and then the recipe's data were not to be found
    assert start(folder).recall() == {}


def test_overwrite_deletes_what_the_run_left_and_nothing_else(folder: Path) -> None:
    run = start(folder)
    checkpoint(run, 1)
    run.adapter.mkdir()
    run.log(1, {"loss": 1.0})
    run.save_summary({"em": 1.0})
    run.remember(micro_batch=2)
    for name in ("best", "tensorboard", "wandb"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("theirs", encoding="utf-8")
    (folder / "thesis.tex").write_text("years of work", encoding="utf-8")
    start(folder, overwrite=True, task="grpo")
    assert contents(folder) == ["checkpoints", "recipe.yaml", "thesis.tex"]
    assert (folder / "recipe.yaml").read_text(encoding="utf-8").startswith("task: grpo\n")


def test_overwrite_needs_no_earlier_run(folder: Path) -> None:
    start(folder, overwrite=True)
    assert contents(folder) == ["checkpoints", "recipe.yaml"]


def test_resume_needs_a_run_of_the_same_recipe(folder: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        start(folder, resume=True)
    assert not folder.exists()
    run = start(folder)
    checkpoint(run, 1)
    changed = {"train": {"steps": 7, "keep": 1}, "data": {"mix": {"list": 1.0}}}
    with pytest.raises(RunError, match="another recipe") as caught:
        start(folder, resume=True, **changed)
    assert "data.mix was {} and is {'list': 1.0}; train.steps was 100 and is 7; train.keep was 2 and is 1" in str(
        caught.value
    )
    assert str(folder / "recipe.yaml") in caught.value.hint
    assert start(folder, resume=True).last_checkpoint() == run.last_checkpoint()


def test_a_run_is_resumed_by_what_its_recipe_means(folder: Path) -> None:
    """Not by its text: a release that adds a key, or a person who edits the file, leaves the run as it is."""
    checkpoint(start(folder, train={"steps": 7}), 1)
    saved = folder / "recipe.yaml"
    fields = yaml.safe_load(saved.read_text(encoding="utf-8"))
    del fields["guard"], fields["train"]["keep"]
    saved.write_text("# begun by an older release\n" + yaml.safe_dump(fields), encoding="utf-8")
    last = start(folder, resume=True, train={"steps": 7}).last_checkpoint()
    assert last is not None
    assert yaml.safe_load(saved.read_text(encoding="utf-8"))["train"]["keep"] == 2


def test_a_run_that_was_moved_is_resumed_where_it_is(folder: Path) -> None:
    checkpoint(start(folder), 1)
    moved = folder.rename(folder.with_name("moved"))
    assert start(moved, resume=True).last_checkpoint() == moved / "checkpoints" / "checkpoint-1"


def test_a_key_that_only_an_older_release_knew_is_named(folder: Path) -> None:
    start(folder)
    saved = folder / "recipe.yaml"
    saved.write_text(saved.read_text(encoding="utf-8") + "curriculum: steep\n", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be resumed by this version: .* unknown key curriculum") as caught:
        start(folder, resume=True)
    assert "the version that began it" in caught.value.hint


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"cannot be written \("):
            start(folder)


# Checkpoints


def test_the_newest_complete_checkpoint_counts(folder: Path) -> None:
    run = start(folder)
    for step in (5, 10, 9, 100):
        checkpoint(run, step)
    checkpoint(run, 200, complete=False)
    last = run.last_checkpoint()
    assert last is not None
    assert last.name == "checkpoint-100", "by number, not by name"


def test_resuming_forgets_what_will_be_done_again(folder: Path) -> None:
    run = start(folder)
    for step in range(1, 8):
        run.log(step, {"loss": 1 / step})
    checkpoint(run, 3)
    checkpoint(run, 5)
    checkpoint(run, 7, complete=False)
    resumed = start(folder, resume=True)
    assert contents(resumed.checkpoints) == [
        "checkpoint-3",
        "checkpoint-3/adapter.safetensors",
        "checkpoint-3/complete",
        "checkpoint-5",
        "checkpoint-5/adapter.safetensors",
        "checkpoint-5/complete",
    ]
    resumed.log(6, {"loss": 0.1})
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_resuming_removes_what_was_cut_off_while_it_was_written(folder: Path) -> None:
    start(folder).best.mkdir()
    for name in (".adapter-x1y2", ".best-x1y2"):
        (folder / name / "old").mkdir(parents=True)
    for name in (".metrics.jsonl.123", ".state.json.123", ".gitignore"):
        (folder / name).write_text("half", encoding="utf-8")
    start(folder, resume=True)
    assert contents(folder) == [".gitignore", "best", "checkpoints", "recipe.yaml"]


def test_what_is_remembered_outlives_the_process(folder: Path) -> None:
    run = start(folder)
    assert run.recall() == {}
    run.remember(micro_batch=2, wandb_id="a")
    run.remember(micro_batch=1)
    assert start(folder, resume=True).recall() == {"micro_batch": 1, "wandb_id": "a"}
    assert start(folder, overwrite=True).recall() == {}


def test_resuming_without_a_complete_checkpoint_begins_again(folder: Path) -> None:
    run = start(folder)
    run.log(1, {"loss": 1.0})
    checkpoint(run, 1, complete=False)
    start(folder, resume=True)
    assert contents(folder) == ["checkpoints", "metrics.jsonl", "recipe.yaml"]
    assert (folder / "metrics.jsonl").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("half", ['{"step": 2, "lo', '{"step": 2', "{", "\0\0\0"])
def test_a_line_that_was_cut_off_is_dropped(folder: Path, half: str) -> None:
    run = start(folder)
    run.log(1, {"loss": 1.0})
    checkpoint(run, 9)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(half)
    start(folder, resume=True).log(2, {"loss": 0.5})
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


# Writing


def test_figures_that_are_not_finite_are_null(folder: Path) -> None:
    run = start(folder)
    run.log(1, {"loss": math.nan, "grad_norm": math.inf, "lr": -math.inf, "kl": 0.5})
    checkpoint(run, 1)
    start(folder, resume=True)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(run.metrics.read_text(encoding="utf-8"), parse_constant=refuse)
    assert line == {"step": 1, "loss": None, "grad_norm": None, "lr": None, "kl": 0.5}
    (training,) = read_sources([folder]).trainings
    assert training.steps[0]["kl"] == 0.5 and math.isnan(training.steps[0]["loss"])


def test_the_summary_is_readable_json(folder: Path) -> None:
    run = start(folder)
    run.save_summary({"note": "é", "em": {"before": 0.0, "after": 0.75}})
    text = (folder / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"note": "é", "em": {"before": 0.0, "after": 0.75}}
    assert "é" in text


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt(), ValueError("bug")])
def test_a_write_that_breaks_off_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), fail)
    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        write_atomic(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert contents(tmp_path) == ["file"], "nothing half-written stays"


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "file", "half a pair: \ud800")
    assert contents(tmp_path) == ["file"]


def test_a_full_disk_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(folder)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="No space left to write .*summary.json") as caught:
        run.save_summary({"em": 1.0})
    assert "Free some" in caught.value.hint
    assert contents(folder) == ["checkpoints", "recipe.yaml"]


def test_a_full_disk_is_said_of_metrics_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(folder)
    monkeypatch.setattr(Path, "open", full_disk)
    with pytest.raises(StorageError, match=r"No space left to write .*metrics\.jsonl"):
        run.log(1, {"loss": 1.0})


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "nowhere" / "x", tmp_path / "file" / "x"):
        with pytest.raises(StorageError, match=r"cannot be written \("):
            write_atomic(path, "text")


# What a start must not cost


@pytest.mark.parametrize("adapter", ["", "adapter", "best", "checkpoints/checkpoint-1"])
def test_a_run_does_not_remove_the_adapter_it_starts_from(folder: Path, adapter: str) -> None:
    run = start(folder)
    checkpoint(run, 1)
    for name in (run.adapter, run.best):
        name.mkdir()
    before = contents(folder)
    with pytest.raises(DataError, match="which (is read|output replaces)"):
        start(folder, overwrite=True, model={"adapter": str(folder / adapter)})
    assert contents(folder) == before
    start(folder, overwrite=True, model={"adapter": str(folder.parent / "another")})


def test_a_run_with_relative_paths_notes_where_it_began(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "books").mkdir()
    monkeypatch.chdir(tmp_path)
    assert start(folder, retrieval={"index": "books"}).recall() == {"began_in": str(tmp_path)}
    assert start(folder, retrieval={"index": str(tmp_path / "books")}, overwrite=True).recall() == {}


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_a_finished_run_needs_nothing_any_more(task: str, folder: Path) -> None:
    """Neither its data nor its index, its first adapter or its model; what it took is read from its summary."""
    gone = str(folder / "gone")
    sections: dict[str, Any] = {"data": {"train": gone}, "retrieval": {"index": gone}}
    sections["model"] = {"name": gone, "adapter": gone}
    recipe = Recipe.model_validate({"task": task, "output": folder, **sections})
    run = Run.start(recipe)
    run.adapter.mkdir()
    run.log(101, {"loss": 1.0})
    spent = {"seconds": 9.5, "cpu_load": 1.0, "peak_rss_gb": 2.0, "peak_vram_gb": None, "energy_wh": None}
    run.save_summary({"resources": spent | {"not_measurable": {}}})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = import_module(f"ragr1_lite.training.{task}").train(recipe, resume=True)
    assert (result.steps, result.seconds, result.adapter) == (100, 9.5, run.adapter)
    assert result.resources.peak_rss_gb == 2.0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 7})})
    with pytest.raises(RunError, match="another recipe: train.steps was 100 and is 7"):
        import_module(f"ragr1_lite.training.{task}").train(other, resume=True)
