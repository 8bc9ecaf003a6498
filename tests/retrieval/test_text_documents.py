"""Text, Markdown, HTML and PDF as documents: their titles, their text, and what they may not do."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora import sources as corpus_sources
from tests.support.corpora import passages_of, put, read, refusal

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
        passages = passages_of(put(tmp_path / "On Chad.v2.txt", text))
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
        [passage] = passages_of(put(tmp_path / "bridge.txt", text))
        assert (passage.title, passage.text.split()) == (title, text.split())

    def test_markdown(self, tmp_path: Path) -> None:
        [passage] = passages_of(put(tmp_path / "a.md", MARKDOWN))
        assert passage == Passage(
            "a.md#1", "Chad and Niger", "Chad and Niger\nChad is dry, hot. Lake\nNiger\ntoo\na | b\nc | d\ncode"
        )

    def test_lines_of_keys_and_values_stay_lines(self, tmp_path: Path) -> None:
        text = b"# Oakvale\n\nPopulation: 12,400\nRiver: Lenn\n\nIt is a town: small,\nbut old.\n"
        [passage] = passages_of(put(tmp_path / "a.md", text))
        assert passage.text == "Oakvale\nPopulation: 12,400\nRiver: Lenn\nIt is a town: small, but old."

    def test_title_in_front_matter(self, tmp_path: Path) -> None:
        [passage] = passages_of(put(tmp_path / "a.md.gz", gzip.compress(b'---\ntitle: "Chad"\n---\n# No\n')))
        assert passage == Passage("a.md.gz#1", "Chad", "No", place="No")

    def test_html(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        [passage] = passages_of(put(tmp_path / "a.html", HTML))
        assert passage == Passage(
            "a.html#1", "Chad & Niger", "Two countries\nChad is dry.\nNiger\ntoo.\na | b", place="Two countries"
        )

    def test_tables_of_html(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        table = """<table><thead><tr><th>Boat</th> <th><p>Built</p></th> <th>Captain</th></tr></thead><tr><td>Sea Otter
            <td>1954<br>(oak)<td></tr><tr><td></td><td> </td><td></td></tr></table>"""
        values = "<table><tr><th colspan=2>Data<tr><th>River<td>Lenn<tr><th>Length<td>9 km</table>"
        page = "<table><tr><td><h2>Menu</h2>Home<td><p>One.<p>Two.</table>"
        [passage] = passages_of(put(tmp_path / "a.html", table + values + page))
        rows = "Boat | Built | Captain\nSea Otter | 1954 (oak) |\nData\nRiver: Lenn\nLength: 9 km"
        assert passage.text == f"{rows}\nMenu\nHome\nOne.\nTwo."

    def test_a_long_table_of_html_takes_no_square_of_its_rows(self, tmp_path: Path) -> None:
        """And a table in a page's layout is as it is alone."""
        pytest.importorskip("selectolax")
        rows = "<table><tr><th>Boat<th>Built" + "<tr><td><p>Sea Otter</p><td>1954" * 20_000 + "</table>"
        passages = passages_of(put(tmp_path / "a.html", f"<table><tr><td>Menu<td>{rows}</table>"))
        assert sum(one.text.count("Sea Otter | 1954") for one in passages) == 20_000
        assert passages[0].text.startswith("Menu\nBoat | Built\nSea Otter | 1954\n")

    def test_html_names_its_encoding(self, tmp_path: Path) -> None:
        pytest.importorskip("selectolax")
        page = '<html><meta charset="latin-1"><title>Café</title><p>Ñandú'.encode("latin-1")
        assert passages_of(put(tmp_path / "a.html", page)) == [Passage("a.html#1", "Café", "Ñandú")]
        assert "is in an unknown encoding, klingon" in refusal(
            put(tmp_path / "b.html", page.replace(b"latin-1", b"klingon"))
        )

    def test_utf16(self, tmp_path: Path) -> None:
        assert passages_of(put(tmp_path / "a.txt", "Ñandú".encode("utf-16")))[0].text == "Ñandú"

    def test_pdf(self, tmp_path: Path) -> None:
        pytest.importorskip("pypdf")
        path = put(tmp_path / "a.pdf", pdf("Chad is a land-\nlocked country.", "It is dry.", title="Lands"))
        assert passages_of(path) == [
            Passage("a.pdf#1", "Lands", "Chad is a landlocked country.\nIt is dry.", place="page 1; page 2")
        ]
        assert passages_of(put(tmp_path / "b", path.read_bytes()))[0].title == "Lands"

    def test_a_page_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pypdf = pytest.importorskip("pypdf")
        extract = pypdf.PageObject.extract_text

        def fail_on_the_second(page: Any) -> str:
            if page.page_number == 1:
                raise KeyError("/Font")
            return str(extract(page))

        monkeypatch.setattr(pypdf.PageObject, "extract_text", fail_on_the_second)
        passages, [notice] = read(put(tmp_path / "a.pdf", pdf("Chad.", "Niger.")))
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
        passages, [notice] = read(tmp_path)
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
        [passage] = passages_of(put(tmp_path / "a.xhtml", page))
        assert "secret" not in passage.text
        assert str(secret) not in opened
