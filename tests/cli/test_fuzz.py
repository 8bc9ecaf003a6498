"""Broken files and command lines by chance: one sentence and a fix, the exit code that is documented, nothing left.

Every case hangs on its seed alone, which a failure prints: ``RAGR1_LITE_FUZZ_SEED=SEED RAGR1_LITE_FUZZ_CASES=1`` runs
that one again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
import yaml
from typer.testing import CliRunner

from ragr1_lite.assistant import Setup
from ragr1_lite.cli.main import app
from ragr1_lite.config import recipes_folder
from ragr1_lite.core.errors import ModelError, RagR1Error
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index
from ragr1_lite.retrieval.bm25.store import MANIFEST, open_manifest, write_manifest
from tests.support.fuzzing import copy, documents, listing, mutate_file, words

FIRST = int(os.environ.get("RAGR1_LITE_FUZZ_SEED", "0"))
CASES = int(os.environ.get("RAGR1_LITE_FUZZ_CASES", "200"))
BATCHES = 4
SECONDS = 60
"""After which a case hangs."""
MEMORY = 2 * 2**30
"""Bytes that a case may take."""
BUG = re.compile(r"Traceback|bug in ragr1-lite|The memory ran out")
SENTENCE = re.compile(r"Error: [^\n]{5,}?(\. \S[^\n]+|\Z|\n)|^Usage: ", re.DOTALL)
RUNS_LONG = {"sft", "grpo", "quickstart", "ask", "study", "eval", "export", "mcp", "serve", "learn", "index serve"} | {
    "models fetch", "models remove", "doctor", "log", "data select",
}  # fmt: skip
"""Commands that load a model, serve, or touch what is the user's: their words are parsed, and no more."""

QUESTIONS = [
    {"id": f"q{n}", "question": f"What is the capital of {land}?", "answers": [city, city.upper()], "kind": "one",
     "supporting_facts": [[land, 0]], "context": [[land, [f"The capital of {land} is {city}."]]]}
    for n, (land, city) in enumerate([("Chad", "N'Djamena"), ("Mali", "Bamako"), ("Togo", "Lomé")])
]  # fmt: skip
HIT = {"id": "1", "title": "Chad", "text": "The capital of Chad is N'Djamena.", "score": 1.5, "place": "p. 1"}
EVALUATED = [
    {"id": f"q{n}", "question": f"Capital {n}?", "answers": ["N'Djamena"], "kind": "one", "answer": "N'Djamena",
     "stop_reason": "answer", "mode": "multi", "seconds": 0.5, "em": 1.0, "f1": 1.0, "cover_em": 1.0, "cause": None,
     "rounds": 1, "queries": 1, "sampled_tokens": 20, "retrieved_tokens": 60, "hops": 1, "gold_titles": ["Chad"],
     "segments": [{"source": "prompt", "tokens": 9}],
     "turns": [{"kind": "search", "think": "t", "queries": ["chad"], "passages": [[HIT]]},
               {"kind": "answer", "think": "So.", "queries": [], "passages": []}]}
    for n in range(3)
]  # fmt: skip


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good file or folder of every kind."""
    import pyarrow
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("samples")
    _lines(folder / "questions.jsonl", QUESTIONS)
    (folder / "questions.json").write_text(json.dumps(QUESTIONS), "utf-8")
    (folder / "questions.jsonl.gz").write_bytes(gzip.compress((folder / "questions.jsonl").read_bytes()))
    (folder / "questions.csv").write_text("question,answer\nWho?,Ann\nWhen?,1702\n", "utf-8")
    (folder / "questions.tsv").write_text("question\tanswer\nWho?\t['Ann', 'Anna']\nWhen?\t1702\n", "utf-8")
    plain = [{"id": one["id"], "question": one["question"], "answers": one["answers"]} for one in QUESTIONS]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain), folder / "questions.parquet")
    passages = [{"id": str(n), "title": one["title"], "text": one["text"]} for n, one in enumerate([HIT] * 3)]
    _lines(folder / "corpus.jsonl", passages)
    (folder / "corpus.csv").write_text("id,title,text\n1,Chad,A land.\n2,Mali,Another.\n", "utf-8")
    (folder / "corpus.sheet.csv").write_text('Land;Capital\nChad;"N\'Djamena"\nMali;Bamako\n', "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(passages), folder / "corpus.parquet")
    (folder / "facts.csv").write_text("subject,relation,object\nChad,capital,N'Djamena\n", "utf-8")
    documents(folder / "documents")
    build_index([Passage(str(n), f"T{n}", f"chad mali word{n} Built: 17{n:02}") for n in range(30)], folder / "index")
    _lines(folder / "evaluation.jsonl", EVALUATED)
    run = folder / "run"
    (run / "adapter").mkdir(parents=True)
    _lines(
        run / "metrics.jsonl", [{"step": n, "loss": 1.0 / n, "reward": 0.5, "lr": 1e-4, "seconds": 2} for n in (1, 2)]
    )
    spent = {"phases": {"generate": 1.0}, "peak_memory_gb": 1.0}
    (run / "summary.json").write_text(json.dumps({"steps": 2, "seconds": 4.0, "resources": spent}), "utf-8")
    (run / "state.json").write_text(json.dumps({"began_in": str(folder), "threads": 1}), "utf-8")
    recipe = yaml.safe_load((recipes_folder() / "grpo-smollm2-135m.yaml").read_text("utf-8"))
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
    config["base_model_name_or_path"] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    (run / "adapter" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    copy(run / "recipe.yaml", folder / "recipe.yaml")
    shape = {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "vocab_size": 99,
    }
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(shape), "utf-8")
    answered = {"time": "2026-11-30T12:00:00+00:00", "question": "Q?", "answer": "A", "sources": [], "turns": []}
    answered |= {
        "mode": "multi",
        "model": "m",
        "rounds": 0,
        "queries": 0,
        "seconds": 1.0,
        "phases": {},
        "index": "world",
    }
    _lines(folder / "answers.jsonl", [answered] * 3)
    return folder


KINDS: dict[str, tuple[str, list[list[str]]]] = {
    "questions": ("questions.*", [["data", "inspect", "IT"], ["data", "inspect", "IT", "--json"],
                  ["data", "generate", "IT", "--index", "INDEX", "-k", "1", "--out", "out.jsonl"],
                  ["index", "ceiling", "INDEX", "IT"]]),
    "corpora": ("corpus.*", [["index", "build", "IT", "--out", "out"]]),
    "documents": ("documents/*/*", [["index", "build", "IT", "--out", "out"]]),
    "facts": ("facts.csv", [["data", "make-questions", "INDEX", "--facts", "IT", "--out", "out.jsonl"]]),
    "trajectories": ("evaluation.jsonl", [["data", "view", "IT"], ["data", "view", "IT", "--json", "--limit", "9"]]),
    "evaluations": ("evaluation.jsonl", [["compare", "IT", "GOOD"], ["report", "IT", "-o", "out.html"],
                    ["report", "GOOD", "IT", "--format", "md", "-o", "out.md"]]),
    "recipes": ("recipe.yaml", [["recipes", "check", "IT"], ["plan", "IT"], ["recipes", "check", "IT", "--json"]]),
    "runs": ("run", [["report", "IT", "-o", "out.html"]]),
    "models": ("model", [["plan", "sft-qwen2.5-0.5b", "--set", "model.name=IT", "--gpu-gb", "8"]]),
    "indexes": ("index", [["index", "info", "IT"], ["index", "verify", "IT"], ["index", "search", "IT", "chad", "mali"],
                ["data", "make-questions", "IT", "--out", "out.jsonl"]]),
    "logs": ("answers.jsonl", [["log"], ["log", "chad"], ["log", "--show", "1"]]),
}  # fmt: skip


def commands(draw: random.Random, samples: Path, work: Path) -> list[str]:
    """A command whose input is broken, which is put into ``work``."""
    kind = draw.choice([*KINDS])
    pattern, lines = KINDS[kind]
    chosen = copy(one := draw.choice(sorted(samples.glob(pattern))), work / one.name)
    broken = draw.choice(sorted(path for path in chosen.rglob("*") if path.is_file())) if chosen.is_dir() else chosen
    mutate_file(broken, draw)
    if kind == "indexes" and broken.name != MANIFEST and broken.is_file() and draw.random() < 0.5:
        info = open_manifest(samples / "index")  # by somebody who signs what he has changed
        (chosen / MANIFEST).unlink()
        write_manifest(chosen, info, {})
    put = {"IT": str(chosen), "INDEX": str(samples / "index"), "GOOD": str(samples / "evaluation.jsonl")}
    os.environ["RAGR1_LITE_LOG"] = str(chosen) if kind == "logs" else "off"  # put back by run_case
    return [re.sub("IT$|INDEX|GOOD", lambda name: put[name[0]], word) for word in draw.choice(lines)]


def fuzzed_words(draw: random.Random, samples: Path, work: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """A command with words by chance; one that would run long ends after they are parsed."""
    names = []
    for name in ("questions.jsonl", "corpus.csv", "evaluation.jsonl", "recipe.yaml", "run", "index", "facts.csv"):
        copy(samples / name, work / name)
        names.append(name)
    group, path = typer.main.get_command(app), list[str]()
    while children := getattr(group, "commands", None):
        path.append(draw.choice(sorted(children)))
        group = children[path[-1]]
    found = [*path, *words(draw, group.params, names)]
    if " ".join(path) in RUNS_LONG:
        patch.setattr(group, "callback", lambda **_: None)
    return found


def refused(*_: Any, **__: Any) -> None:
    raise ConnectionRefusedError(111, "nobody connects here")


def no_model(*_: Any, **__: Any) -> None:
    raise ModelError("No model is loaded here", "Leave it out.")


@pytest.fixture
def run_case(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], str]]:
    """Runs a case in a folder of its own; says what is wrong with how it ended, nothing where it ended well."""
    if sys.platform != "linux":
        pytest.skip("a case's time and memory are bounded by Linux's means")
    import resource

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr("ragr1_lite.models.loading.load_policy", no_model)
    monkeypatch.setenv("RAGR1_LITE_LOG", "off")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def ring(*_: Any) -> None:
        raise TimeoutError("it hangs")

    def run(seed: int) -> str:
        draw, work = random.Random(seed), tmp_path / str(seed)
        work.mkdir()
        monkeypatch.chdir(work)
        by_words = draw.random() < 0.35
        line = fuzzed_words(draw, samples, work, monkeypatch) if by_words else commands(draw, samples, work)
        before = listing(work)
        signal.alarm(SECONDS)
        try:
            result = CliRunner().invoke(app, line)
        finally:
            signal.alarm(0)
        problem = verdict(result, listing(work) - before, listing(work))
        return f"seed {seed}: {' '.join(line)!r}\n  {problem}" if problem else ""

    handler = signal.signal(signal.SIGALRM, ring)
    before, limits = dict(os.environ), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + MEMORY, limits[1]))
    yield run
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    os.environ.clear()
    os.environ.update(before)
    signal.signal(signal.SIGALRM, handler)


def verdict(result: Any, left: set[str], there: set[str]) -> str:
    """What is wrong with how a command ended."""
    said = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"it raised {result.exception!r}"
    if result.exit_code not in (0, 1, 2) or BUG.search(said):
        return f"exit code {result.exit_code}: {said[-600:]}"
    if result.exit_code and not SENTENCE.search(said) and '"error"' not in said and "✗" not in said:
        return f"exit code {result.exit_code} without a sentence: {said[-300:]!r}"
    if result.exit_code and (left := {name for name in left if not name.endswith(".journal")}):  # for --resume
        return f"it failed and left {sorted(left)[:5]}: {said[-300:]}"
    if hidden := [name for name in left & there if any(part.startswith(".") for part in name.split("/"))]:
        return f"it left {hidden[:5]}"
    return ""


def check(run_case: Callable[[int], str], seeds: range) -> None:
    print(f"seeds {seeds.start} to {seeds.stop - 1}")
    problems = [problem for seed in seeds if (problem := run_case(seed))]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_broken_inputs_end_in_a_sentence(run_case: Callable[[int], str], batch: int) -> None:
    each = -(-CASES // BATCHES)
    check(run_case, range(FIRST + batch * each, FIRST + min(CASES, (batch + 1) * each)))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_two_thousand_broken_inputs_end_in_a_sentence(run_case: Callable[[int], str], batch: int) -> None:
    check(run_case, range(FIRST + 100 * batch, FIRST + 100 * (batch + 1)))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 60))
def test_a_broken_adapter_or_run_is_a_sentence(samples: Path, tmp_path: Path, seed: int) -> None:
    """What a model is asked by is read before the model is loaded."""
    draw, run = random.Random(seed), copy(samples / "run", tmp_path / "run")
    mutate_file(draw.choice([run / "adapter" / "adapter_config.json", run / "recipe.yaml", run / "state.json"]), draw)
    try:
        Setup(adapter=str(run)).recipe()
    except RagR1Error as error:
        assert error.message and error.hint
