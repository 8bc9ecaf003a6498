from __future__ import annotations

import errno
import inspect
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite import __version__
from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.cli.main import app
from ragr1_lite.config import recipes_folder
from ragr1_lite.core.errors import ConfigError, ModelError, RagR1Error
from ragr1_lite.core.events import CheckpointSaved, StepFinished
from ragr1_lite.core.protocol import render_turn

QUESTION = "Which has the higher highest point, Chad or Niger?"
COMMANDS = [
    command.split()
    for command in (
        "ask, sft, grpo, eval, compare, report, study, quickstart, serve, learn, index, index build, index search, "
        "index info, index verify, index ceiling, index serve, data benchmarks, data generate, data inspect, "
        "data make-questions, data segment, data select, data view, doctor, plan, recipes check, recipes copy, "
        "recipes list, recipes show"
    ).split(", ")
]


def run(*arguments: str | Path, given: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def library(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    """Puts functions in the place of a module that would load torch, or run for minutes."""
    module = ModuleType(f"ragr1_lite.{name}")
    module.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    parent, _, leaf = module.__name__.rpartition(".")
    monkeypatch.setattr(import_module(parent), leaf, module, raising=False)


# --- help and usage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage: " in result.output and result.output.count("\n") > 5
    assert all(len(line) <= 90 for line in result.output.splitlines())


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"ragr1-lite {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval", "--mode", "both"], "'both' is not one of multi, single, cot-rag, rag, direct"),
        (["sft"], "Missing argument"),
        (["ask", "x", "-k", "0"], "-k"),
        (["sft", "x", "--stes", "1"], "No such option"),
        (["nothing"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr and result.stdout == ""


def test_defaults_are_those_of_the_library() -> None:
    from ragr1_lite import evaluation
    from ragr1_lite.cli.commands import ask as asking
    from ragr1_lite.cli.commands import evaluate as evaluating

    for command, function, some in (
        (asking.ask, Setup, {"index", "model", "adapter", "mode", "k", "max_queries"}),
        (evaluating.evaluate, Setup, {"index", "model", "adapter", "k", "max_queries"}),
        (evaluating.evaluate, evaluation.run, {"data", "split", "questions", "seed", "samples", "normalizer"}),
    ):
        ours, theirs = inspect.signature(command).parameters, inspect.signature(function).parameters
        shared = (set(ours) & set(theirs)) - {"batch_size", "mode"} | (some & {"mode"})
        assert some <= shared
        assert {name: ours[name].default for name in shared} == {name: theirs[name].default for name in shared}


def test_a_server_has_the_defaults_of_the_library() -> None:
    from ragr1_lite.cli.commands.index import index_serve
    from ragr1_lite.retrieval.remote.server import Limits, serve

    ours, theirs = inspect.signature(index_serve).parameters, inspect.signature(serve).parameters
    assert [ours[name].default for name in ("host", "port")] == [theirs[name].default for name in ("host", "port")]
    assert (ours["k"].default, ours["max_k"].default) == (Limits().k, Limits().max_k)


def test_the_title_weight_in_the_help_is_the_default() -> None:
    from ragr1_lite.retrieval.bm25.build import TITLE_WEIGHT

    assert f"[default: {TITLE_WEIGHT}]" in " ".join(run("index", "build", "--help").stdout.split())


# --- recipes ------------------------------------------------------------------------------------------------------


def test_recipes_are_listed_with_a_sentence_and_shown_as_they_are() -> None:
    listed = run("recipes", "list").stdout
    for path in recipes_folder().glob("*.yaml"):
        (line,) = (line for line in listed.splitlines() if line.startswith(f"{path.stem} "))
        assert len(line.split()) > 3 and "ragr1-lite" not in line
        assert run("recipes", "show", path.stem).stdout == path.read_text(encoding="utf-8")


def test_unknown_recipe() -> None:
    result = run("recipes", "show", "nope")
    assert result.exit_code == 2 and "There is no recipe 'nope'" in result.stderr and "sft-smollm2" in result.stderr


def test_every_problem_of_a_recipe_is_in_one_sentence() -> None:
    result = run("sft", "sft-smollm2-135m", "--set", "train.stesp=3", "--set", "lora.r=0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("Error: ")
    assert "2 problems" in result.stderr and "train.stesp (did you mean steps?)" in result.stderr


SEARCH = render_turn("Two facts.", queries=("highest point of Chad", "highest point of Niger"))
ANSWER = render_turn("3,415 m is more.", answer="Chad")


# --- ask ----------------------------------------------------------------------------------------------------------


def test_ask_json(scripted: Callable[..., dict[str, Any]]) -> None:
    opened = scripted(SEARCH, ANSWER)
    result = run("ask", QUESTION, "--json", "--adapter", "none", "--mode", "multi", "-k", "2")
    assert result.exit_code == 0 and result.stdout.count("\n") == 1
    answer = json.loads(result.stdout)
    assert list(answer) == "question answer mode model sources turns rounds queries seconds phases".split()
    assert (answer["question"], answer["answer"], answer["rounds"], answer["queries"]) == (QUESTION, "Chad", 1, 2)
    (turn,) = answer["turns"]
    assert turn["queries"] == ["highest point of Chad", "highest point of Niger"]
    assert [[passage["title"] for passage in found] for found in turn["passages"]] == [
        ["Chad", "Niger"],
        ["Niger", "Chad"],
    ]
    assert set(turn["passages"][0][0]) == {"title", "score"}
    assert result.stderr == "· Using a script.\n"
    assert opened["adapter"] == "none" and opened["k"] == 2 and opened["index"] is None


def test_ask_without_a_terminal_is_plain_lines(scripted: Callable[..., dict[str, Any]]) -> None:
    scripted(SEARCH, ANSWER)
    result = run("--quiet", "ask", QUESTION)
    assert result.exit_code == 0 and result.stderr == ""
    shown = result.stdout.splitlines()
    assert shown[:3] == [f"Question: {QUESTION}", "Thought: Two facts.", "Search: highest point of Chad"]
    assert shown[-4:-2] == ["Thought: 3,415 m is more.", "Answer: Chad"] and "\x1b" not in result.stdout


def test_ask_without_an_answer_still_succeeds(scripted: Callable[..., dict[str, Any]]) -> None:
    scripted("<think>hm</think>")
    answer = json.loads(run("ask", QUESTION, "--json").stdout)
    assert answer["answer"] is None and answer["turns"] == []


def test_ask_answers_line_by_line_and_remembers_what_failed(scripted: Callable[..., dict[str, Any]]) -> None:
    scripted(ANSWER, ModelError("It broke", "Fix it."), ANSWER)
    result = run("ask", "--json", given="first\nsecond\n\nthird\n")
    assert [json.loads(line)["question"] for line in result.stdout.splitlines()] == ["first", "third"]
    assert result.exit_code == 1 and "Error: It broke. Fix it." in result.stderr


def test_ctrl_c_during_the_only_answer(scripted: Callable[..., dict[str, Any]]) -> None:
    scripted(KeyboardInterrupt())
    result = run("ask", QUESTION)
    assert (result.exit_code, result.stderr.splitlines()[-1].strip()) == (130, "Stopped.")


def test_ask_with_a_missing_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library(monkeypatch, "models.sampler", TransformersSampler=None)
    library(monkeypatch, "models.loading", load_policy=None, model_spec=None)
    library(monkeypatch, "models.lora", merge_adapter=None)
    result = run("ask", "x", "--model", "smollm2-135m", "--index", tmp_path / "none")
    assert result.exit_code == 1 and "There is no index" in result.stderr


# --- training -----------------------------------------------------------------------------------------------------


def trained(recipe: Any, *, resume: bool, overwrite: bool, report: Callable[[object], None]) -> Any:
    print("a library prints")
    warnings.warn("a library warns", stacklevel=1)
    logging.getLogger("library").warning("a library logs")
    report(StepFinished(1, 1, {"loss": 1.0, "seconds": 1.0}))
    folder = recipe.output
    return SimpleNamespace(
        run=SimpleNamespace(folder=folder), adapter=folder / "adapter", seconds=1.5, steps=1, resources=None
    )


@pytest.mark.parametrize("task", ["sft", "grpo"])
def test_training_json_and_silence_of_libraries(
    task: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library(monkeypatch, f"training.{task}", train=trained)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"task: {task}\n", encoding="utf-8")
    result = run(task, recipe, "--set", f"output={tmp_path}/run", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {
        "run": f"{tmp_path}/run",
        "adapter": f"{tmp_path}/run/adapter",
        "steps": 1,
        "seconds": 1.5,
        "resources": None,
    }
    assert caplog.records == [] and logging.getLogger("library").isEnabledFor(logging.WARNING)  # off, and on again
    assert "library" not in result.stderr and "Step 1/1" in result.stderr
    assert "The adapter is in" in run(task, recipe).stdout
    wrong = run("grpo" if task == "sft" else "sft", recipe)
    assert wrong.exit_code == 2 and f"recipe for `{task}`" in wrong.stderr


def test_debug_shows_libraries_messages_but_not_on_stdout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["ignore"])
    library(monkeypatch, "training.sft", train=lambda *_, **__: (print("a library prints"), trained_quietly())[1])

    def trained_quietly() -> Any:
        run = SimpleNamespace(folder="r")
        return SimpleNamespace(run=run, adapter="r/adapter", seconds=1.0, steps=1, resources=None)

    recipe = tmp_path / "mine.yaml"
    recipe.write_text("task: sft\n", encoding="utf-8")
    result = run("--debug", "sft", recipe, "--json")
    assert "a library prints" in result.stderr and json.loads(result.stdout)["steps"] == 1


def failing(error: BaseException) -> Callable[..., Any]:
    def train(*_: Any, report: Callable[[object], None], **__: Any) -> Any:
        raise error

    return train


def test_ctrl_c_in_training_names_the_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(*_: Any, report: Callable[[object], None], **__: Any) -> Any:
        report(CheckpointSaved("runs/x/checkpoints/checkpoint-7", 7))
        raise KeyboardInterrupt

    library(monkeypatch, "training.sft", train=train)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("task: sft\n", encoding="utf-8")
    result = run("sft", recipe)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines()[-1] == "Stopped. The checkpoint of step 7 is kept: go on with --resume."
    library(monkeypatch, "training.sft", train=failing(KeyboardInterrupt()))
    assert "--resume" not in run("sft", recipe).stderr
    library(monkeypatch, "cli.quickstart", run=train)
    assert "--resume" not in run("quickstart").stderr
    library(monkeypatch, "cli.learn", run=train)
    assert run("learn", tmp_path).stderr.endswith("Stopped. What is finished is kept: the same command goes on.\n")


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RagR1Error("It broke", "Fix it."), 1, "Error: It broke. Fix it."),
        (ModelError("No \x1b[31mweights", "Fix it."), 1, "Error: No weights. Fix it."),
        (ConfigError("It is wrong", "Change it."), 2, "Error: It is wrong. Change it."),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no space left on the disk. Free some space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            1,
            "Permission is denied (/x). Choose another folder;",
        ),
        (MemoryError(), 1, "memory ran out. Lower train.micro_batch"),
        (OutOfMemoryError("CUDA"), 1, "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "memory ran out"),
        (ValueError("a\nb"), 70, "Error: This is a bug in ragr1-lite: ValueError: a b; run again with --debug and"),
        (FileNotFoundError(errno.ENOENT, "No such file"), 70, "This is a bug"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library(monkeypatch, "training.sft", train=failing(error))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("task: sft\n", encoding="utf-8")
    result = run("sft", recipe)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    debug = run("--debug", "sft", recipe)
    assert debug.exit_code == code and "Traceback" in debug.stderr and words in debug.stderr


# --- evaluation, quickstart, data ---------------------------------------------------------------------------------

FIGURES = {"n": 2, "em": 0.5, "f1": 0.6, "valid": 1.0, "rounds": 1.0, "queries": 2.0, "seconds_per_question": 0.25}
EVALUATED = {**FIGURES, "by_kind": {"bridge": FIGURES}}


def evaluation(label: str) -> Any:
    return SimpleNamespace(label=label, to_json=lambda: EVALUATED, resources=None, given_up="", readings="", refused="")


def test_eval_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ragr1_lite.evaluation import run as evaluation_run

    known = set(inspect.signature(evaluation_run).parameters)
    calls: list[dict[str, Any]] = []

    def evaluate(setup: Setup, **options: Any) -> list[Any]:
        calls.append(options)
        return [evaluation(mode) for mode in options["modes"] or ["multi"]]

    monkeypatch.setattr("ragr1_lite.evaluation.run", evaluate)
    assert json.loads(run("eval", "--json").stdout) == EVALUATED
    two = run("eval", "--mode", "multi", "--mode", "single", "--mode", "multi", "--json")
    assert json.loads(two.stdout) == {"multi": EVALUATED, "single": EVALUATED}
    table = run("eval", "--mode", "rag", "--questions", "5", "--kind", "bridge", "--out", tmp_path / "x.jsonl").stdout
    assert table.splitlines()[1].split() == ["bridge", "EM", "F1", "valid", "rounds", "queries", "s/question"]
    assert table.splitlines()[2].split() == ["rag", ".50", ".50", ".60", "100%", "1.00", "2.00", "0.25"]
    assert calls[0]["data"] == "world" and calls[0]["split"] == "test" and calls[0]["questions"] is None
    assert calls[2]["kinds"] == ["bridge"] and calls[2]["out"] == tmp_path / "x.jsonl"
    assert set(calls[0]) <= known and (calls[0]["shots"], calls[0]["shots_from"]) == (0, None)
    run("eval", "--mode", "rag", "--shots", "2", "--shots-from", "train.jsonl")
    assert (calls[3]["shots"], calls[3]["shots_from"]) == (2, "train.jsonl")


def test_shots_that_nobody_would_see_are_one_sentence() -> None:
    result = run("eval", "--model", "smollm2-135m", "--mode", "multi", "--shots", "2", "--questions", "3")
    assert (result.exit_code, result.stdout) == (2, "") and "Traceback" not in result.stderr
    *_, last = result.stderr.splitlines()
    assert last == "Error: --shots are for direct, rag and cot-rag. Add one of these modes, or leave --shots out."


def test_quickstart_shows_its_table_and_answers_a_question(
    monkeypatch: pytest.MonkeyPatch, scripted: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    labels = ("base", "SFT", "SFT + GRPO")
    result = SimpleNamespace(
        evaluations=[evaluation(label) for label in labels],
        to_json=lambda: {"rows": dict.fromkeys(labels, EVALUATED)},
        adapter=str(tmp_path / "adapter"),
        recipe=None,
    )
    calls: list[dict[str, Any]] = []

    def quickstart(**options: Any) -> Any:
        calls.append(options)
        return result

    library(monkeypatch, "cli.quickstart", run=quickstart, QUESTION=QUESTION)
    scripted(*(SEARCH, ANSWER) * 2)
    monkeypatch.setattr(Assistant, "open_recipe", lambda recipe, **options: Assistant.open(**options))
    assert json.loads(run("quickstart", "--json").stdout) == {"rows": dict.fromkeys(labels, EVALUATED)}
    shown = run("quickstart", "--seed", "1", "--folder", tmp_path)
    assert shown.exit_code == 0, shown.stderr
    rows = shown.stdout.splitlines()
    first = next(place for place, row in enumerate(rows) if row.startswith("base"))
    assert [row.partition(" .")[0].strip() for row in rows[first : first + 3]] == list(labels)
    asked = [place for place, row in enumerate(rows) if row == f"Question: {QUESTION}"]
    assert len(asked) == rows.count("Answer: Chad") == 2
    assert asked[0] < first < asked[1], "before anything is trained, and afterwards"
    assert [(call["full"], call["seed"], call["folder"]) for call in calls[1:]] == [(False, 1, tmp_path)]


# --- the entry point ----------------------------------------------------------------------------------------------


def test_debug_and_quiet_may_stand_anywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ragr1_lite.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ragr1-lite", "index", "info", "none", "--debug"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1 and "Traceback" in capsys.readouterr().err


def test_a_terminal_that_cannot_show_a_letter_gets_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    from ragr1_lite.cli.main import main

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["ragr1-lite", "recipes", "show", "nope·"])
    with pytest.raises(SystemExit):
        main()
    assert out.errors == "replace"
