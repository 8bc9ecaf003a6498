"""Searching by the tools of MCP servers: how they are asked, what is made of their answers, and how they fail."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.config import Recipe
from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.remote import client as shared
from ragr1_lite.retrieval.remote import mcp as remote
from ragr1_lite.retrieval.remote.hosting import in_background
from ragr1_lite.retrieval.remote.mcp import McpSearcher
from ragr1_lite.retrieval.remote.mcp_forms import Form, read_found
from ragr1_lite.retrieval.searchers import open_searcher
from ragr1_lite.serving.mcp_server import make_app, make_server
from tests.support.recorded import Reply, recorded
from tests.support.scripted import ScriptedSearcher, passage

pytest.importorskip("mcp")

MCPServer = pytest.importorskip("mcp.server.mcpserver").MCPServer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.time, "sleep", lambda seconds: None)


@contextmanager
def serving(*tools: Callable[..., Any]) -> Iterator[str]:
    """A server with these tools on this machine; gives its name as an index."""
    server = MCPServer("test", log_level="CRITICAL")
    for tool in tools:
        server.add_tool(tool)
    with in_background(make_app(server), "This test") as url:
        yield f"mcp+{url}/mcp"


@contextmanager
def searching(name: str, **options: Any) -> Iterator[McpSearcher]:
    with closing(McpSearcher(name, **options)) as searcher:
        yield searcher


# --- how a tool is asked ------------------------------------------------------------------------------------------


def schema(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


TEXT, LIST = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
OR_NONE = {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "null"}], "maximum": 5}


@pytest.mark.parametrize(
    ("takes", "arguments"),
    [
        (schema("queries", queries=LIST, k={"type": "integer", "maximum": 2}), {"queries": ["a", "b"], "k": 2}),
        (schema("query", query=TEXT, tags=LIST, limit={"type": "number"}), {"query": "a", "limit": 3}),
        (schema("q", q={"anyOf": [TEXT, LIST]}, top_k=OR_NONE), {"q": ["a", "b"], "top_k": 3}),
        (schema("", question=TEXT), {"question": "a"}),
        (schema("what", what=TEXT, lang=TEXT), {"what": "a"}),
        (schema("things", things={"type": ["array", "null"]}), {"things": ["a", "b"]}),
    ],
)
def test_how_a_tool_takes_queries(takes: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert Form.of(takes).arguments(["a", "b"], 3) == arguments


@pytest.mark.parametrize(
    ("takes", "problem"),
    [
        (schema(), "takes no query"),
        (schema("n", n={"type": "integer"}, tags=LIST), "takes no query"),
        (schema("query site", query=TEXT, site=TEXT), "wants 'site' as well"),
        ({}, "takes no query"),
        ({"properties": {"query": 3}, "required": None}, "takes no query"),
        ({"properties": 3, "required": 4}, "takes no query"),
        ({"properties": {"query": {"type": 3, "anyOf": 4, "items": 5}}, "required": ["query"]}, "takes no query"),
    ],
)
def test_a_tool_that_cannot_be_searched_by(takes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Form.of(takes)


# --- what is made of an answer ------------------------------------------------------------------------------------

ROW = {"id": "7", "title": "Chad", "text": "A country.", "score": 2, "place": "page 3"}
CHAD = Passage("7", "Chad", "A country.", 2.0, "page 3")


def result(structured: Any = None, *texts: str) -> Any:
    blocks = [SimpleNamespace(type="text", text=text) for text in texts]
    return SimpleNamespace(content=[SimpleNamespace(type="image"), *blocks], structured_content=structured)


@pytest.mark.parametrize(
    "form",
    [
        [[ROW], []],
        {"result": [[ROW], None]},
        {"results": [{"query": "a", "passages": [ROW]}, {"query": "b", "passages": []}]},
        {"data": {"results": [{"hits": [ROW, "cut"]}, {"hits": []}]}},
        {"result": [[{"document": {**ROW, "text": None, "contents": "A country."}, "score": 2}], []]},
    ],
)
def test_one_list_for_each_query(form: Any) -> None:
    assert read_found(result(form), ["a", "b"], 1) == [(CHAD,), ()]
    assert read_found(result(None, json.dumps(form)), ["a", "b"], 1) == [(CHAD,), ()]


def test_the_documents_of_one_query() -> None:
    web = {"url": "https://example.org/chad", "name": "Chad", "snippet": "A \ud800 country."}
    assert read_found(result({"results": [ROW, web, "Text alone."]}), ["a"], 3) == [
        (
            CHAD,
            Passage("https://example.org/chad", "Chad", "A ? country.", 1 / 2),
            Passage("3", "", "Text alone.", 1 / 3),
        )
    ]
    assert read_found(result({"results": []}), ["a"], 3) == [()] == read_found(result(), ["a"], 3)
    plain = read_found(result(None, " One. ", "Two."), ["who?"], 3)
    assert plain == [(Passage("who? (1)", "", "One.", 1.0), Passage("who? (2)", "", "Two.", 0.5))]


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (result([[ROW]]), "1 results for 2 queries"),
        (result([ROW, ROW]), "no lists"),
        (result(None, "Some text."), "which part"),
        (result([[3], []]), "neither an object nor a text"),
        (result([[{**ROW, "score": "high"}], []]), "score is not a number"),
        (result([[{**ROW, "title": {}}], [{"title": 3}]]), "contents"),
    ],
)
def test_another_form_is_named(form: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_found(form, ["a", "b"], 3)


# --- over HTTP ----------------------------------------------------------------------------------------------------


def test_our_own_server_answers_a_turn_in_one_call() -> None:
    scripted = ScriptedSearcher({"none": []})
    app = make_app(make_server(scripted, lambda: pytest.fail("no model")))
    with in_background(app, "This test") as url, closing(open_searcher(f"mcp+{url}/mcp")) as searcher:  # type: ignore[type-var]
        found = searcher.search(["chad", "none", "chad", " "], 2)
        assert found == [(passage("chad"),), (), (passage("chad"),), ()]
        assert searcher.search(["mali"], 2) == [(passage("mali"),)]
    assert scripted.calls == [(("chad", "none"), 2), (("mali",), 2)]


def test_a_tool_for_one_query_is_called_for_each_at_once() -> None:
    together = threading.Barrier(2)

    def lookup(query: str, limit: int = 9) -> list[dict[str, Any]]:
        together.wait(60)
        return [{"title": query.title(), "text": f"{query} {limit}", "id": n} for n in range(limit + 1)]

    def search(where: str, what: str) -> str:
        raise AssertionError

    with serving(lookup, search) as name, searching(f"{name}#lookup") as searcher:
        chad, mali = searcher.search(["chad", "mali"], 2)
    assert [one.text for one in chad] == ["chad 2"] * 2 and [one.title for one in mali] == ["Mali"] * 2


def test_tools_that_are_not_there_or_fail() -> None:
    def search(query: str) -> str:
        raise ValueError(query)

    def pair(left: str, right: str) -> str:
        return left + right

    with serving(search, pair) as name:
        with pytest.raises(RetrievalIndexError, match=r"has no tool 'find'; it has: pair, search\. Name one as #TOOL"):
            open_searcher(f"{name}#find")
        with pytest.raises(RetrievalIndexError, match="pair of The MCP server .* wants 'right' as well"):
            open_searcher(f"{name}#pair")
        with searching(name) as searcher, pytest.raises(RetrievalIndexError, match="refuses the request"):
            searcher.search(["x"], 1)


def test_an_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(query: str) -> str:
        return "x" * 50_000

    monkeypatch.setattr(remote, "_ANSWER_BYTES", 40_000)
    too_large = pytest.raises(RetrievalIndexError, match="cannot be used: it is larger than")
    with serving(search) as name, searching(name) as searcher, too_large:
        searcher.search(["x"], 1)
    event = Reply(b"data: " + b"x" * 50_000, 200, {"Content-Type": "text/event-stream"})
    with recorded(lambda _: event) as far, searching(f"mcp+{far.url}", retries=0) as searcher, too_large:
        searcher.search(["x"], 1)


def test_a_slow_answer_is_not_waited_for() -> None:
    over = threading.Event()

    async def search(query: str) -> str:
        await asyncio.to_thread(over.wait, 60)
        return "late"

    with serving(search) as name, searching(name, timeout=0.3, retries=0) as searcher:
        with pytest.raises(RetrievalIndexError, match=r"does not answer"):
            searcher.search(["x"], 1)
        assert not over.is_set()
        over.set()


def test_a_connection_that_broke_is_made_anew() -> None:
    asked: list[str] = []

    def search(query: str) -> str:
        asked.append(query)
        return query

    with serving(search) as name, searching(name) as searcher:
        for query in ("a", "b"):
            assert searcher.search([query], 1)[0][0].text == query
            searcher.close()
    assert asked == ["a", "b"]


def test_nobody_is_there() -> None:
    with recorded(lambda _: Reply()) as gone:
        pass
    with pytest.raises(RetrievalIndexError, match=r"The MCP server mcp\+http://127\.0\.0\.1:\d+ does not answer \("):
        open_searcher(f"mcp+{gone.url}/mcp")


def test_what_is_no_mcp_server_is_one_sentence() -> None:
    page = Reply(b"<html>No.</html>", 200, {"Content-Type": "text/html"})
    with recorded(lambda _: page) as far, pytest.raises(RetrievalIndexError) as raised:
        open_searcher(f"mcp+{far.url}/mcp")
    assert "does not answer (Unexpected content type: text/html)" in str(raised.value)


def test_a_server_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(McpSearcher, "_look", lambda self: Form("query"))
    notices: list[Any] = []
    open_searcher("mcp+https://search.example/mcp?key=s3cret", notices.append)
    assert [type(one) for one in notices] == [Notice]
    assert "search.example by MCP: what is asked leaves this machine" in notices[0].text
    assert "s3cret" not in notices[0].text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mcp+http://search.example/mcp", "without encryption"),
        ("mcp+https://ann:secret@search.example/mcp", "password"),
        ("mcp+https://", "not the URL of a server"),
        ("mcp+ftp://127.0.0.1/mcp", "No index is reached by mcp"),
        ("mcp+stdio:", "names no command"),
        ("mcp+stdio:server 'half", "cannot be read"),
    ],
)
def test_names_that_are_refused(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        open_searcher(name)
    assert "secret" not in str(refused.value)


# --- a command ----------------------------------------------------------------------------------------------------

SERVER = """
import os, sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("test", log_level="CRITICAL")
@server.tool()
def find(queries: list[str]) -> list[list[str]]:
    if "die" in queries:
        print("I was told to.", file=sys.stderr)
        os._exit(3)
    return [[f"{query} {os.getpid()} {os.environ.get('TEST_KEY')}"] for query in queries]
server.run()
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEST_KEY", "k")
    (tmp_path / "a server.py").write_text(SERVER, "utf-8")
    return f"mcp+stdio:{sys.executable} '{tmp_path / 'a server.py'}'#find"


def test_a_command_is_started_once_and_again_when_it_died(command: str) -> None:
    with searching(command, retries=0) as searcher:
        texts = [searcher.search(["a", "b"], 1) for _ in range(2)]
        first = texts[0][0][0].text.split()[1]
        assert texts[0] == texts[1] and [row[0].text for row in texts[0]] == [f"a {first} k", f"b {first} k"]
        with pytest.raises(RetrievalIndexError, match="does not answer"):
            searcher.search(["die"], 1)
        again = searcher.search(["a"], 1)[0][0].text.split()[1]
    assert again != first


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("no-such-program --token s3cret", "No such file"),
        (f"{sys.executable} -c 'raise SystemExit(\"It has no key\")' --token s3cret", "it said: It has no key"),
    ],
)
def test_a_command_that_fails_is_one_sentence(words: str, reason: str) -> None:
    with pytest.raises(RetrievalIndexError) as failed:
        open_searcher(f"mcp+stdio:{words}")
    assert reason in str(failed.value) and "does not answer" in str(failed.value) and "s3cret" not in str(failed.value)


def test_a_recipe_may_name_a_command_or_a_server() -> None:
    for name in ("mcp+stdio:npx -y @someone/server https://x.example", "mcp+https://search.example/mcp#find"):
        recipe = Recipe.model_validate({"task": "sft", "retrieval": {"index": name}})
        assert recipe.retrieval.index == name
