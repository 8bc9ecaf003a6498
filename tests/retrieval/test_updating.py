"""An updated index equals one built anew, reads only what changed, and is never half there."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragr1_lite.core.errors import DataError, RetrievalIndexError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index, read_corpus, update_index
from ragr1_lite.retrieval.bm25 import searcher, store, update
from ragr1_lite.retrieval.bm25.origin import read_files, read_lengths
from ragr1_lite.retrieval.bm25.postings import load_postings
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import PassageFile, open_manifest, verify_index
from ragr1_lite.retrieval.bm25.vocabulary import read_words
from ragr1_lite.retrieval.corpora import documents

NAMES = ("a.txt", "b.md", "c/d.txt", "ids.jsonl", "numbered.jsonl", "asked.jsonl")
versions = st.integers(0, 9)
"""Of a file: 0 for none, 1 for an empty one."""


def content(name: str, version: int) -> str | None:
    """A version of a file: some dozen different words, in up to five passages or rows."""
    rng = random.Random(f"{name} {version}")
    parts = [[f"w{int(rng.expovariate(0.2))}" for _ in range(rng.randrange(1, 90))] for _ in range(rng.randrange(1, 6))]
    rows: list[Any]
    match name, version:
        case _, (0 | 1):
            return "" if version else None
        case "ids.jsonl", _:
            rows = [
                {"id": f"r{at}", "title": words[0], "text": " ".join(words * (40 if version == 9 else 1))}
                for at, words in enumerate(parts)
            ]
        case "numbered.jsonl", _:
            rows = [{"text": " ".join(words)} for words in parts]
        case "asked.jsonl", _:
            rows = [{"question": "?", "context": [[word, [f"{word}."]] for word in words[:9]]} for words in parts]
        case _:
            return "\n\n".join(f"# Part {words[0]}\n\n{' '.join(words)}" for words in parts)
    return "".join(json.dumps(row) + "\n" for row in rows)


def apply(folder: Path, change: Mapping[str, str | None]) -> None:
    for name, text in change.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, encoding="utf-8")


def assert_same(updated: Path, built: Path) -> None:
    """The same passages in the same order, and for each word the same postings, bit for bit."""
    mine, other = verify_index(updated), verify_index(built)
    assert (mine.passages, mine.words, mine.folder) == (other.passages, other.words, other.folder)
    ours, theirs = PassageFile(updated), PassageFile(built)
    assert [ours[at] for at in range(len(ours))] == [theirs[at] for at in range(len(theirs))]
    words, others = read_words(updated), read_words(built)
    assert words.keys() == others.keys() and list(words.values()) == list(range(len(words)))
    old, new = load_postings(updated), load_postings(built)
    for word, number in words.items():
        for name in ("indices", "data"):
            one, two = (
                getattr(side, name)[side.indptr[at] : side.indptr[at + 1]].tobytes()
                for side, at in ((old, number), (new, others[word]))
            )
            assert one == two, (word, name)
    assert read_lengths(updated, len(ours)).tolist() == read_lengths(built, len(ours)).tolist()
    files, wanted = read_files(updated, mine), read_files(built, other)
    assert [replace(one, modified=0) for one in files] == [replace(one, modified=0) for one in wanted]
    asked = ["w1 w2 w3", "w0", "w5 w5 w7 part"]
    assert Bm25Searcher.open(updated).search(asked, 5) == Bm25Searcher.open(built).search(asked, 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents of some passages, changed long ago."""
    folder = tmp_path / "notes"
    apply(folder, {f"{name}.txt": f"{name} stands alone. " * 60 for name in ("one", "three", "two")})
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    build_index(read_corpus([folder]), tmp_path / "index")
    return folder


def index_of(folder: Path) -> Path:
    return folder.with_name("index")


class TestEqualToBuildingAnew:
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        begun=st.fixed_dictionaries(dict.fromkeys(NAMES, versions)),
        steps=st.lists(
            st.dictionaries(st.sampled_from(NAMES), versions, min_size=1, max_size=3), min_size=1, max_size=3
        ),
        k1=st.sampled_from([1.5, 0.0, 3.0]),
        b=st.sampled_from([0.75, 0.0, 1.0]),
        lot=st.sampled_from([1, 7, 2**22]),
    )
    def test_after_any_changes(
        self,
        begun: Mapping[str, int],
        steps: Sequence[Mapping[str, int]],
        k1: float,
        b: float,
        lot: int,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(update, "LOT", lot)
        place = tmp_path_factory.mktemp("any")
        folder, index, anew = place / "notes", place / "index", place / "anew"
        apply(folder, {"always.txt": "w0 w1 w1"} | {name: content(name, version) for name, version in begun.items()})
        build_index(read_corpus([folder]), index, k1=k1, b=b, stemmer="none", title_weight=2)
        for step in steps:
            apply(folder, {name: content(name, version) for name, version in step.items()})
            build_index(read_corpus([folder]), anew, k1=k1, b=b, stemmer="none", title_weight=2, overwrite=True)
            found = update_index(index)
            assert found.info == verify_index(index)
            assert_same(index, anew)
            assert update_index(index).to_json() | {"seconds": 0} == found.to_json() | {
                "added": 0, "changed": 0, "removed": 0, "unchanged": found.added + found.changed + found.unchanged,
                "seconds": 0,
            }  # fmt: skip

    def test_words_that_stand_in_a_passage_very_often(self, tmp_path: Path) -> None:
        """Their scores are near the idf: float32 does not tell a million times from one more, and need not."""
        folder, index, anew = tmp_path / "notes", tmp_path / "index", tmp_path / "anew"
        rows = [{"id": str(times), "text": "w " * times + "v"} for times in (1, 700, 1500)]
        apply(folder, {"rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "a.txt": "v"})
        build_index(read_corpus([folder]), index, stemmer="none")
        for number in range(5):
            apply(folder, {f"more{number}.txt": "w v u"})
            update_index(index)
        build_index(read_corpus([folder]), anew, stemmer="none")
        assert_same(index, anew)
        counts = np.array([1.0, 1e3, 1e6, 1e9])
        norms = np.full(4, 0.4)
        scores = (np.float32(2) * (counts / (norms + counts))).astype(np.float32)
        again = update._counts(scores, np.full(4, 2, np.float32), norms)
        assert (2 * (again / (norms + again))).astype(np.float32) == pytest.approx(scores, rel=2**-23)
        assert again[:2].tolist() == [1, 1e3]

    def test_language_and_weights_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "notes"
        apply(folder, {"Haus.txt": "Die Häuser"})
        build_index(read_corpus([folder]), tmp_path / "index", stemmer="german", title_weight=5, k1=1.1)
        before = open_manifest(tmp_path / "index")
        apply(folder, {"Baum.txt": "Die Bäume"})
        after = update_index(tmp_path / "index").info
        assert [getattr(after, name) for name in ("tokenizer", "title_weight", "k1")] == [
            getattr(before, name) for name in ("tokenizer", "title_weight", "k1")
        ]
        build_index(read_corpus([folder]), tmp_path / "anew", stemmer="german", title_weight=5, k1=1.1)
        assert_same(tmp_path / "index", tmp_path / "anew")


class TestOnlyWhatChanged:
    def test_is_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[int] = []
        original = documents.read_documents

        def counting(stream: Any, form: Any) -> Any:
            read.append(1)
            return original(stream, form)

        monkeypatch.setattr(documents, "read_documents", counting)
        ids = [one.id for one in Bm25Searcher.open(index_of(folder)).search(["stands"], 20)[0]]
        apply(folder, {"two.txt": "two is short now", "four.txt": "four is new", "one.txt": None})
        found = update_index(index_of(folder))
        assert (found.added, found.changed, found.removed, found.unchanged, len(read)) == (1, 1, 1, 1, 2)
        now = {one.id for one in Bm25Searcher.open(index_of(folder)).search(["stands short new"], 20)[0]}
        assert now == {one for one in ids if one.startswith("three")} | {"two.txt#1", "four.txt#1"}

    def test_a_file_that_was_only_touched_is_compared_by_content(self, folder: Path) -> None:
        manifest = index_of(folder) / "manifest.json"
        before = manifest.read_bytes()
        os.utime(folder / "two.txt", (1.1e9, 1.1e9))
        assert (update_index(index_of(folder)).unchanged, manifest.read_bytes()) == (3, before)

    def test_a_file_of_the_same_size_is_compared_by_time_alone_where_that_is_old(self, folder: Path) -> None:
        text = (folder / "two.txt").read_text("utf-8")
        apply(folder, {"two.txt": text.replace("alone", "along")})
        assert update_index(index_of(folder)).changed == 1
        apply(folder, {"two.txt": text.replace("alone", "afoul")})  # a moment after the last time, with its size
        assert update_index(index_of(folder)).changed == 1
        os.utime(folder / "two.txt", (1e9, 1e9))
        apply(folder, {"new.txt": "new"})
        update_index(index_of(folder))
        apply(folder, {"two.txt": text})
        os.utime(folder / "two.txt", (1e9, 1e9))
        assert update_index(index_of(folder)).changed == 0

    def test_who_has_the_old_index_open_keeps_it(self, folder: Path) -> None:
        opened = Bm25Searcher.open(index_of(folder))
        apply(folder, dict.fromkeys(("one.txt", "two.txt", "three.txt"), "gone"))
        update_index(index_of(folder))
        assert opened.search(["three alone"], 1)[0][0].id.startswith("three.txt#")
        assert Bm25Searcher.open(index_of(folder)).search(["three alone"], 3)[0][0].title == "three"
        assert [path.name for path in folder.parent.iterdir() if path.name[0] == "."] == []


class TestRefused:
    def test_an_index_that_does_not_say_its_files(self, tmp_path: Path) -> None:
        build_index([Passage("1", "a", "b")], tmp_path / "index")
        with pytest.raises(RetrievalIndexError, match="does not say which files .* Only an index of one folder does"):
            update_index(tmp_path / "index")

    def test_another_folder(self, folder: Path, tmp_path: Path) -> None:
        apply(tmp_path / "other", {"one.txt": "another one", "five.txt": "five"})
        with pytest.raises(DataError, match=r"was built from .*notes, and most of its files are not in .*other"):
            update_index(index_of(folder), tmp_path / "other")
        assert update_index(index_of(folder), folder).unchanged == 3

    def test_a_folder_that_is_gone_and_one_that_was_moved(self, folder: Path, tmp_path: Path) -> None:
        moved = folder.rename(tmp_path / "moved")
        with pytest.raises(DataError, match=r"There is no folder .*notes\. Name the folder"):
            update_index(index_of(folder))
        apply(moved, {"two.txt": "two has changed"})
        found = update_index(index_of(folder), moved)
        assert (found.changed, found.unchanged, found.info.folder) == (1, 2, str(moved))

    def test_an_id_that_an_unchanged_file_has(self, tmp_path: Path) -> None:
        folder = tmp_path / "notes"
        apply(folder, {"a.jsonl": '{"id": "x", "text": "one"}\n', "b.jsonl": '{"id": "y", "text": "two"}\n'})
        build_index(read_corpus([folder]), tmp_path / "index")
        apply(folder, {"b.jsonl": '{"id": "x", "text": "two"}\n'})
        with pytest.raises(DataError, match=r"The id 'x' in .*b\.jsonl:1 was already used in .*a\.jsonl:1"):
            update_index(tmp_path / "index")
        assert verify_index(tmp_path / "index").passages == 2

    def test_nothing_left(self, folder: Path) -> None:
        apply(folder, dict.fromkeys(("one.txt", "two.txt", "three.txt"), ""))
        with pytest.raises(DataError, match="There is no passage in"):
            update_index(index_of(folder))
        apply(folder, {"one.txt": "?!", "two.txt": None, "three.txt": None})
        (folder / "one.txt").rename(folder / "!.txt")
        with pytest.raises(DataError, match="No passage has a word in it"):
            update_index(index_of(folder))
        assert verify_index(index_of(folder)).passages > 3

    @pytest.mark.parametrize(
        ("name", "damage"), [("corpus.json", b"[]"), ("corpus.json", None), ("passages.lengths.npy", b"")]
    )
    def test_what_only_updating_needs_is_broken(self, folder: Path, name: str, damage: bytes | None) -> None:
        """It is searched on, and says where it names no files; ``verify`` and ``update`` refuse it."""
        index, said = index_of(folder), list[Any]()
        before = Bm25Searcher.open(index).search(["three alone"], 1)[0][0]
        (index / name).unlink() if damage is None else (index / name).write_bytes(damage)
        found = Bm25Searcher.open(index, said.append).search(["three alone"], 1)[0][0]
        named = name != "corpus.json"
        assert found == (before if named else replace(before, file=""))
        texts = [event.text for event in said if isinstance(event, Notice)]
        assert named or ["corpus.json" in text and "do not name their files" in text for text in texts] == [True]
        for use in (verify_index, update_index):
            with pytest.raises(RetrievalIndexError, match=name):
                use(index)

    def test_a_broken_index(self, folder: Path) -> None:
        """Else a copy of what is broken would have a right checksum."""
        path = index_of(folder) / "data.csc.index.npy"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        with pytest.raises(RetrievalIndexError, match=r"data\.csc\.index\.npy .* is broken"):
            update_index(index_of(folder))


class TestReplacing:
    @pytest.mark.parametrize("exchanges", [True, False])
    @pytest.mark.parametrize("way", ["build", "build over", "update"])
    def test_all_is_on_the_disk_before_it_has_the_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, way: str, exchanges: bool
    ) -> None:
        """Else a power cut leaves a named index with empty files. Last of all the name itself is."""
        index, done = index_of(folder), list[object]()
        sync, rename, exchange = os.fsync, os.rename, store._exchanged

        def state(file: os.stat_result) -> tuple[int, int]:
            return file.st_ino, file.st_size

        def synced(file: int) -> None:
            done.append(state(os.fstat(file)))
            sync(file)

        def renamed(one: Path, other: Path) -> None:
            done.extend(["named"] * (other.name == "index"))
            rename(one, other)

        def exchanged(one: Path, other: Path) -> bool:
            done.extend(["named"] * exchanges)
            return exchanges and exchange(one, other)

        if way == "build":
            shutil.rmtree(index)
        apply(folder, {"two.txt": "two has changed"})
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "rename", renamed)
        monkeypatch.setattr(store, "_exchanged", exchanged)
        if way == "update":
            update_index(index)
        else:
            build_index(read_corpus([folder]), index, overwrite=True)
        assert sorted(map(str, done[:-3])) == sorted(str(state(path.stat())) for path in index.iterdir())
        assert done[-3:] == [state(index.stat()), "named", state(index.parent.stat())]

    def test_where_folders_cannot_be_exchanged(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "_exchanged", lambda *_: False)
        apply(folder, {"two.txt": "two has changed"})
        assert update_index(index_of(folder)).changed == 1
        assert Bm25Searcher.open(index_of(folder)).search(["changed"], 1)[0][0].id == "two.txt#1"
        assert sorted(path.name for path in folder.parent.iterdir()) == ["index", "notes"]

    def test_an_index_whose_process_died_between_two_renamings_opens(self, folder: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            process.wait()
        index_of(folder).rename(folder.with_name(f".index.old-{process.pid}"))
        assert len(Bm25Searcher.open(index_of(folder))) > 3

    def test_an_index_that_is_replaced_while_it_is_opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        apply(folder, {"two.txt": "two has changed"})
        original, calls = searcher.open_manifest, []

        def replaced(path: Path, **options: Any) -> store.IndexInfo:
            info = original(path, **options)
            calls.append(1)
            if len(calls) == 1:
                update_index(path)
            return info

        monkeypatch.setattr(searcher, "open_manifest", replaced)
        opened = Bm25Searcher.open(index_of(folder))
        assert len(calls) == 2 and opened.info == verify_index(index_of(folder))


KILLED = """
import os, random, shutil, signal, sys
from pathlib import Path
from ragr1_lite.retrieval import update_index
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import verify_index

folder, moments = Path(sys.argv[1]), int(sys.argv[2])
index, copy = folder.with_name("index"), folder.with_name("copy")
shutil.copytree(index, copy)
(folder / "two.txt").write_text("two has changed")

def killed_at(last):
    calls = swap = 0

    def count(frame, *_):
        nonlocal calls, swap
        calls += "retrieval" in frame.f_code.co_filename or "pathlib" in frame.f_code.co_filename
        if frame.f_code.co_name == "_check_target":
            swap = calls  # the last that it does before the new one takes its place
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    update_index(index)
    sys.setprofile(None)
    return calls, swap

def prepare():
    for path in [index, *folder.parent.glob(".index*")]:
        shutil.rmtree(path)
    shutil.copytree(copy, index)

for _ in range(2):  # The first time makes more calls, of imports.
    prepare()
    calls, swap = killed_at(None)
states = set()
for moment in [*random.Random(0).sample(range(1, calls), moments), *range(swap, swap + 30, 2)]:
    prepare()
    child = os.fork()
    if not child:
        killed_at(moment)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    verify_index(index)
    opened = Bm25Searcher.open(index)
    states.add(bool(opened.search(["changed"], 1)[0]))
    assert opened.search(["three alone"], 1)[0][0].id.startswith("three.txt#")
    assert update_index(index).unchanged >= 2
    assert Bm25Searcher.open(index).search(["changed"], 1)[0][0].id == "two.txt#1"
assert states == {False, True}, states
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one step on Linux alone")
@pytest.mark.parametrize("moments", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment(folder: Path, moments: int) -> None:
    """Signal 9 leaves the old index or the new one, whole, and the next update goes on from there."""
    command = [sys.executable, "-c", KILLED, folder, str(moments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def test_an_index_from_a_copy_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Only paths in the folder are compared, so that both may go to another machine."""
    there = tmp_path / "there"
    shutil.copytree(folder, there / "notes")
    shutil.copytree(index_of(folder), there / "index")
    apply(there / "notes", {"four.txt": "four is new"})
    found = update_index(there / "index", there / "notes")
    assert (found.added, found.unchanged) == (1, 3)
