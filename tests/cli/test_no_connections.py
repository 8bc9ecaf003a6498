"""Nothing connects anywhere, nor asks for a name, unless the command says that it does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ragr1_lite.cli.main import app
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.retrieval import build_index, read_corpus
from tests.evaluation.test_report import row, saved
from tests.support import tiny
from tests.training.test_resume import untrained

CONNECT = {"models fetch": "its help: it fetches", "quickstart": "its parts are here: ask, sft, grpo and eval"}
"""Commands that are left out, and why."""
COMMANDS = {
    "ask": "ask Who? --model tiny --adapter none --index index",
    "log": "log",
    "sft": "sft sft.yaml",
    "grpo": "grpo grpo.yaml",
    "learn": "learn documents --model tiny --out learned",
    "eval": "eval --data questions.jsonl --model tiny --adapter none --index index --out new.jsonl",
    "compare": "compare evaluation.jsonl evaluation.jsonl",
    "report": "report evaluation.jsonl -o page.html",
    "study": "study queries sft.yaml --questions 1 --set model.adapter=adapter --out study",
    "plan": "plan sft.yaml",
    "doctor": "doctor",
    "serve": "serve --model tiny --adapter none --index index --no-log --port 0",
    "export": "export adapter --model tiny --out merged --index index --data questions.jsonl",
    "mcp": "mcp --model tiny --adapter none --index index --no-log --http --port 0",
    "index build": "index build documents --out built",
    "index update": "index update index documents",
    "index search": "index search index chad",
    "index serve": "index serve index --port 0",
    "index ceiling": "index ceiling index questions.jsonl",
    "index info": "index info index",
    "index verify": "index verify index",
    "data inspect": "data inspect questions.jsonl",
    "data benchmarks": "data benchmarks",
    "data view": "data view trajectories.jsonl --masks --model tiny",
    "data segment": "data segment trajectories.jsonl --model tiny",
    "data generate": "data generate questions.jsonl --index index --out generated.jsonl",
    "data select": "data select questions.jsonl --model tiny --adapter none --index index --out selected.jsonl",
    "data make-questions": "data make-questions index --out made.jsonl",
    "recipes list": "recipes list",
    "recipes show": "recipes show sft-smollm2-135m",
    "recipes copy": "recipes copy sft-smollm2-135m mine.yaml",
    "recipes check": "recipes check sft.yaml",
    "models list": "models list",
    "models remove": "models remove smollm2-135m",
}
MAY_FAIL = {
    "doctor": "it finds faults",
    "data select": "a model by chance answers nothing right",
    "models remove": "there is none",
    "data make-questions": "one fact makes no question",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, its adapter, an index, and a file of each kind."""
    folder = tmp_path_factory.mktemp("offline")
    model = tiny.save_byte_model(folder / "tiny")
    tiny.save_foreign_adapter(model, folder / "adapter")
    (folder / "documents").mkdir()
    fact = "The capital of Chad is N'Djamena."
    saved(folder / "documents" / "corpus.jsonl", {"id": "1", "title": "Chad", "text": fact})
    build_index(read_corpus([folder / "documents"]), folder / "index")
    asked = {"id": "1", "question": "What is the capital of Chad?", "answers": ["N'Djamena"]}
    gold = {"supporting_facts": [["Chad", 0]], "context": [["Chad", [fact]]]}
    saved(folder / "questions.jsonl", asked | gold)
    saved(folder / "evaluation.jsonl", row("1", "Chad"))
    train = {"steps": 1, "batch_size": 2, "micro_batch": 2}
    sections: dict[str, Any] = {"train": train, "data": {"train": str(folder / "trajectories.jsonl")}}
    sections |= {"retrieval": {"index": str(folder / "index")}, "eval": {"data": str(folder / "questions.jsonl")}}
    for task in ("sft", "grpo"):
        recipe = tiny.make_recipe(task, model, folder / f"run-{task}", **sections)
        recipe = type(recipe).model_validate(recipe.model_dump() | {n: sections[n] for n in ("retrieval", "eval")})
        (folder / f"{task}.yaml").write_text(recipe.dump(), "utf-8")
    write_records(folder / "trajectories.jsonl", tiny.gold(tiny.load(recipe), recipe, count=4))
    return folder


@pytest.fixture
def tried(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whom somebody wanted to reach; with caches that are empty."""
    found: list[str] = []

    resolve = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **options: Any) -> Any:
        if host in ("127.0.0.1", "localhost"):  # a server's own address
            return resolve(host, *more, **options)
        return refuse(host)

    def refuse(*asked: Any) -> Any:
        found.append(str(asked[-1] if isinstance(asked[0], socket.socket) else asked[0]))
        raise OSError("nobody connects here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    for name in ("HF_HOME", "RAGR1_LITE_CACHE", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("RAGR1_LITE_LOG", str(tmp_path / "log.jsonl"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    yield found


def all_commands(group: Any, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{path}{name} ")
        else:
            yield path + name


def test_every_command_is_tried() -> None:
    assert {*COMMANDS} | {*CONNECT} == {*all_commands(typer.main.get_command(app))}


@pytest.mark.parametrize("command", COMMANDS)
def test_it_connects_to_nothing(command: str, tried: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    if command == "grpo":
        untrained(monkeypatch)  # a reward that a model by chance earns
    result = CliRunner().invoke(app, COMMANDS[command].split())
    assert tried == []
    assert result.exit_code == 0 or command in MAY_FAIL, result.output


def test_what_asks_for_the_hub_is_refused_here(tried: list[str]) -> None:
    """The guard works: a hub's model is looked for there, and named."""
    result = CliRunner().invoke(app, ["ask", "Who?", "--model", "nobody/nothing", "--no-log"])
    assert result.exit_code == 1 and tried and "cannot be reached" in " ".join(result.stderr.split())
