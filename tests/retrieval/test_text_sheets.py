"""Tables in text files whose columns are not those of a corpus: read as sheets, named alone or in a folder."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from email.message import EmailMessage
from pathlib import Path

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import read_corpus
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.documents.passages import WORDS
from tests.support.corpora import put, read
from tests.support.fuzzing import mutate_file

BOATS = 'Boat,Owner,Berth\nKarla,"Sand, Per",7\nUte,"Olu\nAdeyemi",9\n'
READ = "Boat | Owner | Berth\nKarla | Sand, Per | 7\nUte | Olu Adeyemi | 9"


def texts(path: Path) -> list[str]:
    passages, notices = read(path)
    assert not notices
    return [one.text for one in passages]


@pytest.mark.parametrize("name", ["boats.csv", "boats.tsv", "boats.csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_are_read_as_sheets(tmp_path: Path, name: str, encoding: str, mark: str) -> None:
    table = BOATS.replace(",", mark).replace(f"Sand{mark} Per", "Sand, Per").replace("\n", "\r\n").encode(encoding)
    path = put(tmp_path / "in" / name, gzip.compress(table) if name.endswith("gz") else table)
    for source in (path, path.parent):
        assert read(source) == ([Passage(f"{name}#1", "boats", READ)], [])


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("Posten;Betrag\nMiete;1.200,50\nStrom;80,20\n", "Posten | Betrag\nMiete | 1.200,50\nStrom | 80,20"),
        ("sep=;\nA,1;B\n2;3\n", "A,1 | B\n2 | 3"),
        ('Boats of Oste\n\nBoat,Size\nUte,5" beam\n', 'Boats of Oste\nBoat | Size\nUte | 5" beam'),
        ("Boat\nKarla\nUte\n", "Boat\nKarla\nUte"),
        ("2024-01-05,Rent,1200\n2024-01-05,Food,120\n", "2024-01-05 | Rent | 1200\n2024-01-05 | Food | 120"),
        ("Name1,Name2\nUte,Karla\n", "Name1 | Name2\nUte | Karla"),
        ("Product,What we say of the thing\nOar,Long\n", "Product | What we say of the thing\nOar | Long"),
        ("id,title\n1,Karla\n", "id | title\n1 | Karla"),
        ("Boat,Berth\rUte,9\r", "Boat | Berth\nUte | 9"),
        ("question,answer\nWho?,Per\n", "question | answer\nWho? | Per"),
    ],
)
def test_marks_and_headers(tmp_path: Path, table: str, text: str) -> None:
    assert texts(put(tmp_path / "a.csv", table)) == [text]


def test_western_letters_are_read_and_others_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "Größe;Straße\n5 m²;Allée d’été\n".encode("cp1252"))
    assert texts(path) == ["Größe | Straße\n5 m² | Allée d’été"]
    western = "Die Größe – „5 m²“ – kostet 9 €."
    others = (("Город;Имя\nКазань;Иван\n", "cp1251"), ("Miasto;Kto\nBiałystok;Ola\n", "cp1250"))
    for suffix in ("csv", "txt", "md"):
        assert texts(put(tmp_path / f"a.{suffix}", western.encode("cp1252"))) == [western]
        for text, codec in (*others, ("Im März", "cp850"), ("これはテスト", "cp932")):
            with pytest.raises(DataError, match="is not UTF-8: save it as UTF-8"):
                read(put(tmp_path / f"a.{suffix}", text.encode(codec)))


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("{n},Boat,Oslo,Ida\n", False),  # running numbers
        ("Boat {n},2024-03-{n}\n", False),
        ("Boat {n},{n}.5\n", False),
        ("Boat {n},{n}000000\n", False),
        ("Boat {n},{n}\n", True),  # might be years, or weeks
        ("Boat {n},Owner {n}\n", True),
        ("Boat,2019,2020\nAnna,{n},7\n", True),
        ("Day,2024-03-01\nBoat {n},Oslo\n", True),
    ],
)
def test_a_first_row_that_is_like_the_others_names_no_columns(tmp_path: Path, rows: str, named: bool) -> None:
    head, *more = "".join(rows.format(n=n) for n in range(10, 110)).splitlines()
    first, *later = texts(put(tmp_path / "a.csv", "\n".join([head, *more])))
    top = head.replace(",", " | ")
    assert first.startswith(f"{top}\n") and len(later) > 1
    assert {text.startswith(f"{top}\n") for text in later} == {named}


def test_rows_that_go_on_have_their_columns_above(tmp_path: Path) -> None:
    rows = "".join(f"Boat {n},Owner {n}\n" for n in range(100))
    passages = texts(put(tmp_path / "a.csv", f"Boat,Owner\n{rows}"))
    assert len(passages) > 3
    assert all(one.startswith("Boat | Owner\nBoat ") and len(one.split()) <= WORDS for one in passages)


def test_a_folder_keeps_corpora_and_leaves_out_questions_and_broken_ones(tmp_path: Path) -> None:
    put(tmp_path / "asked.csv", "question;answer\nWho?;Per\n")
    put(tmp_path / "bad.csv.gz", b"\x1f\x8b broken")
    put(tmp_path / "binary.csv", b"Boat,Berth\nUte,\0\n")
    put(tmp_path / "boats.csv", BOATS)
    put(tmp_path / "corpus.csv", "id,text\nx,A land.\n")
    passages, [left_out, broken] = read(tmp_path)
    assert [one.id for one in passages] == ["boats.csv#1", "x"]
    assert left_out == f"Left out of {tmp_path}: 1 of questions without passages"
    assert broken.startswith("2 of 3 documents could not be read: ") and "binary.csv is binary" in broken


def test_an_attached_one(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    mail = EmailMessage()
    mail["Subject"] = "Boats"
    mail.set_content("See below.")
    mail.add_attachment(BOATS.encode(), maintype="application", subtype="octet-stream", filename="boats.csv")
    [passage], notices = read(put(tmp_path / "a.eml", mail.as_bytes()))
    assert READ in passage.text and not notices


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.csv", "Boat,Berth\n" + "Karla,7\n" * 50_000)
    monkeypatch.setattr(documents, "MAX_BYTES", path.stat().st_size)
    tracemalloc.start()
    assert sum(one.text.count("Karla") for one in read_corpus([path])) == 50_000
    assert tracemalloc.get_traced_memory()[1] < 6 * path.stat().st_size
    tracemalloc.stop()
    monkeypatch.setattr(documents, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="is longer than"):
        read(path)


def test_mutated_ones_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for seed in range(200):
        path.unlink(missing_ok=True)
        put(path, BOATS)
        mutate_file(path, random.Random(seed))
        try:
            read(path)
        except DataError as error:
            assert str(path) in error.message
