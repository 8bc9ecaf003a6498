"""Every form in which people have a corpus: read right when it is good, refused in one sentence when it is not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.files import json_arrays
from ragr1_lite.retrieval.corpora import documents, read_corpus
from ragr1_lite.retrieval.corpora import sources as corpus_sources

CHAD = Passage("1", "Chad", 'A "landlocked"\tcountry.')
NIGER = Passage("2", "Niger", "Its capital is Niamey.")
PASSAGES = [CHAD, NIGER]
FEW = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def as_dicts(passages: list[Passage]) -> list[dict[str, str]]:
    return [{"id": one.id, "title": one.title, "text": one.text} for one in passages]


def jsonl(passages: list[Passage]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in as_dicts(passages)).encode()


def array(passages: list[Passage]) -> bytes:
    return json.dumps(as_dicts(passages), indent=2).encode()


def table(passages: list[Passage], delimiter: str = "\t") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([("id", "text", "title"), *((one.id, one.text, one.title) for one in passages)])
    return out.getvalue().encode()


def parquet(passages: list[Passage]) -> bytes:
    return parquet_of(as_dicts(passages))


def parquet_of(rows: list[dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


FORMS: dict[str, Callable[[list[Passage]], bytes]] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".json": array,
    ".tsv": table,
    ".csv": lambda passages: table(passages, ","),
    ".parquet": parquet,
}


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(*sources: str | Path) -> list[Passage]:
    return list(read_corpus(sources))


def read_with_notices(source: Path) -> tuple[list[Passage], list[str]]:
    events: list[object] = []
    passages = list(read_corpus([source], events.append))
    assert all(isinstance(event, Notice) for event in events)
    return passages, [event.text for event in events if isinstance(event, Notice)]


def refusal(*sources: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        read(*sources)
    message = caught.value.message
    assert not message.endswith(".")
    assert "\n" not in message
    assert caught.value.hint.endswith((".", '"'))
    return message


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", FORMS)
class TestEveryFormAndCompression:
    def test_is_read(self, tmp_path: Path, suffix: str, compression: str) -> None:
        path = put(tmp_path / f"corpus{suffix}{compression}", COMPRESS[compression](FORMS[suffix](PASSAGES)))
        assert read(path) == PASSAGES

    def test_is_recognized_without_its_suffix(self, tmp_path: Path, suffix: str, compression: str) -> None:
        path = put(tmp_path / "corpus", COMPRESS[compression](FORMS[suffix](PASSAGES)))
        if suffix == ".csv":
            assert refusal(path) == f"The corpus {path} is of no known form"
        else:
            assert read(path) == PASSAGES

    def test_cut_off(self, tmp_path: Path, suffix: str, compression: str) -> None:
        passages = [Passage(str(n), f"Title {n}", f"Text {n * n}") for n in range(600)]
        data = COMPRESS[compression](FORMS[suffix](passages))
        path = put(tmp_path / f"corpus{suffix}{compression}", data[: len(data) * 2 // 3])
        if compression or suffix in (".json", ".parquet"):
            assert str(path) in refusal(path)
        else:
            assert 300 < len(read(path)) < 500


class TestTables:
    @FEW
    @given(
        st.lists(
            st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)] * 2), min_size=1
        ),
        st.sampled_from("\t,"),
    )
    @example([('"', "\t"), ('"a" b', '"\n\n"'), ("\r\n", '""')], "\t")
    def test_text_survives(self, tmp_path_factory: pytest.TempPathFactory, texts: list[Any], mark: str) -> None:
        passages = [Passage(str(n), title.strip(), f"x{text}x") for n, (title, text) in enumerate(texts)]
        path = put(tmp_path_factory.getbasetemp() / "corpus.csv", table(passages, mark))
        suffix = {"\t": ".tsv", ",": ".csv"}[mark]
        assert read_with_notices(path.replace(path.with_suffix(suffix))) == (passages, [])

    @FEW
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\t\r\n"), max_size=20), min_size=1))
    @example(['"', '"b', "c"])
    def test_quotes_may_be_a_part_of_the_text(self, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
        """As in MS MARCO's collection, where nothing is escaped; only a text that is quoted as a whole loses them."""
        lines = [f"{n}\t{text}x" for n, text in enumerate(texts)]
        path = put(tmp_path_factory.getbasetemp() / "collection.tsv", "\n".join(lines))
        assert read(path) == [Passage(str(n), "", f"{text}x".strip()) for n, text in enumerate(texts)]

    def test_a_csv_may_have_tabs(self, tmp_path: Path) -> None:
        """As DPR's files do."""
        assert read(put(tmp_path / "c.csv", "id\ttext\n1\tA country, dry.\n")) == [Passage("1", "", "A country, dry.")]

    def test_quotes_that_open_in_one_row_and_close_in_another(self, tmp_path: Path) -> None:
        path = put(tmp_path / "corpus.tsv", 'id\ttext\n1\t"We left\n2\tand came back"\n')
        assert [passage.text for passage in read(path)] == ['"We left', 'and came back"']

    @pytest.mark.parametrize(
        ("lines", "passage"),
        [
            ('id\ttext\ttitle\n1\t"""Chad"" is…"\tChad\n', Passage("1", "Chad", '"Chad" is…')),
            ("_id\tTitle\tText\r\n1\tChad\tA country.\r\n", Passage("1", "Chad", "A country.")),
            ("docid\tcontents\n7\tA country.\n", Passage("7", "", "A country.")),
            ("text\turl\nA country.\thttp://td\n", Passage("0", "", "A country.")),
            ("1\tA country in Africa.\tChad\n", Passage("1", "Chad", "A country in Africa.")),
            ("1\tChad\tA country in Africa.\n", Passage("1", "Chad", "A country in Africa.")),
            ("1\tA country.\n", Passage("1", "", "A country.")),
            ("\ufeffid\ttext\n\n1\tA country.", Passage("1", "", "A country.")),
            ('id\ttitle\ttext\n1\t"a' + "\ta" * 100_000 + '"\tb', Passage("1", "a" + "\ta" * 100_000, "b")),
        ],
    )
    def test_columns(self, tmp_path: Path, lines: str, passage: Passage) -> None:
        assert read(put(tmp_path / "corpus.tsv", lines)) == [passage]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"1\tcaf\xff\n", "{path}:1 is not UTF-8"),
            (b"id\ttext\n1\n", "There is no passage in {path}; the first: {path}:2 has 1 column, not 2"),
            (b"id\ttext\n1\t\xff\n", "There is no passage in {path}; the first: {path}:2 is not UTF-8"),
            (b"id\ttext\n1\tx\0\n", "{path}:2 is binary, not text in UTF-8"),
            (b"", "There is no passage in {path}"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = put(tmp_path / "corpus.tsv", content)
        assert refusal(path) == message.format(path=path)

    def test_bad_rows_do_not_take_good_ones_with_them(self, tmp_path: Path) -> None:
        bad = b'id\ttext\ttitle\n1\tx\tT\n2\t"open\tT\n3\tx\n4\t"open\n\xff\n5\tx\tT\n'
        passages, [notice] = read_with_notices(put(tmp_path / "c.tsv", bad))
        assert [one.id for one in passages] == ["1", "2", "5"]
        assert "c.tsv:4 has 2 columns, not 3" in notice
        assert "c.tsv:6 is not UTF-8" in notice


class TestParquet:
    def test_many_row_groups_and_foreign_columns(self, tmp_path: Path) -> None:
        rows = [{"_id": n, "title": None, "text": f"text {n}", "embedding": [0.0]} for n in range(2500)]
        passages = read(put(tmp_path / "c.parquet", parquet_of(rows, row_group_size=700)))
        assert passages == [Passage(str(n), "", f"text {n}") for n in range(2500)]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (parquet_of([{"id": "1", "body": "x"}]), "{path} has the columns `id`, `body`, but none of them is `text`"),
            (b"PAR1 and nothing", "{path} is not a whole Parquet file"),
            (b"", "{path} is not a whole Parquet file"),
            (parquet_of([{"text": 3}]), "There is no passage in {path}; the first: {path} row 1 has a title or text"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = put(tmp_path / "corpus.parquet", content)
        assert refusal(path).startswith(message.format(path=path))


HOTPOT = {"_id": "a", "question": "?", "context": [["Chad", ["A country.", " It is dry."]], ["Niger", ["A river."]]]}
TWO_WIKI = {"_id": "b", "question": "?", "context": [["Niger", ["A river."]], ["Mali", ["A country.", "Dry."]]]}
COLUMNAR = {"id": "c", "context": {"title": ["Chad", "Togo"], "sentences": [["A country.", " It is dry."], ["Small."]]}}
MUSIQUE = {"id": "d", "paragraphs": [{"idx": 0, "title": "Mali", "paragraph_text": "A country. Dry."}]}
CONTEXTS = [
    Passage("0", "Chad", "A country. It is dry."),
    Passage("1", "Niger", "A river."),
    Passage("2", "Mali", "A country. Dry."),
    Passage("3", "Togo", "Small."),
]


class TestContexts:
    QUESTIONS = (HOTPOT, TWO_WIKI, COLUMNAR, MUSIQUE)

    @pytest.mark.parametrize("name", ["dev.json", "dev.jsonl", "dev"])
    def test_a_paragraph_is_one_passage(self, tmp_path: Path, name: str) -> None:
        lines = "\n".join(json.dumps(one) for one in self.QUESTIONS)
        data = lines if name.endswith("l") else json.dumps(self.QUESTIONS)
        assert read(put(tmp_path / name, data)) == CONTEXTS

    def test_parquet(self, tmp_path: Path) -> None:
        paths = [
            put(tmp_path / "columns.parquet", parquet_of([COLUMNAR])),
            put(tmp_path / "musique.parquet", parquet_of([MUSIQUE])),
            put(tmp_path / "string.parquet", parquet_of([{"context": json.dumps(HOTPOT["context"])}])),
        ]
        assert sorted((one.title, one.text) for one in read(*paths)) == sorted((p.title, p.text) for p in CONTEXTS)

    def test_within_metadata(self, tmp_path: Path) -> None:
        row = {"id": "x", "metadata": {"context": {"title": ["Togo"], "content": [["Small."]]}}}
        assert read(put(tmp_path / "c.jsonl", json.dumps(row))) == [Passage("0", "Togo", "Small.")]

    @pytest.mark.parametrize(
        "row",
        [
            {"context": [["Chad"]]},
            {"context": [["Chad", [1]]]},
            {"context": [[None, ["x"]]]},
            {"context": {"title": ["Chad"]}},
            {"context": {"title": ["Chad"], "sentences": []}},
            {"context": "[["},
            {"paragraphs": [{"title": "Chad"}]},
            {"paragraphs": ["Chad"]},
        ],
    )
    def test_of_an_unknown_form(self, tmp_path: Path, row: dict[str, object]) -> None:
        path = put(tmp_path / "c.jsonl", json.dumps(row))
        assert refusal(path).endswith(f"{path}:1 has a `context` or `paragraphs` of an unknown form")


class TestArrays:
    @FEW
    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1), st.integers(4, 20), st.booleans())
    def test_text_survives_any_chunk(
        self, tmp_path_factory: pytest.TempPathFactory, texts: list[str], chunk: int, ascii: bool
    ) -> None:
        rows = [{"id": n, "text": f"x{text}x"} for n, text in enumerate(texts)]
        path = put(tmp_path_factory.getbasetemp() / "a.json", json.dumps(rows, ensure_ascii=ascii))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_arrays, "_CHUNK", chunk)
            assert [passage.text for passage in read(path)] == [row["text"] for row in rows]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('[{"text": "x"}', "{path} is cut off or not JSON after its element 1"),
            ('[{"text": "x"} oh]', "{path} is cut off or not JSON after its element 1"),
            ("[" * 100_000, "{path} is cut off or not JSON after its element 0"),
            (b'[{"text": "\xff"}]', "{path} is not UTF-8"),
            ("[]", "There is no passage in {path}"),
            ("[1, 2]", "There is no passage in {path}; the first: {path} row 1 is not a JSON object"),
            ('[{"text": "\\ud800"}]', "There is no passage in {path}; the first: {path} row 1 has half of a surrogate"),
            ('{\n "a": 1\n}', "There is no passage in {path}; the first: {path} row 1 is not JSON"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes | str, message: str) -> None:
        path = put(tmp_path / "corpus.json", content)
        assert refusal(path).startswith(message.format(path=path))


HTML = """<!DOCTYPE html><title>Chad &amp; Niger</title><style>p {}</style><script>alert("no")</script>
<nav>Home</nav><h1>Two <b>coun</b>tries</h1><p>Chad is dry.<p>Niger<br>too.<table><tr><td>a<td>b</table>"""
MARKDOWN = """---
author: me
---
Chad *and* Niger
================
Chad is [dry](http://td "x"),
`hot`. ![Lake](l.png)

- Niger
- <b>too</b>

| a | b |
|---|---|
| c | d |

```py
code
```
"""


def pdf(*pages: str, title: str = "", broken_page: bool = False) -> bytes:
    """A small PDF; written by hand, so that the tests need no package that writes them."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        shown = b"".join(f"({line}) Tj 0 -14 Td ".encode() for line in text.split("\n"))
        stream = b"BT /F1 12 Tf 72 720 Td " + shown + b"ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        contents = b"99 0 R" if broken_page and text == pages[-1] else b"%d 0 R" % len(objects)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents " + contents + b" "
            b"/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    objects.append(b"<< /Title (%s) >>" % title.encode())
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"<< /Size %d /Root 1 0 R /Info %d 0 R >>" % (len(objects) + 1, len(objects))
    xref = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, rows)
    return out + xref + b"trailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (trailer, len(out))


class TestDocuments:
    def test_text(self, tmp_path: Path) -> None:
        sentences = [f"This is sentence number {n} of them." for n in range(40)]
        text = " ".join(sentences[:20]) + "\r\n \r\n" + "\n".join(sentences[20:])
        passages = read(put(tmp_path / "On Chad.v2.txt", text))
        assert [one.id for one in passages] == ["On Chad.v2.txt#1", "On Chad.v2.txt#2", "On Chad.v2.txt#3"]
        assert {one.title for one in passages} == {"On Chad.v2"}
        assert " ".join(one.text for one in passages).split() == text.split()
        assert all(one.text.endswith(".") and len(one.text.split()) <= 100 for one in passages)

    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("\n Ludd Bridge \r\n\r\nIt was built in 1703.", "Ludd Bridge"),
            ("Ludd Bridge", "bridge"),
            ("Ludd Bridge\nIt was built\n\nin 1703.", "bridge"),
            ("It was built in 1703.\n\nAgain in 1811.", "bridge"),
            ("Dear Ada,\n\nIt was built in 1703.", "bridge"),
            ("Built: 1703\n\nLength: 90 m", "bridge"),
            ("Bridge | Built\n\nLudd Bridge | 1703", "bridge"),
            ("1703\n\nIt was built.", "bridge"),
            ("\\documentclass{article}\n\nIt was built.", "bridge"),
            ("A line that is longer than what anyone would call a bridge\n\nIt was built.", "bridge"),
        ],
    )
    def test_a_short_first_line_names_a_text(self, tmp_path: Path, text: str, title: str) -> None:
        [passage] = read(put(tmp_path / "bridge.txt", text))
        assert (passage.title, passage.text.split()) == (title, text.split())

    def test_markdown(self, tmp_path: Path) -> None:
        [passage] = read(put(tmp_path / "a.md", MARKDOWN))
        assert passage == Passage(
            "a.md#1", "Chad and Niger", "Chad and Niger\nChad is dry, hot. Lake\nNiger\ntoo\na | b\nc | d\ncode"
        )

    def test_lines_of_keys_and_values_stay_lines(self, tmp_path: Path) -> None:
        text = b"# Oakvale\n\nPopulation: 12,400\nRiver: Lenn\n\nIt is a town: small,\nbut old.\n"
        [passage] = read(put(tmp_path / "a.md", text))
        assert passage.text == "Oakvale\nPopulation: 12,400\nRiver: Lenn\nIt is a town: small, but old."

    def test_title_in_front_matter(self, tmp_path: Path) -> None:
        [passage] = read(put(tmp_path / "a.md.gz", gzip.compress(b'---\ntitle: "Chad"\n---\n# No\n')))
        assert passage == Passage("a.md.gz#1", "Chad", "No", place="No")

    def test_html(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        [passage] = read(put(tmp_path / "a.html", HTML))
        assert passage == Passage(
            "a.html#1", "Chad & Niger", "Two countries\nChad is dry.\nNiger\ntoo.\na | b", place="Two countries"
        )

    def test_tables_of_html(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        table = """<table><thead><tr><th>Boat</th> <th><p>Built</p></th> <th>Captain</th></tr></thead><tr><td>Sea Otter
            <td>1954<br>(oak)<td></tr><tr><td></td><td> </td><td></td></tr></table>"""
        values = "<table><tr><th colspan=2>Data<tr><th>River<td>Lenn<tr><th>Length<td>9 km</table>"
        page = "<table><tr><td><h2>Menu</h2>Home<td><p>One.<p>Two.</table>"
        [passage] = read(put(tmp_path / "a.html", table + values + page))
        rows = "Boat | Built | Captain\nSea Otter | 1954 (oak) |\nData\nRiver: Lenn\nLength: 9 km"
        assert passage.text == f"{rows}\nMenu\nHome\nOne.\nTwo."

    def test_a_long_table_of_html_takes_no_square_of_its_rows(self, tmp_path: Path) -> None:
        """And a table in a page's layout is as it is alone."""
        pytest.importorskip("selectolax")
        rows = "<table><tr><th>Boat<th>Built" + "<tr><td><p>Sea Otter</p><td>1954" * 20_000 + "</table>"
        passages = read(put(tmp_path / "a.html", f"<table><tr><td>Menu<td>{rows}</table>"))
        assert sum(one.text.count("Sea Otter | 1954") for one in passages) == 20_000
        assert passages[0].text.startswith("Menu\nBoat | Built\nSea Otter | 1954\n")

    @pytest.mark.parametrize(
        "page",
        [
            "<div>" * 2_000_000,
            "<table><tr><td>" * 20_000,
            "".join(f"<x{n}>" for n in range(20_000)),
            "".join(f"<b a={n}>" for n in range(900)) + "<p>x</p>" * 100_000,  # each of which opens all of them anew
            "<u>".join(f"<b a={n}><i a={n}>" for n in range(900)) + "<P>x</P>" * 100_000,
        ],
    )
    def test_html_that_is_nested_without_end(self, page: str, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        assert "is nested too deeply" in refusal(put(tmp_path / "a.html", page))

    def test_html_that_is_nested_as_pages_are(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        page = "<div><b>" * 300 + "deep" + "</b></div>" * 300 + "<p>x<li>y<a name=z>" * 5000
        page += "<svg>" + '<path d="M 1"/>' * 5000 + "</svg>"
        assert read(put(tmp_path / "a.html", page))[0].text.startswith("deep\nx\ny\nx")

    def test_html_names_its_encoding(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        page = '<html><meta charset="latin-1"><title>Café</title><p>Ñandú'.encode("latin-1")
        assert read(put(tmp_path / "a.html", page)) == [Passage("a.html#1", "Café", "Ñandú")]
        assert "is in an unknown encoding, klingon" in refusal(
            put(tmp_path / "b.html", page.replace(b"latin-1", b"klingon"))
        )

    def test_utf16(self, tmp_path: Path) -> None:
        assert read(put(tmp_path / "a.txt", "Ñandú".encode("utf-16")))[0].text == "Ñandú"

    def test_pdf(self, tmp_path: Path) -> None:
        pytest.importorskip("pypdf")
        path = put(tmp_path / "a.pdf", pdf("Chad is a land-\nlocked country.", "It is dry.", title="Lands"))
        assert read(path) == [
            Passage("a.pdf#1", "Lands", "Chad is a landlocked country.\nIt is dry.", place="page 1; page 2")
        ]
        assert read(put(tmp_path / "b", path.read_bytes()))[0].title == "Lands"

    def test_a_page_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pypdf = pytest.importorskip("pypdf")
        extract = pypdf.PageObject.extract_text

        def fail_on_the_second(page: Any) -> str:
            if page.page_number == 1:
                raise KeyError("/Font")
            return str(extract(page))

        monkeypatch.setattr(pypdf.PageObject, "extract_text", fail_on_the_second)
        passages, [notice] = read_with_notices(put(tmp_path / "a.pdf", pdf("Chad.", "Niger.")))
        assert [one.text for one in passages] == ["Chad."]
        why = "has among its 2 pages 1 that cannot be read"
        assert notice == f"1 of 1 documents could not be read whole: {tmp_path / 'a.pdf'} {why}"

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("a.txt", "Казань".encode("cp1251"), "is not UTF-8"),
            ("a.md", b"PK\x03\x04\0", "is binary, not text"),
            ("a.txt", b"x" * 1001, "is longer than 0 MiB"),
            ("a.txt.gz", gzip.compress(b"text", mtime=0)[:-3], "is not a whole gzip file"),
            ("a.html", b"\xff\xfa", "is not UTF-8"),
            ("a.pdf", b"%PDF-1.4 and nothing", "is not a PDF that can be read"),
            ("a.pdf", pdf(""), "has no text, so it may be scanned"),
        ],
    )
    def test_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, reason: str
    ) -> None:
        pytest.importorskip({".pdf": "pypdf", ".html": "selectolax"}.get(Path(name).suffix, "gzip"))
        monkeypatch.setattr(documents, "MAX_BYTES", 1000)
        path = put(tmp_path / name, content)
        assert refusal(path).startswith(f"There is no passage in {path}; the first: {path} {reason}")

    def test_a_missing_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus_sources, "find_spec", lambda name: None)
        put(tmp_path / "a.html", HTML)
        assert refusal(tmp_path) == "Reading .html needs selectolax"
        put(tmp_path / "a.pdf", b"%PDF-")
        assert refusal(tmp_path) == "Reading .html, .pdf needs pypdf and selectolax"
        put(tmp_path / "b.txt", "Chad.")
        passages, [notice] = read_with_notices(tmp_path)
        assert [one.text for one in passages] == ["Chad."]
        assert notice.startswith(
            "Left out 2 files (.html, .pdf): reading them needs pypdf and selectolax. Install it: "
        )
        assert "ragr1-lite[docs]" in notice

    def test_nothing_in_a_document_is_run_or_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("selectolax")
        secret = put(tmp_path / "secret", "secret")
        page = f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret}">]><html><body>&e;<iframe src="{secret}"></iframe>text'
        opened: list[str] = []
        sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and args else None)
        [passage] = read(put(tmp_path / "a.xhtml", page))
        assert "secret" not in passage.text
        assert str(secret) not in opened


class TestFolders:
    def test_is_searched_in_order(self, tmp_path: Path) -> None:
        put(tmp_path / "b.txt", "B.")
        put(tmp_path / "a" / "ä.md", "# A\nText.")
        put(tmp_path / "a" / "more.jsonl", jsonl(PASSAGES))
        put(tmp_path / ".git" / "x.txt", "hidden")
        put(tmp_path / ".hidden.txt", "hidden")
        put(tmp_path / "photo.png", b"\x89PNG\0")
        put(tmp_path / "package.json", "{}")
        put(tmp_path / "c.txt", b"\0binary")
        passages, [left_out, broken] = read_with_notices(tmp_path)
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
        passages, [notice] = read_with_notices(tmp_path)
        assert [one.text for one in passages] == ["A.", "Answered.", "A country. It is dry.", "A river."]
        assert notice == f"Left out of {tmp_path}: 2 of questions without passages"
        assert refusal(tmp_path / "asked.jsonl").startswith("11 of the first 11 rows cannot be used")

    def test_broken_lines_of_a_folder_are_named(self, tmp_path: Path) -> None:
        put(tmp_path / "a.txt", "A.")
        put(tmp_path / "b.jsonl", "{")
        passages, [notice] = read_with_notices(tmp_path)
        assert len(passages) == 1 and "b.jsonl:1 is not JSON" in notice
        put(tmp_path / "c.jsonl", b"\0")
        assert f"{tmp_path / 'c.jsonl'}:1 is binary" in refusal(tmp_path)

    def test_many_broken_documents_do_not_end_the_reading(self, tmp_path: Path) -> None:
        for number in range(30):
            put(tmp_path / f"{number}.txt", b"\x81")
        put(tmp_path / "good.txt", "Good.")
        passages, [notice] = read_with_notices(tmp_path)
        assert [one.text for one in passages] == ["Good."]
        why = f"{tmp_path / '0.txt'} is not UTF-8: save it as UTF-8 (30 such)"
        assert notice == f"30 of 31 documents could not be read: {why}"

    def test_two_folders_with_the_same_names(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            put(tmp_path / name / "readme.txt", name)
        assert [one.id for one in read(tmp_path / "one", tmp_path / "two")] == [
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
        passages, [notice] = read_with_notices(tmp_path)
        assert len(passages) == 1
        assert "1 unreadable" in notice

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_unreadable(self, tmp_path: Path) -> None:
        put(tmp_path / "good.txt", "Good.")
        put(tmp_path / "bad.txt", "Bad.").chmod(0)
        passages, [notice] = read_with_notices(tmp_path)
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
        assert read("hub:BeIR/scifact") == PASSAGES
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
