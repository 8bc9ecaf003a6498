"""The HTTP servers as they are served to this machine, with a model that says what it was asked; their documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.types import Passage, Searcher
from tests.support.looking_up import LookingUp, assistant

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
DOCUMENTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


class Repeating(LookingUp):
    """Searches for the question, then answers with it."""

    def _turn(self, text: str) -> str:
        asked, _, then = text.rpartition("Question: ")[2].partition("<think>")
        if "</search>" in then:
            return f"<think>I have read of {asked}.</think><answer>{asked}</answer>"
        return f"<think>I look up {asked}.</think><search>{asked}</search>"


class Finding:
    """Finds the query itself, twice: in a file and on the web."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        kinds = "notes.md#1", "https://pages.example/1"
        return [tuple(Passage(kind, query, f"About {query}", 1.5, "p. 1") for kind in kinds)[:k] for query in queries]


def document(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return read


def application(name: str, report: Report = ignore, searcher: Searcher | None = None) -> Any:
    """A server's application, as it is served to this machine."""
    from ragr1_lite.retrieval.remote import server
    from ragr1_lite.retrieval.remote.hosting import only_for_this_machine
    from ragr1_lite.serving import api, page
    from ragr1_lite.serving.engine import Engine

    searcher = searcher or Finding()
    if name == "index-serve":
        app = server.make_app(searcher, report=report)
    elif name == "serve":
        app = api.make_app(Engine(assistant(Repeating(), searcher), rows=4, most=8, report=report), report=report)
        only_for_this_machine(app, "127.0.0.1", api.app.refuse)
        return app
    else:
        return page.make_app(assistant(Repeating(), searcher), report=report)
    only_for_this_machine(app, "127.0.0.1")
    return app
