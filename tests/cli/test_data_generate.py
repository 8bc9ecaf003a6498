"""`data generate`: its options reach the library, its counts are shown, an endpoint's failure is one line."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import Setup
from ragr1_lite.cli.commands.datagen import data_generate
from ragr1_lite.cli.main import app
from ragr1_lite.core.protocol import render_turn
from ragr1_lite.datagen import generate as generating
from ragr1_lite.datagen.endpoint import Connection
from ragr1_lite.datagen.generate import Sampling
from ragr1_lite.datagen.rejection import Criteria
from tests.support.chatting import chat, refusal
from tests.support.recorded import recorded

COUNTS = {"questions": 3, "kept": 2, "rejected": {"no passage": 1}, "rounds": 1.5, "queries": 2.0, "by_kind": {}}


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", "generate", *map(str, arguments)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    made: list[tuple[Any, dict[str, Any]]] = []

    def generate(questions: Any, setup: Setup, **options: Any) -> dict[str, Any]:
        made.append((questions, asdict(setup) | options))
        return COUNTS

    monkeypatch.setattr(generating, "generate", generate)
    return made


def test_forms(calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path) -> None:
    command = (tmp_path / "q.jsonl", "--index", "world", "--out", tmp_path / "t.jsonl")
    assert json.loads(run(*command, "--json").stdout) == COUNTS
    assert "Rejected   no passage 1\n" in run(*command, "hub:a/b", "--mode", "single", "--limit", "3").stdout
    (first, plain), (both, other) = calls
    assert first == [str(tmp_path / "q.jsonl")] and both == [str(tmp_path / "q.jsonl"), "hub:a/b"]
    assert plain["model"] == "gold" and plain["mode"] is None and plain["out"] == tmp_path / "t.jsonl"
    assert other["mode"] == "single" and other["limit"] == 3


def test_every_option_arrives(calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path) -> None:
    options = (
        "--teacher http://h/v1 --teacher-model m --concurrency 3 --timeout 9 --price-in 1 --price-out 2 --tries 4 "
        "--temperature 0.5 --seed 7 --keep f1 --threshold 0.6 --k 2 --max-queries 2,1 --batch-size 5 --adapter none "
        "--resume --overwrite"
    )
    run("q", "--index", "world", "--out", "t", "--rejected", "r", *options.split())
    [(_, given)] = calls
    assert given["connection"] == Connection("m", 3, 9.0, price_in=1.0, price_out=2.0)
    assert given["sampling"] == Sampling(7, 4, 0.5) and given["criteria"] == Criteria("f1", 0.6)
    expected = {
        "model": "http://h/v1",
        "adapter": "none",
        "k": 2,
        "max_queries": "2,1",
        "batch_size": 5,
        "rejected": Path("r"),
        "resume": True,
        "overwrite": True,
    }
    assert {name: given[name] for name in expected} == expected


def test_defaults_are_those_of_the_library() -> None:
    ours = inspect.signature(data_generate).parameters
    library = {name: one.default for name, one in inspect.signature(generating.generate).parameters.items()}
    for group in (Setup(), Connection(), Sampling(), Criteria()):
        library |= {name: getattr(group, name) for name in group.__slots__}
    shared = set(ours) & set(library) - {"questions", "index", "out", "setup"}
    assert {"mode", "max_queries", "batch_size", "concurrency", "timeout", "tries", "seed", "keep"} <= shared
    assert {name: ours[name].default for name in shared} == {name: library[name] for name in shared}


def write_questions(folder: Path) -> Path:
    rows = [{"question": "What is the capital of Chad?", "answers": ["N'Djamena"], "kind": "one-hop"}]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "q.jsonl"


def test_an_endpoint_teaches(tmp_path: Path) -> None:
    turns = [render_turn("I search.", queries=["capital of Chad"]), render_turn("Found.", answer="N'Djamena")]
    with recorded(chat(lambda body: turns[len(body["messages"]) // 2])) as server:
        command = (write_questions(tmp_path), "--index", "world", "--out", tmp_path / "t.jsonl")
        result = run(*command, "--teacher", f"{server.url}/v1", "--price-in", "1", "--price-out", "2", "--json")
    assert result.exit_code == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts["kept"] == 1 and counts["by_kind"] == {"one-hop": 1} and counts["rejected"] == {}
    assert counts["usage"] == {"requests": 2, "prompt_tokens": 20, "completion_tokens": 10, "cost": 4e-05}
    assert "which cost 4e-05" in result.stderr and "Asking tiny at " in result.stderr
    [row] = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert row["teacher"] == "tiny" and isinstance(row["seed"], int)


def test_an_endpoint_s_failure_is_one_line(tmp_path: Path) -> None:
    with recorded(chat(lambda body: refusal(401, "Incorrect API key"))) as server:
        command = (write_questions(tmp_path), "--index", "world", "--out", tmp_path / "t.jsonl")
        result = run(*command, "--teacher", f"{server.url}/v1")
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith(f"Error: {server.url}/v1 refuses the key (status 401: Incorrect")
    assert "Traceback" not in result.stderr and not list(tmp_path.glob(".*"))
