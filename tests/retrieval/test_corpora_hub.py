"""Data sets of the hub as corpora."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragr1_lite.retrieval.corpora import read_corpus
from tests.retrieval.test_corpora_forms import CHAD, NIGER, PASSAGES, as_dicts
from tests.support.corpora import passages_of, refusal


class FakeRows:
    """What `datasets` streams."""

    column_names = ["id", "title", "text", "image"]

    def __init__(self, rows: list[dict[str, Any]], fail_after: int | None = None) -> None:
        self.rows, self.fail_after = rows, fail_after

    def select_columns(self, names: list[str]) -> FakeRows:
        return FakeRows([{name: row[name] for name in names} for row in self.rows], self.fail_after)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(self.rows):
            if number == self.fail_after:
                raise ConnectionResetError("peer went away")
            yield row


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
        """A hub of which every answer can be set; no package and no network is needed."""
        state = SimpleNamespace(
            rows=FakeRows([row | {"image": b""} for row in as_dicts(PASSAGES)]), asked=[], info=None
        )

        class Missing(Exception):
            pass

        class Gated(Missing):
            pass

        def dataset_info(_: object, name: str, timeout: float) -> None:
            assert timeout <= 10
            if state.info:
                raise state.info

        def load_dataset(name: str, config: str | None, *, split: str | None, streaming: bool) -> object:
            assert streaming
            state.asked.append((name, config, split))
            if isinstance(state.rows, Exception):
                raise state.rows
            return state.rows

        errors = SimpleNamespace(GatedRepoError=Gated, RepositoryNotFoundError=Missing)
        api = SimpleNamespace(HfApi=type("HfApi", (), {"dataset_info": dataset_info}), errors=errors)
        monkeypatch.setitem(sys.modules, "huggingface_hub", api)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
        datasets = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
        monkeypatch.setitem(sys.modules, "datasets", datasets)
        state.missing, state.gated = Missing, Gated
        yield state

    @pytest.mark.parametrize(
        ("source", "asked"),
        [
            ("hub:BeIR/scifact", ("BeIR/scifact", None, None)),
            ("hub:BeIR/scifact:corpus", ("BeIR/scifact", "corpus", None)),
            ("hub:BeIR/scifact:corpus:train", ("BeIR/scifact", "corpus", "train")),
            ("hub:BeIR/scifact::train", ("BeIR/scifact", None, "train")),
            (Path("hub:BeIR/scifact"), ("BeIR/scifact", None, None)),
        ],
    )
    def test_is_read(self, hub: SimpleNamespace, source: str | Path, asked: tuple[str | None, ...]) -> None:
        corpus = read_corpus([source])
        assert list(corpus) == PASSAGES
        assert hub.asked == [asked]
        assert corpus.bytes_total is None

    def test_splits(self, hub: SimpleNamespace) -> None:
        rows = hub.rows
        hub.rows = {"corpus": rows}
        assert passages_of("hub:BeIR/scifact") == PASSAGES
        hub.rows = {"train": rows, "test": rows}
        assert refusal("hub:BeIR/scifact") == "hub:BeIR/scifact has the splits train, test"

    def test_refused(self, hub: SimpleNamespace) -> None:
        name = "hub:a/b:c"
        assert refusal("hub:a") == "hub:a is not the name of a data set on the hub"
        hub.rows = ValueError("Config name is missing.\nPlease pick one among: ['x', 'y']")
        assert refusal(name) == f"{name} cannot be read (Config name is missing. Please pick one among: ['x', 'y'])"
        hub.rows = FakeRows([row | {"image": b""} for row in as_dicts(PASSAGES)], fail_after=1)
        assert refusal(name) == f"{name} broke off after 1 rows (peer went away)"
        for error, message in {
            OSError("no route"): f"The hub cannot be reached for {name} (no route)",
            hub.gated(): f"{name} is gated on the hub",
            hub.missing(): "The hub has no data set a/b, or it is private",
        }.items():
            hub.info = error
            assert refusal(name) == message

    def test_twice_the_same_id(self, hub: SimpleNamespace) -> None:
        hub.rows = FakeRows([row | {"image": b""} for row in as_dicts([CHAD, NIGER, CHAD])])
        assert refusal("hub:a/b") == "The id '1' in hub:a/b row 3 was already used in hub:a/b row 1"
