"""docs/openapi/ names what each server answers, and nothing else; what breaks there stays there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

import httpx
import pytest

from tests.support.openapi import DOCUMENTS, application, document

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_address_is_in_its_document(name: str) -> None:
    served = {(route.path, method.lower()) for route in application(name).routes for method in route.methods}
    written = {(path, method) for path, methods in document(name)["paths"].items() for method in methods}
    assert {one for one in served if one[1] != "head"} == written


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_refusal_has_the_same_form(name: str) -> None:
    answers: list[tuple[str, Any]] = [
        answer
        for methods in document(name)["paths"].values()
        for one in methods.values()
        for answer in one["responses"].items()
    ]
    refusals = [content for status, content in answers if status >= "400"]
    assert refusals and all(one == {"$ref": "#/components/responses/Refused"} for one in refusals)


class Broken:
    def search(self, queries: Sequence[str], k: int) -> NoReturn:
        raise OSError("no /secret/place")


ASKED = {
    "ask-web": ("/ask", {"question": "Which?"}),
    "index-serve": ("/retrieve", {"queries": ["which"]}),
    "serve": ("/v1/chat/completions", {"model": "ragr1-lite", "messages": [{"role": "user", "content": "Which?"}]}),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_broke_is_said_where_the_server_runs_alone(name: str) -> None:
    notices: list[Any] = []
    path, body = ASKED[name]

    async def ask() -> str:
        transport = httpx.ASGITransport(application(name, notices.append, Broken()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.post(path, json=body)).text

    said = asyncio.run(ask())
    assert "own messages say why." in said and "secret" not in said and "OSError" not in said
    assert [(one.level, "no /secret/place" in one.text) for one in notices] == [("warning", True)]
