"""Folders as corpora: what is in them, what is left out, what cannot be read."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tests.retrieval.test_corpora_forms import HOTPOT, PASSAGES, jsonl
from tests.support.corpora import passages_of, put, read, refusal


class TestFolders:
    def test_names_that_are_no_utf_8_are_text_and_differ(self, tmp_path: Path) -> None:
        paths = [put(tmp_path / "d" / os.fsdecode(name), "Text.") for name in (b"\xfd.txt", b"\xff.txt")]
        passages = [*read(tmp_path / "d")[0], *read(paths[0])[0]]
        assert [one.id for one in passages] == [r"\xfd.txt#1", r"\xff.txt#1", r"\xfd.txt#1"]
        assert [one.title for one in passages] == [r"\xfd", r"\xff", r"\xfd"]

    def test_is_searched_in_order(self, tmp_path: Path) -> None:
        put(tmp_path / "b.txt", "B.")
        put(tmp_path / "a" / "ä.md", "# A\nText.")
        put(tmp_path / "a" / "more.jsonl", jsonl(PASSAGES))
        put(tmp_path / ".git" / "x.txt", "hidden")
        put(tmp_path / ".hidden.txt", "hidden")
        put(tmp_path / "photo.png", b"\x89PNG\0")
        put(tmp_path / "package.json", "{}")
        put(tmp_path / "c.txt", b"\0binary")
        passages, [left_out, broken] = read(tmp_path)
        assert [one.id for one in passages] == ["b.txt#1", "1", "2", "a/ä.md#1"]
        assert left_out == f"Left out of {tmp_path}: 2 hidden, 2 of another kind (.json, .png)"
        assert broken == f"1 of 3 documents could not be read: {tmp_path / 'c.txt'} is binary, not text"

    def test_questions_stay_out_unless_they_have_passages(self, tmp_path: Path) -> None:
        put(tmp_path / "a.txt", "A.")
        put(tmp_path / "asked.jsonl", '{"question": "?", "answers": ["A"]}\n' * 40)
        put(tmp_path / "asked.jsonl.gz", gzip.compress(b'{"question": "?", "answers": ["A"]}\n'))
        put(tmp_path / "with.jsonl", json.dumps(HOTPOT))
        put(tmp_path / "faq.jsonl", '{"question": "?", "text": "Answered."}')
        put(tmp_path / "empty.jsonl", "")
        passages, [notice] = read(tmp_path)
        assert [one.text for one in passages] == ["A.", "Answered.", "A country. It is dry.", "A river."]
        assert notice == f"Left out of {tmp_path}: 2 of questions without passages"
        assert refusal(tmp_path / "asked.jsonl").startswith("11 of the first 11 rows cannot be used")

    def test_broken_lines_of_a_folder_are_named(self, tmp_path: Path) -> None:
        put(tmp_path / "a.txt", "A.")
        put(tmp_path / "b.jsonl", "{")
        passages, [notice] = read(tmp_path)
        assert len(passages) == 1 and "b.jsonl:1 is not JSON" in notice
        put(tmp_path / "c.jsonl", b"\0")
        assert f"{tmp_path / 'c.jsonl'}:1 is binary" in refusal(tmp_path)

    def test_many_broken_documents_do_not_end_the_reading(self, tmp_path: Path) -> None:
        for number in range(30):
            put(tmp_path / f"{number}.txt", b"\x81")
        put(tmp_path / "good.txt", "Good.")
        passages, [notice] = read(tmp_path)
        assert [one.text for one in passages] == ["Good."]
        why = f"{tmp_path / '0.txt'} is not UTF-8: save it as UTF-8 (30 such)"
        assert notice == f"30 of 31 documents could not be read: {why}"

    def test_two_folders_with_the_same_names(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            put(tmp_path / name / "readme.txt", name)
        assert [one.id for one in passages_of(tmp_path / "one", tmp_path / "two")] == [
            f"{(tmp_path / name).as_posix()}/readme.txt#1" for name in ("one", "two")
        ]

    def test_empty(self, tmp_path: Path) -> None:
        assert refusal(tmp_path) == f"There is no file in the folder {tmp_path} that can be read"
        put(tmp_path / ".hidden", "")
        put(tmp_path / "x.exe", "")
        assert refusal(tmp_path).endswith("that can be read (1 hidden, 1 of another kind (.exe))")
        put(tmp_path / "empty.txt", "")
        assert refusal(tmp_path) == f"There is no passage in {tmp_path / 'empty.txt'}"

    def test_links_in_a_circle(self, tmp_path: Path) -> None:
        put(tmp_path / "a" / "a.txt", "Text.")
        (tmp_path / "a" / "again").symlink_to(tmp_path)
        (tmp_path / "a" / "lost.txt").symlink_to(tmp_path / "none")
        passages, [notice] = read(tmp_path)
        assert len(passages) == 1
        assert "1 unreadable" in notice

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_unreadable(self, tmp_path: Path) -> None:
        put(tmp_path / "good.txt", "Good.")
        put(tmp_path / "bad.txt", "Bad.").chmod(0)
        passages, [notice] = read(tmp_path)
        assert len(passages) == 1
        assert "cannot be read (Permission denied)" in notice


@pytest.mark.parametrize("name", ["c.jsonl", "c.tsv", "c.json", "c.parquet", "c.txt"])
def test_a_file_that_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = put(tmp_path / name, jsonl(PASSAGES))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert f"{path} cannot be read (Permission denied)" in refusal(path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert refusal(tmp_path / "pipe.jsonl") == f"The corpus {tmp_path / 'pipe.jsonl'} is no ordinary file"
