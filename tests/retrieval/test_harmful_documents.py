"""What is in a document is foreign: it ends in a sentence, in bounded memory."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.documents import packed
from tests.support.corpora import make, put, read, unzipped, why_not

pytest.importorskip("selectolax")


class TestHarm:
    @pytest.mark.parametrize("suffix", [".docx", ".pptx", ".xlsx", ".odt", ".ods", ".epub"])
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "is not a whole file of its kind"),
            (b"PK\x03\x04 and nothing", "is not a whole file of its kind"),
            (b"\xd0\xcf\x11\xe0" + bytes(512), "is protected by a password or in a format from before 2007"),
            (b"PK\x01\x02" * 60_000, "has more than 50,000 files in it"),
            (None, "has no "),
        ],
    )
    def test_files_of_another_kind(self, tmp_path: Path, suffix: str, data: bytes | None, reason: str) -> None:
        path = put(tmp_path / f"a{suffix}", make.zipped({"a": "x"}) if data is None else data)
        assert why_not(path).startswith(reason)

    def test_a_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packed, "MAX_UNPACKED", 2**20)
        out = io.BytesIO()
        with ZipFile(out, "w", ZIP_DEFLATED) as written, written.open("word/document.xml", "w") as file:
            file.write(b"<document>")
            for _ in range(64):
                file.write(b" " * 2**20)
        path = put(tmp_path / "a.docx", out.getvalue())
        assert path.stat().st_size < 2**17
        assert why_not(path) == "unpacks to more than 1 MiB"
        package = packed.Package(path.read_bytes())
        tracemalloc.start()
        with pytest.raises(BadLine):
            for _ in package.events("word/document.xml"):
                pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23

    @pytest.mark.parametrize(
        "doctype",
        [
            '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>',
            '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        ],
    )
    def test_entities(self, tmp_path: Path, doctype: str) -> None:
        xml = f"{doctype}<document><p><t>&a;</t></p></document>"
        path = put(tmp_path / "a.docx", make.zipped({"word/document.xml": xml}))
        assert why_not(path) == "declares entities, which are not read"

    def test_a_text_that_is_repeated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "MAX_CHARACTERS", 100_000)
        files = unzipped(make.xlsx("A"))
        files["xl/sharedStrings.xml"] = f"<sst><si><t>{'word ' * 6000}</t></si></sst>"
        rows = '<row><c t="s"><v>0</v></c></row>' * 5000
        files["xl/worksheets/sheet1.xml"] = f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
        passages, [notice] = read(put(tmp_path / "a.xlsx", make.zipped(files)))
        assert sum(len(one.text) for one in passages) < 102_000
        assert notice.endswith("has more than 100,000 characters")

    def test_numbers_of_thousands_of_digits(self, tmp_path: Path) -> None:
        endless = "9" * 5000
        files = unzipped(make.xlsx("A"))
        cell = f'<c t="s"><v>{endless}</v></c><c s="{endless}"><v>4</v></c>'
        files["xl/worksheets/sheet1.xml"] = f"<worksheet><sheetData><row>{cell}</row></sheetData></worksheet>"
        number = f'numFmtId="{endless}"'
        files["xl/styles.xml"] = f"<s><numFmt {number} formatCode='0'/><cellXfs><xf {number}/></cellXfs></s>"
        assert read(put(tmp_path / "a.xlsx", make.zipped(files)))[0][0].text == "A\n4"
        files = unzipped(make.ods("A", ("Rope", "9")))
        repeated = f'<table:table-cell table:number-columns-repeated="{endless}"'
        files["content.xml"] = files["content.xml"].replace("<table:table-cell", repeated)
        assert "Rope" in read(put(tmp_path / "a.ods", make.zipped(files)))[0][0].text
        styles = f'<s><style styleId="s"><name val="heading {endless}"/><outlineLvl val="{endless}"/></style></s>'
        body = f'<d><p><outlineLvl val="{endless}"/><t>Text.</t></p></d>'
        word = {"word/document.xml": body, "word/styles.xml": styles}
        assert read(put(tmp_path / "a.docx", make.zipped(word)))[0][0].text == "Text."
        files = {"content.xml": f'<d><h outline-level="{endless}">Head</h><p>Text.</p></d>'}
        assert read(put(tmp_path / "a.odt", make.zipped(files)))[0][0].text == "Head\nText."

    def test_a_header_without_end(self, tmp_path: Path) -> None:
        """Python takes the square of its length."""
        for part in ("", "Content-Type: multipart/mixed; boundary=b\n\n--b\n"):
            path = put(tmp_path / "a.eml", f"From: a@b.example\n{part}Subject: {'=?utf-8?q?=41?= ' * 100_000}\n\nText.")
            assert why_not(path) == "has a header of more than 262,144 characters"

    def test_a_broken_part_keeps_what_was_before_it(self, tmp_path: Path) -> None:
        body = "<w:p><w:r><w:t>Kept.</w:t></w:r></w:p>"
        xml = f'<w:document xmlns:w="{make.WORD}"><w:body>{body}{" " * 2**17}</w:b'
        passages, [notice] = read(put(tmp_path / "a.docx", make.zipped({"word/document.xml": xml})))
        assert [one.text for one in passages] == ["Kept."]
        assert "has a broken part, word/document.xml (" in notice

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
        assert "is nested too deeply" in why_not(put(tmp_path / "a.html", page))

    def test_html_that_is_nested_as_pages_are(self, tmp_path: Path) -> None:
        page = "<div><b>" * 300 + "deep" + "</b></div>" * 300 + "<p>x<li>y<a name=z>" * 5000
        page += "<svg>" + '<path d="M 1"/>' * 5000 + "</svg>"
        assert read(put(tmp_path / "a.html", page))[0][0].text.startswith("deep\nx\ny\nx")

    def test_deep_tables_and_mails(self, tmp_path: Path) -> None:
        deep = "<tbl><tr><tc>" * 20_000 + "<p><t>x</t></p>" + "</tc></tr></tbl>" * 20_000
        xml = f"<document>{deep}</document>"
        assert read(put(tmp_path / "a.docx", make.zipped({"word/document.xml": xml})))[0][0].text == "x"
        mail = "Subject: s\nContent-Type: message/rfc822\n\n" * 200 + "Subject: s\n\nText.\n"
        refused = put(tmp_path / "a.eml", mail)
        try:
            read(refused)
        except DataError as error:
            assert "\n" not in error.message
