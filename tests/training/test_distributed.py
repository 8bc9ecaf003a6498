"""Two processes train as one does: the same losses and the same adapter, one writer, and exact resumption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.config import LoraConfig, Recipe
from ragr1_lite.core.errors import ConfigError, RunError
from ragr1_lite.models import loading, lora, precision, processes
from ragr1_lite.models.loading import ModelSpec
from ragr1_lite.training import run_folder, trainer
from ragr1_lite.training.run_folder import Run
from tests.support import launched, tiny
from tests.support.workplace import training_folder
from tests.training import test_resume

ROOT = Path(__file__).parents[2]
OF_THE_BATCH = ("loss", "grad_norm", "lr", "reward", "em", "signal", "dead", "invalid", "rounds", "queries", "tokens")
"""KL and entropy are means over the passes, which are cut differently."""


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``accelerate launch`` on the CPU, for which ``--multi_gpu`` is its only way to start several processes."""
    options = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "accelerate.commands.launch", *options, "--main_process_port", "0", "-m"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings of one process and of two."""
    folder = training_folder(tmp_path_factory.mktemp("distributed"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        test_resume.untrained(monkeypatch)
        alone = launched.Trainings(folder)
        alone.sft()
        alone.scripted()
    done = launch("tests.support.launched", str(folder), "sft", "scripted", "sampled")
    assert done.returncode == 0, done.stderr
    return folder


# --- two processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", ["sft", "scripted"])
def test_two_processes_train_as_one(folder: Path, training: str) -> None:
    one, two = folder / f"{training}-1", folder / f"{training}-2"
    lines, same = tiny.metrics_of(one), tiny.metrics_of(two)
    assert [line["step"] for line in lines] == [line["step"] for line in same] == [1, 2, 3]
    for line, other in zip(lines, same, strict=True):
        assert line["grad_norm"] > 0.1
        for name in set(OF_THE_BATCH) & line.keys():
            assert other[name] == pytest.approx(line[name], rel=1e-4, abs=1e-5), name
    left, right = tiny.adapter_of(one / "adapter"), tiny.adapter_of(two / "adapter")
    assert left.keys() == right.keys()
    # Adam takes whole steps however small a gradient is: near 0, rounding decides its sign. One in a thousand may be.
    apart = torch.cat([(left[name] - right[name]).abs().flatten() for name in left])
    assert (apart > 1e-4).double().mean() <= 1e-3
    moved = max(float(weight.abs().max()) for name, weight in left.items() if "lora_B" in name)
    assert moved > 0.01, "a hundred times what they may differ by"


def test_each_process_samples_for_itself(folder: Path) -> None:
    """The group in the middle is spread over both processes: equal halves would be half a group."""
    main, other = (json.loads((folder / f"said-2-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    share = launched.BATCH // 2
    assert len(main) == len(other) == 4 * share
    half = launched.GROUP // 2
    for start in range(0, len(main), share):
        assert main[start + share - half : start + share] != other[start : start + half]
        assert len({tuple(ids) for ids in main[start : start + share] + other[start : start + share]}) > share


def test_stopped_in_one_process_and_resumed(folder: Path) -> None:
    """Ctrl-C reached the main process alone; both stopped after the same step, and went on from it exactly."""
    whole, stopped = folder / "whole-2", folder / "stopped-2"
    assert tiny.same_adapter(whole / "adapter", stopped / "adapter")
    timed = {"seconds", "rollout_seconds", "tokens_per_second", "memory_gb"}
    left, right = (
        [{name: value for name, value in line.items() if name not in timed} for line in tiny.metrics_of(run)]
        for run in (whole, stopped)
    )
    assert left == right
    assert sum(line["grad_norm"] > 0 for line in left) >= 2
    files = {path.name for path in (stopped / "checkpoints" / "checkpoint-4").iterdir()}
    assert {"complete", "rng_state_0.pth", "rng_state_1.pth"} <= files


@pytest.mark.slow
def test_the_command_line(folder: Path) -> None:
    """One run folder, each step reported once, and a second run into it refused in one sentence."""
    recipe = launched.recipe_for("grpo", folder, "cli", train={"steps": 4})
    file = folder / "cli.yaml"
    file.write_text(recipe.dump(), encoding="utf-8")
    done = launch("ragr1_lite", "grpo", str(file), "--json")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in tiny.metrics_of(recipe.output)] == [1, 2, 3, 4]
    assert sorted(path.name for path in recipe.output.iterdir() if not path.name.startswith(".")) == [
        "adapter",
        "checkpoints",
        "metrics.jsonl",
        "recipe.yaml",
        "state.json",
        "summary.json",
    ]
    spent = json.loads((recipe.output / "summary.json").read_text("utf-8"))["resources"]
    assert spent["not_measurable"]["other processes"] == "the main process alone was metered"
    assert json.loads(done.stdout)["steps"] == 4, "one answer"
    again = launch("ragr1_lite", "grpo", str(file))
    assert again.returncode == 1
    assert again.stderr.count("already") == 1
    assert "bug" not in again.stderr
    assert launch("ragr1_lite", "grpo", str(file), "--overwrite", "--set", "train.steps=1").returncode == 0
    assert len(tiny.metrics_of(recipe.output)) == 1


# --- one process of two --------------------------------------------------------------------------------------------


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The environment of a process that is not the main one; what it waits for is written down."""
    waited: list[str] = []
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run_folder, "wait", lambda: waited.append("run"))
    yield waited


def test_who_a_process_is(monkeypatch: pytest.MonkeyPatch, second_of_two: list[str]) -> None:
    found = processes.processes(), processes.rank(), processes.local_rank(), processes.is_main()
    assert found == (2, 1, 1, False)
    monkeypatch.delenv("LOCAL_RANK")  # a cluster names a world in which this process was not launched
    assert (processes.processes(), processes.is_main()) == (1, True)
    assert processes.gathered([1.5, 2.0]) == [1.5, 2.0]
    assert (processes.anywhere(True), processes.anywhere(False)) == (True, False)


def test_a_process_alone_imports_nothing() -> None:
    code = (
        "import sys; from ragr1_lite.models import processes as d\n"
        "with d.main_first(): d.wait()\n"
        "print(d.anywhere(True), d.is_main(), 'torch' in sys.modules or 'accelerate' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


def test_the_main_process_alone_writes_the_run(tmp_path: Path, second_of_two: list[str]) -> None:
    run = Run.start(Recipe(task="sft", output=tmp_path / "run"))
    run.log(1, {"loss": 1.0})
    run.remember(micro_batch=2)
    run.save_summary({"steps": 1})
    assert not run.folder.exists()
    assert second_of_two == ["run"], "it begins when the main process has made the folder"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]: Connection reset by peer."),
        torch.distributed.DistBackendError("NCCL communicator was aborted"),
    ],
    ids=["gloo", "nccl"],
)
def test_another_process_has_ended(
    second_of_two: list[str], monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    with pytest.raises(RunError, match="Another process .*--resume"), processes.together():
        raise error
    with pytest.raises(RuntimeError, match="mat1 and mat2"), processes.together():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(type(error)), processes.together():
        raise error


@pytest.mark.parametrize(("batch", "micro", "passes"), [(12, 2, 3), (8, 4, 1), (12, 4, 0), (10, 2, 0)])
def test_the_batch_is_shared(
    folder: Path, tmp_path: Path, second_of_two: list[str], batch: int, micro: int, passes: int
) -> None:
    recipe = tiny.make_recipe(
        "sft", folder / "tiny-byte", tmp_path / "run", train={"batch_size": batch, "micro_batch": micro}
    )
    policy: Any = type("Policy", (), {"device": "cpu", "compute": "fp32"})
    if passes:
        arguments = trainer.trainer_arguments(recipe, Run(recipe.output), policy)
        assert arguments["gradient_accumulation_steps"] == passes
        assert arguments["per_device_train_batch_size"] == micro
    else:
        with pytest.raises(ConfigError, match=f"batch_size {batch} cannot be shared by 2 .*multiple of {2 * micro}"):
            trainer.trainer_arguments(recipe, Run(recipe.output), policy)


def test_processes_agree_on_what_each_has_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.cpu_speed, "prefers_bf16", lambda: False)
    monkeypatch.setattr(precision, "anywhere", lambda flag: True)  # the other one found it faster
    assert loading._resolve(ModelSpec("any"))[0].dtype == "bf16"


# --- launchers that cut up the model -------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", [{"ACCELERATE_USE_FSDP": "true"}, {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}])
def test_rollouts_need_the_whole_model(
    folder: Path, tmp_path: Path, launcher: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    policy: Any = type("Policy", (), {"device": "cpu", "compute": "fp32"})
    measured = {"every": 1, "questions": 1}
    for task, sections in (("grpo", {}), ("sft", {"eval": measured})):
        recipe = tiny.make_recipe(task, folder / "tiny-byte", tmp_path / "run", **sections)
        recipe = recipe.model_copy(update={"eval": recipe.eval.model_copy(update=sections.get("eval", {}))})
        with pytest.raises(ConfigError, match="cuts it up.*zero_stage 2"):
            trainer.trainer_arguments(recipe, Run(recipe.output), policy)
    recipe = tiny.make_recipe("sft", folder / "tiny-byte", tmp_path / "run")
    assert trainer.trainer_arguments(recipe, Run(recipe.output), policy)["gradient_accumulation_steps"] == 2


def test_an_adapter_is_written_from_gathered_weights(folder: Path, tmp_path: Path) -> None:
    policy = loading.load_policy(ModelSpec(str(folder / "tiny-byte"), dtype="fp32"), lora=LoraConfig(r=4))
    weights = {name: torch.full_like(weight, 0.5) for name, weight in policy.model.state_dict().items()}
    saved = tiny.adapter_of(lora.save_adapter(policy, tmp_path / "adapter", weights=weights))
    assert saved
    assert all((weight == 0.5).all() for weight in saved.values())


# --- accelerate's files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_examples(file: Path) -> None:
    """Its own reader refuses unknown keys; those of a section are options of its launcher."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    config = load_config_from_file(str(file))
    kind = {"ddp": "MULTI_GPU", "fsdp": "FSDP", "deepspeed_zero2": "DEEPSPEED"}[file.stem]
    assert (config.distributed_type.value, config.num_processes) == (kind, 2)
    parser = launch_command_parser()
    known = {action.dest for action in parser._actions}
    assert set(config.fsdp_config) | set(config.deepspeed_config) <= known
    arguments, _, _ = _validate_launch_command(parser.parse_args(["--config_file", str(file), "-m", "ragr1_lite"]))
    assert (arguments.num_processes, arguments.mixed_precision) == (2, "bf16")
    assert (arguments.multi_gpu, arguments.use_fsdp, arguments.use_deepspeed) == tuple(
        kind == one for one in ("MULTI_GPU", "FSDP", "DEEPSPEED")
    )
