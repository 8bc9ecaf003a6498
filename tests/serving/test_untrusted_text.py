"""Text that hides or commands reaches neither the terminal, nor the page, nor the tools, nor a report."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Passage
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.ui.conversation import Conversation
from ragr1_lite.ui.display import Display
from tests.support.hostile import SCREEN
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

EVIL = "".join(f"w{number}{mark}x" for number, mark in enumerate(SCREEN))
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0041]")
FOUND = [Passage(f"{EVIL}.md#1", EVIL, EVIL, 1.0, place=EVIL, index=EVIL)]


def assistant() -> Assistant:
    said = [f"<think>{EVIL}</think><search>{EVIL}</search>", f"<think>{EVIL}</think><answer>{EVIL}</answer>"]
    return Assistant(ScriptedSampler(said), ScriptedSearcher(default=FOUND), Protocol(), Limits(), EVIL, EVIL)


def by_page(_: Path) -> Any:
    pytest.importorskip("fastapi")
    from ragr1_lite.serving.page import make_app

    app = make_app(assistant())

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8123") as client:
            return [await client.post("/ask", json={"question": EVIL}), await client.get("/about")]

    asked, about = asyncio.run(ask())
    assert "event: answer" in asked.text
    return [json.loads(data) for data in re.findall("data: (.*)\n", asked.text)] + [about.json()]


def by_tools(_: Path) -> Any:
    mcp = pytest.importorskip("mcp")
    from ragr1_lite.serving.mcp_server import make_server

    server = make_server(ScriptedSearcher(default=FOUND), assistant)
    calls = {"search": {"queries": ["chad"]}, "answer": {"question": EVIL}}

    async def use() -> Any:
        async with mcp.Client(server) as client:
            return [(await client.call_tool(tool, given)).structured_content for tool, given in calls.items()]

    return asyncio.run(use())


def by_terminal(_: Path) -> Any:
    streams = [io.StringIO(), io.StringIO()]
    out, err = (Console(file=stream, width=200, color_system=None) for stream in streams)
    view = Conversation.on(Display(out=out, err=err, plain=True))
    view.begin(EVIL)
    view.finish(assistant().ask(EVIL, view))
    return [stream.getvalue() for stream in streams]


def by_report(folder: Path) -> Any:
    passage = {"id": "1", "title": EVIL, "text": EVIL, "score": 1.0}
    turns = [
        {"kind": "search", "think": EVIL, "queries": [EVIL], "passages": [[passage]]},
        {"kind": "answer", "think": EVIL, "queries": [], "passages": []},
    ]
    line = {
        "id": EVIL, "question": EVIL, "answers": [EVIL], "kind": EVIL, "answer": EVIL, "stop_reason": "answer",
        "turns": turns, "mode": "multi", "seconds": 0.5, "em": 1.0, "f1": 1.0, "cover_em": 1.0, "cause": None,
        "rounds": 1, "queries": 1, "sampled_tokens": 2, "retrieved_tokens": 6,
        "segments": [{"source": "prompt", "tokens": 9}],
    }  # fmt: skip
    (folder / "e\u202evil.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    write_report([folder / "e\u202evil.jsonl"], folder / "a.html")
    page = (folder / "a.html").read_text(encoding="utf-8")
    packed = re.search('id="data"[^>]*>([^<]+)<', page)
    assert packed
    return [page, json.loads(gzip.decompress(base64.b64decode(packed[1])))]


@pytest.mark.parametrize("reached", [by_page, by_tools, by_terminal, by_report])
def test_nothing_unseen_or_obeyed_arrives(reached: Callable[[Path], Any], tmp_path: Path) -> None:
    arrived = "".join(texts(reached(tmp_path)))
    assert sorted(set(UNSAFE.findall(arrived))) == []
    assert "w0x" in arrived.replace("[31m", "") and "w20x" in arrived, "the text itself is there"


def texts(value: Any) -> list[str]:
    """Every text in a JSON value, keys as well."""
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else [str(value)]
