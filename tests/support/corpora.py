"""Corpora and documents in files, and what comes of reading them."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import read_corpus


def example() -> ModuleType:
    """The script that makes a folder of many formats, with its writers."""
    path = Path(__file__).parents[2] / "examples" / "many_formats.py"
    spec = importlib.util.spec_from_file_location("many_formats", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = example()


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(*sources: str | Path) -> tuple[list[Passage], list[str]]:
    """The passages, and the notices there were."""
    events: list[object] = []
    passages = list(read_corpus(sources, events.append))
    assert all(isinstance(event, Notice) for event in events)
    return passages, [event.text for event in events if isinstance(event, Notice)]


def passages_of(*sources: str | Path) -> list[Passage]:
    return read(*sources)[0]


def refusal(*sources: str | Path) -> str:
    """The sentence with which reading ends."""
    with pytest.raises(DataError) as caught:
        read(*sources)
    message = caught.value.message
    assert not message.endswith(".")
    assert "\n" not in message
    assert caught.value.hint.endswith((".", '"'))
    return message


def why_not(path: Path) -> str:
    """Why there is no passage in a document."""
    before, _, reason = refusal(path).partition(f"; the first: {path} ")
    assert before == f"There is no passage in {path}"
    return reason


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def unzipped(data: bytes) -> dict[str, str]:
    with ZipFile(io.BytesIO(data)) as package:
        return {name: package.read(name).decode() for name in package.namelist()}
