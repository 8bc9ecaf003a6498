"""What is written never replaces what is read, by whatever name, and names that are no files are passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.writing import refuse_input


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    path = tmp_path / "in.jsonl"
    path.write_text("kept")
    return path


def test_the_same_file_by_any_path_or_link(read: Path, tmp_path: Path) -> None:
    (tmp_path / "symbolic").symlink_to(read)
    (tmp_path / "hard").hardlink_to(read)
    (tmp_path / "folder").symlink_to(tmp_path)
    for out in ("in.jsonl", "below/../in.jsonl", "symbolic", "hard", "folder/in.jsonl", str(read)):
        with pytest.raises(DataError) as caught:
            refuse_input(Path(out), [None, "world", str(read)])
        assert str(caught.value) == f"--out names {out}, which is read. Choose another --out."


def test_a_folder_that_is_replaced_with_what_is_read_in_it(read: Path, tmp_path: Path) -> None:
    inside = tmp_path / "below" / "passages.jsonl"
    inside.write_text("kept")
    with pytest.raises(DataError, match=r"passages\.jsonl is read and lies in below, which -o replaces"):
        refuse_input(Path("below"), [inside], "-o")


@pytest.mark.parametrize("name", [None, "", "world", "hub:OWNER/NAME", "http://127.0.0.1:8000/retrieve", "x" * 5000])
def test_names_that_are_no_files_here(read: Path, name: str | None) -> None:
    refuse_input(read, [name])


def test_what_is_not_there_yet_and_what_lies_next_to_it(read: Path) -> None:
    refuse_input(Path("new.jsonl"), ["in.jsonl"])
    refuse_input(read, [read.parent])
