"""What tests of commands share: an environment that stays, a small index, an assistant that follows a script."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import Assistant, Setup
from ragr1_lite.cli.main import app
from ragr1_lite.core.events import Notice, TextSampled
from ragr1_lite.core.protocol import STOP, Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Completion, Passage, SampleRequest
from ragr1_lite.retrieval import Bm25Searcher

CORPUS = (
    {"id": "1", "title": "Chad", "text": "The highest point of Chad is Emi Koussi with 3,415 metres."},
    {"id": "2", "title": "Niger", "text": "The highest point of Niger is Mont Idoukal-n-Taghès, \u001b[31m2,022 m."},
    {"id": "3", "title": "São Tomé", "text": "An island in the Gulf of Guinea."},
)


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CORPUS), encoding="utf-8")
    return path


@pytest.fixture
def index(corpus: Path, tmp_path: Path) -> Path:
    assert CliRunner().invoke(app, ["index", "build", str(corpus), "--out", str(tmp_path / "index")]).exit_code == 0
    return tmp_path / "index"


class Bytes:
    """A tokenizer of bytes."""

    eos_ids = (0,)
    opening = ""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        return bytes(token_ids).decode(errors="ignore")

    def render_chat(self, user: str) -> list[int]:
        return self.encode(user)


class Script:
    """A sampler that writes a script, turn by turn; an exception in the script is raised."""

    tokenizer = Bytes()

    def __init__(self, *turns: str | BaseException) -> None:
        self._turns = iter(turns)

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        assert len(requests) == 1 and tuple(stop) == STOP
        text = next(self._turns)
        if isinstance(text, BaseException):
            raise text
        for character in text:
            report(TextSampled(0, character))
        return [Completion(tuple(self.tokenizer.encode(text)), text, "stop")]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Lets ``ask`` open a scripted assistant; returns what it was opened with."""

    def prepare(*turns: str | BaseException) -> dict[str, Any]:
        opened: dict[str, Any] = {}
        searcher = Bm25Searcher.from_passages([Passage(row["id"], row["title"], row["text"]) for row in CORPUS])
        assistant = Assistant(Script(*turns), searcher, Protocol(), Limits(k=2))

        def open_it(setup: Setup = Setup(), *, report: Any) -> Assistant:
            opened.update(asdict(setup))
            report(Notice("Using a script."))
            return assistant

        monkeypatch.setattr(Assistant, "open", open_it)
        return opened

    return prepare
