"""Corpora as other programs and people leave them, each with the answer that it is due."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.data.questions import read_questions
from ragr1_lite.retrieval import build_index, read_corpus
from tests.support.corpora import lines, put, read

NAN = float("nan")


class TestMarksBetweenColumns:
    PASSAGE = Passage("1", "Virel", "The light is kept by Ines Duarte; she paints.")

    @pytest.mark.parametrize(
        ("name", "table"),
        [
            ("c.csv", 'id;title;text\r\n1;Virel;"The light is kept by Ines Duarte; she paints."\r\n'),
            ("c.csv", "id\ttitle\ttext\n1\tVirel\tThe light is kept by Ines Duarte; she paints.\n"),
            ("c.csv", 'sep=;\r\n"id";"title";"text"\r\n1;Virel;"The light is kept by Ines Duarte; she paints."\r\n'),
            ("c.csv", "id|text|title, if any|title\n1|The light is kept by Ines Duarte; she paints.||Virel\n"),
            ("c.tsv", 'id;title;text\n1;Virel;"The light is kept by Ines Duarte; she paints."\n'),
            ("c.csv", '1;Virel;"The light is kept by Ines Duarte; she paints."\n'),
        ],
    )
    def test_are_seen_in_the_first_line(self, tmp_path: Path, name: str, table: str) -> None:
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            assert read(put(tmp_path / name, table.encode(encoding)))[0] == [self.PASSAGE]

    def test_of_questions(self, tmp_path: Path) -> None:
        table = '\ufeffquestion;answer\r\nWho keeps it?;Ines Duarte\r\n"Which ferry, if any, is red?";Karla\r\n'
        assert [
            (one.example.question, one.example.answers) for one in read_questions(put(tmp_path / "q.csv", table))
        ] == [
            ("Who keeps it?", ("Ines Duarte",)),
            ("Which ferry, if any, is red?", ("Karla",)),
        ]

    def test_semicolons_in_a_text_do_not_count(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.csv", "text\nRed; green; blue.\n")
        assert [one.text for one in read(path)[0]] == ["Red; green; blue."]


class TestNothingWhereTextShouldBe:
    @pytest.mark.parametrize("title", [NAN, None])
    def test_a_title(self, tmp_path: Path, title: float | None) -> None:
        rows = [{"id": str(n), "title": title, "text": f"Hut {n}."} for n in range(30)]
        assert read(put(tmp_path / "c.jsonl", lines(*rows)))[0] == [Passage(str(n), "", f"Hut {n}.") for n in range(30)]

    def test_a_column_of_numbers(self, tmp_path: Path) -> None:
        """As pandas writes a column of titles none of which is known."""
        path = tmp_path / "c.parquet"
        pq.write_table(pa.table({"id": ["a"], "title": [NAN], "text": ["Hut."]}), path)
        assert read(path)[0] == [Passage("a", "", "Hut.")]

    def test_an_id(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.jsonl", lines({"id": NAN, "_id": "b", "text": "Hut."}, {"id": NAN, "text": "Hill."}))
        assert [one.id for one in read(path)[0]] == ["b", "1"]

    def test_the_other_of_two_keys(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.jsonl", lines({"text": NAN, "contents": "Virel\nA light."}))
        assert read(path)[0] == [Passage("0", "Virel", "A light.")]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"id": 2, "title": None, "text": None}, "has a `text` that is null"),
            ({"id": 2, "contents": None}, "has a `contents` that is null"),
            ({"id": 2, "text": NAN}, "has a `text` that is null"),
            ({"id": 2, "title": "A"}, "has no `text` or `contents`, only `id`, `title`"),
        ],
    )
    def test_the_text(self, tmp_path: Path, row: dict[str, object], reason: str) -> None:
        path = put(tmp_path / "c.jsonl", lines({"id": 1, "text": "boat one"}, row))
        assert read(path)[1] == [f"Skipped 1 of 2 rows: {path}:2 {reason}"]

    def test_reasons_are_counted(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.jsonl", lines({"text": "x"}, *[{"text": None}] * 4, {"text": ""}, "x", [], *[1] * 2))
        assert read(path)[1] == [
            f"Skipped 9 of 10 rows: {path}:2 has a `text` that is null (4 such); {path}:6 has an empty text; "
            f"{path}:7 is not a JSON object (4 such)"
        ]


class TestLineEndsOfOldMacs:
    TABLE = "id,title,text\r1,T,boat one\r2,U,boat two"
    PASSAGES = (Passage("1", "T", "boat one"), Passage("2", "U", "boat two"))

    @pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".jsonl", ".json"])
    def test_of_rows(self, tmp_path: Path, suffix: str) -> None:
        rows = [{"id": one.id, "title": one.title, "text": one.text} for one in self.PASSAGES]
        text = {".tsv": self.TABLE.replace(",", "\t"), ".jsonl": lines(*rows), ".json": json.dumps(rows, indent=1)}
        data = text.get(suffix, self.TABLE).replace("\n", "\r").encode()
        path = put(tmp_path / f"c{suffix}", gzip.compress(data) if suffix.endswith(".gz") else data)
        assert read(path)[0] == [*self.PASSAGES]

    def test_bad_bytes_stay_bad(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.csv", b"id,text\r1,caf\xe9\r2,tea\r")
        passages, [notice] = read(path)
        assert [one.text for one in passages] == ["tea"]
        assert notice == f"Skipped 1 of 2 rows: {path}:2 is not UTF-8"

    def test_of_a_text(self, tmp_path: Path) -> None:
        path = put(tmp_path / "a.txt", "First part\r\rSecond part")
        assert [one.text for one in read(path)[0]] == ["First part\nSecond part"]

    def test_a_long_file_is_read_in_pieces(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.csv", "id,text\r" + "".join(f"{n},{'é' * 50} {n}\r" for n in range(5000)))
        passages = read(path)[0]
        assert len(passages) == 5000
        assert passages[-1].text == f"{'é' * 50} 4999"


class TestUtf16:
    """As PowerShell's ``>`` and Excel's "Unicode text" write."""

    def test_rows(self, tmp_path: Path) -> None:
        rows = [{"id": str(n), "text": f"Łódź 🚋 {n}"} for n in range(2000)]
        for name, text in (("c.jsonl", lines(*rows)), ("c.json", json.dumps(rows)), ("c", lines(*rows))):
            assert [one.text for one in read(put(tmp_path / name, text.encode("utf-16")))[0]] == [
                row["text"] for row in rows
            ]

    def test_a_table(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.csv", "id\ttext\r\n1\tŁódź\r\n".encode("utf-16"))
        assert read(path)[0] == [Passage("1", "", "Łódź")]


class TestLongRows:
    TEXT = " ".join(f"Note {n} speaks of weather and boats on the long canal." for n in range(600))

    def test_are_cut_as_documents_are(self, tmp_path: Path) -> None:
        row = {"id": "1", "title": "Canal diary", "text": f"{self.TEXT} The lock keeper is Tomas Virel."}
        passages, [notice] = read(put(tmp_path / "c.jsonl", lines(row, {"id": "2", "text": "Short."})))
        assert [one.id for one in passages] == [*(f"1#{n}" for n in range(1, 68)), "2"]
        assert {one.title for one in passages[:-1]} == {"Canal diary"}
        assert passages[-2].text.endswith("The lock keeper is Tomas Virel.")
        assert max(len(one.text.split()) for one in passages) <= 100
        assert " ".join(one.text for one in passages[:-1]) == row["text"]
        assert notice == "Long texts: 1 of the rows are cut into passages of 100 words, with ids like ID#1"

    @pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
    def test_of_tables(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"c{suffix}"
        if suffix == ".tsv":
            put(path, f"id\ttext\n7\t{self.TEXT}\n")
        else:
            pq.write_table(pa.table({"contents": [f"Diary\n{self.TEXT}"]}), path)
        passages = read(path)[0]
        assert len(passages) == 67
        assert passages[-1].id == ("7#67" if suffix == ".tsv" else "0#67")

    def test_without_blanks(self, tmp_path: Path) -> None:
        passages = read(put(tmp_path / "c.jsonl", lines({"id": "1", "text": "乍得是非洲国家。" * 4000})))[0]
        assert len(passages) > 20
        assert max(len(one.text) for one in passages) <= 1000

    def test_a_middling_one_is_kept_and_named(self, tmp_path: Path) -> None:
        passages, [notice] = read(put(tmp_path / "c.jsonl", lines({"id": "1", "text": "word " * 1200})))
        assert [one.id for one in passages] == ["1"]
        assert notice == "Long texts: 1 of the rows have more than 700 words: a model may see the beginning alone"

    def test_an_id_that_a_piece_takes_is_refused(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.jsonl", lines({"id": "1", "text": self.TEXT}, {"id": "1#2", "text": "x"}))
        with pytest.raises(DataError, match="'1#2' in .*:2 was already used in .*:1"):
            read(path)


class TestKilt:
    ROW = {
        "_id": "77",
        "wikipedia_id": "77",
        "wikipedia_title": "Virel Canal",
        "text": [
            "Virel Canal\n",
            "The Virel Canal is a waterway in Lower Oste.\n",
            "Section::::History.\n",
            "BULLET::::- It was dug in 1811 by Anna Brandt.\n",
            "Section::::History:Locks.\n",
            "There are four.\n",
        ],
    }

    @pytest.mark.parametrize("name", ["c.json", "c.jsonl"])
    def test_a_row_is_a_document(self, tmp_path: Path, name: str) -> None:
        history = "History\nIt was dug in 1811 by Anna Brandt.\nLocks\nThere are four."
        text = f"The Virel Canal is a waterway in Lower Oste.\n{history}"
        place = "History; History › Locks"
        assert read(put(tmp_path / name, lines(self.ROW)))[0] == [Passage("77", "Virel Canal", text, place=place)]

    def test_a_long_one_says_where_its_passages_are_from(self, tmp_path: Path) -> None:
        more = [*self.ROW["text"], *(f"Lock {n} lets boats of every kind pass to the sea.\n" for n in range(40))]
        passages = read(put(tmp_path / "c.jsonl", lines({**self.ROW, "text": more})))[0]
        assert [one.id for one in passages[:2]] == ["77#1", "77#2"]
        assert passages[-1].place == "History › Locks"
        assert passages[-1].text.startswith("Locks\nLock ")

    def test_parquet(self, tmp_path: Path) -> None:
        pq.write_table(pa.Table.from_pylist([self.ROW]), tmp_path / "c.parquet")
        assert read(tmp_path / "c.parquet")[0][0].title == "Virel Canal"

    def test_lists_of_others(self, tmp_path: Path) -> None:
        path = put(tmp_path / "c.jsonl", lines({"title": "Oste", "text": ["One part.", "Another."]}))
        assert read(path)[0] == [Passage("0", "Oste", "One part.\nAnother.")]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
class TestLinks:
    def test_out_of_the_folder(self, tmp_path: Path) -> None:
        put(tmp_path / "outside.txt", "Private: the blue heron key.")
        put(tmp_path / "other" / "c.txt", "Private.")
        put(tmp_path / "d" / "a.md", "Open note.")
        (tmp_path / "d" / "b.txt").symlink_to("../outside.txt")
        (tmp_path / "d" / "lost.txt").symlink_to("../nowhere.txt")
        (tmp_path / "d" / "more").symlink_to(tmp_path / "other")
        (tmp_path / "d" / "twice.txt").symlink_to("b.txt")
        passages, [notice] = read(tmp_path / "d")
        assert [one.text for one in passages] == ["Open note."]
        assert notice == f"Left out of {tmp_path / 'd'}: 4 linked from elsewhere"

    def test_within_the_folder(self, tmp_path: Path) -> None:
        put(tmp_path / "real" / "sub" / "a.md", "Open note.")
        (tmp_path / "real" / "b.md").symlink_to("sub/a.md")
        (tmp_path / "link").symlink_to("real")
        assert [one.id for one in read(tmp_path / "link")[0]] == ["b.md#1", "sub/a.md#1"]

    def test_a_file_that_is_named_is_read(self, tmp_path: Path) -> None:
        put(tmp_path / "outside.txt", "Meant.")
        (tmp_path / "b.txt").symlink_to("outside.txt")
        assert read(tmp_path / "b.txt")[0][0].text == "Meant."


class TestIndexAmongDocuments:
    def test_is_left_out(self, tmp_path: Path) -> None:
        put(tmp_path / "a.txt", "A note.")
        put(tmp_path / "sub" / "b.txt", "Another.")
        for times in range(2):
            events: list[object] = []
            for out in (tmp_path / "idx", tmp_path / "sub" / "idx"):
                info = build_index(read_corpus([tmp_path], events.append), out, overwrite=True)
                assert info.passages == 2
            left = [event.text for event in events if isinstance(event, Notice)]
            first = [f"Left out of {tmp_path}: {1 + times} built as an index"]
            assert left == (first if times == 0 else [f"Left out of {tmp_path}: 2 built as an index"] * 2)

    def test_a_folder_that_only_has_a_manifest(self, tmp_path: Path) -> None:
        put(tmp_path / "app" / "manifest.json", "{}")
        put(tmp_path / "app" / "a.txt", "A note.")
        assert len(read(tmp_path)[0]) == 1

    def test_is_read_where_it_is_named(self, tmp_path: Path) -> None:
        build_index([Passage("a", "Chad", "A country.", place="page 3")], tmp_path / "idx")
        assert read(tmp_path / "idx")[0] == [Passage("a", "Chad", "A country.")]


class TestLettersThatTheTerminalLacks:
    @pytest.fixture
    def index(self, tmp_path: Path) -> Path:
        out = tmp_path / "idx"
        pairs = [
            ("Łódź", "opened its tram depot."),
            ("青河镇", "青河镇的镇长是林小雨。"),
            ("Æbelø", "has a lighthouse 🗼."),
        ]
        build_index([Passage(title, title, f"{title} {text}") for title, text in pairs], out)
        return out

    def search(self, index: Path, *words: str, given: bytes = b"", **settings: str) -> list[str]:
        """The titles that a search in a process of its own finds, by its JSON."""
        code = "from ragr1_lite.cli.main import main; main()"
        command = [sys.executable, "-c", code, "index", "search", str(index), *words, "--json", "-k", "1"]
        found = subprocess.run(
            command, input=given, env=os.environ | {"PYTHONUTF8": "0"} | settings, capture_output=True, check=True
        )
        results = json.loads(found.stdout.decode(settings.get("PYTHONIOENCODING", "utf-8")))["results"]
        return [one["title"] for result in results for one in result["passages"]]

    def test_json_keeps_them(self, index: Path) -> None:
        for encoding in ("cp1252", "ascii"):
            assert self.search(index, "tram depot", "lighthouse", PYTHONIOENCODING=encoding) == ["Łódź", "Æbelø"]

    @pytest.mark.skipif(sys.platform != "linux", reason="locales differ elsewhere")
    def test_queries_arrive_whole(self, index: Path) -> None:
        poor = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
        assert self.search(index, "青河镇", "ÆBELØ", **poor) == ["青河镇", "Æbelø"]
        assert self.search(index, "--queries-file", "-", given="Łódź\n".encode(), **poor) == ["Łódź"]
