"""What an interrupted run has finished: read back whole, never half, and only by a run of the same settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice
from ragr1_lite.files.journal import Journal, finished, interrupted

SETTINGS = {"questions": "a.jsonl", "seed": 1}


def start(out: Path, resume: bool = False, overwrite: bool = False, **settings: object) -> Journal:
    return Journal.start(out, SETTINGS | settings, resume=resume, overwrite=overwrite)


def path_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.journal")


def test_finished_pieces_are_read_back_and_added_to(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    journal = start(out)
    journal.add([{"id": "é\u2028\n"}, {"id": "2"}])
    journal.add([])
    again = start(out, resume=True)
    assert again.pieces == journal.pieces == [[{"id": "é\u2028\n"}, {"id": "2"}], []]
    again.add([{"id": "3"}])
    assert [len(piece) for piece in start(out, resume=True).pieces] == [2, 0, 1]
    for _ in range(2):
        again.remove()
        assert list(out.parent.iterdir()) == []


def test_a_piece_cut_off_anywhere_is_not_there(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    journal = start(out)
    journal.add([{"id": "1"}])
    before = path_of(out).read_bytes()
    journal.add([{"id": "2"}, {"id": "3"}])
    whole = path_of(out).read_bytes()
    for end in range(len(whole)):
        path_of(out).write_bytes(whole[:end])
        opened = start(out, resume=True)
        assert opened.pieces == ([[{"id": "1"}]] if end >= len(before) else [])
        opened.add([{"id": "4"}])
        assert start(out, resume=True).pieces == [*opened.pieces]


def test_other_settings_are_named(tmp_path: Path) -> None:
    start(tmp_path / "out.jsonl")
    with pytest.raises(RunError, match=r"had other settings \(k, seed\)"):
        start(tmp_path / "out.jsonl", resume=True, seed=2, k=3)
    assert start(tmp_path / "out.jsonl", overwrite=True, seed=2).pieces == []


def test_nothing_is_written_over_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    start(out)
    with pytest.raises(RunError, match="--resume"):
        start(out)
    out.write_text("result")
    with pytest.raises(DataError, match="exists"):
        start(out)
    assert start(out, resume=True).pieces == [], "a journal says that its run was to write there"
    path_of(out).unlink()
    for resume in (False, True):
        with pytest.raises(DataError, match="exists"):
            start(out, resume=resume)
    assert out.read_text() == "result"


def test_finished_is_what_is_there_without_a_journal(tmp_path: Path) -> None:
    out, events = tmp_path / "out.jsonl", list[object]()
    start(out)
    assert interrupted(out) and not finished(out, resume=True, overwrite=False)
    path_of(out).unlink()
    assert not finished(out, resume=True, overwrite=False)
    out.write_text("result")
    assert not finished(out, resume=False, overwrite=False) and not finished(out, resume=True, overwrite=True)
    assert not finished(out, out, tmp_path / "other", resume=True, overwrite=False)
    assert finished(out, resume=True, overwrite=False, report=events.append)
    assert events == [Notice(f"{out} is finished: nothing was asked, and nothing was changed.")]


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", json.dumps({"rows": []})])
def test_a_broken_journal_is_named(tmp_path: Path, line: str) -> None:
    path_of(tmp_path / "out.jsonl").write_text(line + "\n")
    with pytest.raises(RunError, match=r"out\.jsonl\.journal is broken"):
        start(tmp_path / "out.jsonl", resume=True)


def test_work_that_breaks_off_says_how_to_go_on(tmp_path: Path) -> None:
    events: list[object] = []
    for done in ([], [{"id": "1"}]):
        journal = start(tmp_path / "out.jsonl")
        if done:
            journal.add(done)
        with pytest.raises(KeyboardInterrupt), journal.working(events.append):
            raise KeyboardInterrupt
        assert path_of(tmp_path / "out.jsonl").exists() == bool(done)
    assert events == [Notice("What is finished is kept: go on with --resume.", "warning")]
