"""The tools for other programs, called by the SDK's own client: in this process, over HTTP, and over a pipe."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from ragr1_lite.assistant import Assistant
from ragr1_lite.cli.main import app as commands
from ragr1_lite.core.errors import ConfigError, ModelError, RetrievalIndexError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Passage, Searcher
from ragr1_lite.retrieval import Bm25Searcher, build_index
from ragr1_lite.retrieval.remote.hosting import in_background
from ragr1_lite.retrieval.searchers import SeveralSearcher
from tests.support.looking_up import LookingUp, Rooms, assistant, question, until_dropped
from tests.support.scripted import ScriptedSampler, ScriptedSearcher

pytest.importorskip("mcp")

import mcp

from ragr1_lite.serving import mcp_server
from ragr1_lite.serving.mcp_server import MAX_QUERIES, make_app, make_server

ROOT = Path(__file__).parents[2]
BOOK = [Passage(f"book.md#{n}", "Book", f"Part {n} tells of chad{n}.", place=f"Chapter {n}") for n in range(1, 6)]
OTHER = [Passage("chad", "Chad", "Chad is\x1b[31m a country."), Passage("other.md#1", "Other", "Something else.")]
SEARCH, ANSWER = "<search>Chad</search>", "<think>Known.</think><answer>Chad</answer>"


def no_model() -> Assistant:
    raise AssertionError("no model is needed")


@pytest.fixture(scope="module")
def searcher() -> Bm25Searcher:
    return Bm25Searcher.from_passages([*BOOK, *OTHER])


def used(server: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a client of the server does."""

    async def use() -> Any:
        async with mcp.Client(server) as client:
            return await work(client)

    return asyncio.run(use())


def called(server: Any, tool: str, **arguments: Any) -> Any:
    result = used(server, lambda client: client.call_tool(tool, arguments))
    return result.content[0].text if result.is_error else result.structured_content


def test_several_queries_are_searched_in_one_call() -> None:
    scripted = ScriptedSearcher()
    found = called(make_server(scripted, no_model, 2), "search", queries=["area of Chad", "area of Mali"])
    assert scripted.calls == [(("area of Chad", "area of Mali"), 2)]
    assert [one["query"] for one in found["results"]] == ["area of Chad", "area of Mali"]
    assert found["results"][0]["passages"] == [
        {"title": "Area Of Chad", "id": "id-area of Chad", "text": "All about area of Chad.", "score": 1.5}
    ]
    called(make_server(scripted, no_model), "search", queries=["x"], k=7)
    assert scripted.calls[1:] == [(("x",), 7)]


def test_a_passage_has_its_source_and_nothing_a_terminal_obeys(searcher: Searcher) -> None:
    first, second = called(make_server(searcher, no_model), "search", queries=["chad3", "country"])["results"]
    assert {key: first["passages"][0][key] for key in ("file", "place", "id")} == {
        "file": "book.md",
        "place": "Chapter 3",
        "id": "book.md#3",
    }
    assert second["passages"][0]["text"] == "Chad is a country."


@pytest.mark.parametrize("stored", [False, True])
def test_more_of_a_document_is_read_around_a_passage(stored: bool, searcher: Searcher, tmp_path: Path) -> None:
    if stored:
        build_index([*BOOK, *OTHER], tmp_path / "index")
        searcher = Bm25Searcher.open(tmp_path / "index")
    server = make_server(searcher, no_model)

    def ids(id: str, **around: Any) -> list[str]:
        return [one["id"] for one in called(server, "read", id=id, **around)["passages"]]

    assert ids("book.md#3") == ["book.md#2", "book.md#3", "book.md#4"]
    assert "score" not in called(server, "read", id="book.md#3")["passages"][0]
    itself = f"{tmp_path / 'index'}/" if stored else "world"  # one in memory is the world
    assert ids("chad", index=itself) == ["chad"]
    assert "There is no passage 'chad' in 'other'" in called(server, "read", id="chad", index="other")
    assert ids("book.md#5", before=1, after=9) == ["book.md#4", "book.md#5"]
    assert ids("book.md#1", before=9, after=0) == ["book.md#1"]
    assert ids("chad", before=9, after=9) == ["chad"] and ids("other.md#1") == ["other.md#1"]
    assert "There is no passage 'book.md#9'" in called(server, "read", id="book.md#9")


def test_a_passage_of_one_of_several_indexes_is_read() -> None:
    books = {
        name: Bm25Searcher.from_passages([Passage(f"b.md#{n}", "B", f"{name} {n}") for n in (1, 2)]) for name in "xy"
    }
    server = make_server(SeveralSearcher(books | {"far": ScriptedSearcher()}), no_model)
    [found] = called(server, "search", queries=["y 2"], k=9)["results"]
    assert {"x", "y"} < {one["index"] for one in found["passages"]}
    for index, text in (("y", "y 2"), ("x", "x 2"), ("", "x 2")):
        read = called(server, "read", id="b.md#2", before=0, index=index)["passages"]
        assert [(one["text"], one["index"]) for one in read] == [(text, index or "x")]
    assert called(server, "read", id="b.md#2", index="far").startswith("There is no passage 'b.md#2' in 'far'.")
    far = make_server(SeveralSearcher({"far": ScriptedSearcher()}), no_model)
    assert called(far, "read", id="b.md#2") == "There is no tool `read`, only `search`, `answer`."


def test_the_model_is_loaded_at_the_first_answer_alone() -> None:
    opened: list[Assistant] = []

    def open_it() -> Assistant:
        sampler = ScriptedSampler([SEARCH, ANSWER] * 2)
        opened.append(Assistant(sampler, ScriptedSearcher(), Protocol(), Limits(), "script", "books"))
        return opened[-1]

    server = make_server(ScriptedSearcher(), open_it)
    called(server, "search", queries=["x"])
    assert not opened
    answers = [called(server, "answer", question="Which?") for _ in range(2)]
    assert len(opened) == 1
    assert [(one["answer"], one["sources"][0]["title"]) for one in answers] == [("Chad", "Chad")] * 2


def test_an_answer_under_way_tells_its_searches() -> None:
    told: list[Any] = []

    async def tell(*progress: Any) -> None:
        told.append(progress)

    def ask(client: Any) -> Any:
        return client.call_tool("answer", {"question": question(2)}, progress_callback=tell)

    server = make_server(Rooms(), assistant)
    assert used(server, ask).structured_content["answer"]
    with in_background(make_app(server), "This test") as url:
        assert used(f"{url}/mcp", ask).structured_content["answer"]
    assert told == [(1.0, None, "Searched: code of room 2")] * 2


@pytest.mark.parametrize("over_http", [False, True])
def test_a_call_that_is_cancelled_is_answered_no_further(over_http: bool) -> None:
    dropped: list[bool] = []

    def hold(requests: Any) -> None:
        until_dropped(requests)
        dropped.append(True)

    sampler = LookingUp(hold)

    async def use(client: Any) -> Any:
        call = asyncio.create_task(client.call_tool("answer", {"question": question(0)}))
        while not sampler.batches:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        sampler.before = lambda requests: None
        return await client.call_tool("answer", {"question": question(1)})

    server = make_server(Rooms(), lambda: assistant(sampler))
    with in_background(make_app(server), "This test") as url:
        assert not used(f"{url}/mcp" if over_http else server, use).is_error
    assert dropped and sampler.batches == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        *[
            (
                "search",
                {"queries": queries},
                f"The `queries` of `search` must be a list of 1 to {MAX_QUERIES} texts of 1 to 2,000 characters.",
            )
            for queries in ([], ["x"] * (MAX_QUERIES + 1), [""], ["x" * 2_001], "x", 7, [7], None)
        ],
        (
            "search",
            {"queries": ["x"], "k": 0},
            "The `k` of `search` must be a number of passages per query from 1 to 20.",
        ),
        ("search", {"queries": ["x"], "top": 0}, "`search` takes no `top`, only `queries`, `k`."),
        ("answer", {}, "The `question` of `answer` must be a text of 1 to 2,000 characters."),
        ("read", {}, "The `id` of `read` must be the id of a passage, as `search` gives it."),
        ("read", {"id": "x", "after": 99}, "The `after` of `read` must be a number of passages from 0 to 10."),
        ("read", {"id": "x"}, "There is no passage 'x'. Take an id from `search`, and its index."),
        ("delete", {}, "There is no tool `delete`, only `search`, `read`, `answer`."),
    ],
)
def test_what_is_not_taken_is_said(tool: str, arguments: dict[str, Any], words: str, searcher: Searcher) -> None:
    assert called(make_server(searcher, no_model), tool, **arguments) == words


def test_an_error_is_its_sentence() -> None:
    class Failing(ScriptedSearcher):
        def search(self, *_: Any) -> Any:
            raise RetrievalIndexError("It broke", "Fix it.")

    def failing() -> Assistant:
        raise ModelError("It is gone", "Fetch it.")

    server = make_server(Failing(), failing)
    assert called(server, "search", queries=["x"]) == "It broke. Fix it."
    assert called(server, "answer", question="x") == "It is gone. Fetch it."


def test_tools_say_what_they_take_and_that_passages_are_untrusted(searcher: Searcher) -> None:
    tools = used(make_server(searcher, no_model), lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == ["search", "read", "answer"]
    assert all("untrusted" in tool.description and tool.annotations.read_only_hint for tool in tools)
    queries = tools[0].input_schema["properties"]["queries"]
    assert (queries["type"], queries["items"]["type"], queries["maxItems"]) == ("array", "string", MAX_QUERIES)
    remote = used(make_server(ScriptedSearcher(), no_model), lambda client: client.list_tools()).tools
    assert [tool.name for tool in remote] == ["search", "answer"]  # an index elsewhere has no neighbours


# --- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(searcher: Bm25Searcher) -> Iterator[str]:
    with in_background(make_app(make_server(searcher, no_model)), "This test") as url:
        yield f"{url}/mcp"


def test_over_http(address: str) -> None:
    assert called(address, "search", queries=["chad2"])["results"][0]["passages"][0]["id"] == "book.md#2"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
def test_only_this_machine_is_let_in(headers: dict[str, str], status: int, address: str) -> None:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    assert httpx.post(address, content=body, headers=accepted | headers).status_code == status


def test_the_command_serves_over_http_on_the_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(mcp_server, "run", lambda app, listener, grace: served.append(listener.getsockname()))
    result = CliRunner().invoke(commands, ["mcp", "--http", "--port", "0"])
    assert result.exit_code == 0, result.stderr
    ((host, port),) = served
    assert (host, result.stdout) == ("127.0.0.1", "") and f"MCP at http://127.0.0.1:{port}/mcp." in result.stderr


# --- over stdio ---------------------------------------------------------------------------------------------------


def test_over_stdio_nothing_but_the_protocol_comes(tmp_path: Path) -> None:
    """The real command, on an index whose searcher prints on stdout, from Python and below it."""
    build_index([*BOOK, *OTHER], tmp_path / "index")
    chatty = (
        "import os, sys\n"
        "from ragr1_lite.cli.main import main\n"
        "from ragr1_lite.retrieval import Bm25Searcher\n"
        "search = Bm25Searcher.search\n"
        "def chatty(self, queries, k):\n"
        "    print('from Python'); os.write(1, b'from below\\n')\n"
        "    return search(self, queries, k)\n"
        "Bm25Searcher.search = chatty\n"
        "main()\n"
    )
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as complaints:
        from mcp.client.stdio import StdioServerParameters, stdio_client

        program = StdioServerParameters(
            command=sys.executable,
            args=["-c", chatty, "mcp", "--index", str(tmp_path / "index"), "--no-log"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        received: list[Any] = []

        async def watch(message: Any) -> None:
            received.append(message)

        async def use() -> Any:
            client = mcp.Client(stdio_client(program, errlog=complaints), message_handler=watch)
            async with client:
                return await client.call_tool("search", {"queries": ["chad1", "chad4"]})

        found = asyncio.run(use()).structured_content["results"]
        complaints.seek(0)
        said = complaints.read()
    assert [one["passages"][0]["id"] for one in found] == ["book.md#1", "book.md#4"]
    assert [message for message in received if isinstance(message, Exception)] == []
    assert "from Python" in said and "from below" in said and "Error" not in said


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_it_though_stdin_is_open(tmp_path: Path) -> None:
    build_index(BOOK, tmp_path / "index")
    command = [sys.executable, "-m", "ragr1_lite", "mcp", "--index", str(tmp_path / "index")]
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT, "text": True}
    with subprocess.Popen(
        command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options
    ) as server:
        assert server.stdin and server.stdout
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        print(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
            file=server.stdin,
            flush=True,
        )
        assert json.loads(server.stdout.readline())["result"]["serverInfo"]["name"] == "ragr1-lite"
        server.send_signal(signal.SIGINT)
        try:
            assert server.wait(60) == -signal.SIGINT and server.stdout.read() == ""
        finally:
            server.kill()


def test_an_index_that_is_not_there_is_one_sentence_on_stderr() -> None:
    result = CliRunner().invoke(commands, ["mcp", "--index", "no/where"])
    assert (result.exit_code, result.stdout) == (1, "") and "There is no index no/where" in result.stderr


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(ConfigError, match=r"MCP needs its SDK.*ragr1-lite\[mcp\]"):
        make_server(ScriptedSearcher(), no_model)
