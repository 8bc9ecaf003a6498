"""Mail in wrongly named letters, numbers as sheets show them, text layers as fonts draw, names as macOS writes them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus
from ragr1_lite.retrieval.corpora.documents import mail
from ragr1_lite.retrieval.corpora.documents.pdf import _page
from tests.support.corpora import make, put, read, why_not

for needed in ("cryptography", "pypdf", "selectolax"):
    pytest.importorskip(needed)

MAIL = b"From: a@oste.example\nSubject: S\nMIME-Version: 1.0\n"


def test_letters_found_by_any_spelling_of_a_name_in_either_form(tmp_path: Path) -> None:
    names = {form: unicodedata.normalize(form, "Łódź-Übersicht.txt") for form in ("NFC", "NFD")}
    assert names["NFC"] != names["NFD"]
    for form, name in names.items():
        (tmp_path / form).mkdir()
        put(tmp_path / form / name, "Das Tor schließt um neun.")
        build_index(read_corpus([tmp_path / form]), tmp_path / f"{form}-index")
        [[passage]] = open_searcher(str(tmp_path / f"{form}-index")).search(["Lodz Ubersicht"], 1)
        assert passage.title == "Łódź-Übersicht" and passage.id == f"{name}#1"


class TestMail:
    @pytest.mark.parametrize(
        ("charset", "data", "text"),
        [
            ("gb2312", "馆员叫赵镕远。".encode("gbk"), "馆员叫赵镕远。"),
            ("iso-8859-1", "Es kostet „5 €“.".encode("cp1252"), "Es kostet „5 €“."),
            ("shift_jis", "①髙田さん".encode("cp932"), "①髙田さん"),
            ("", "Die Mühle ist grün.".encode("latin-1"), "Die Mühle ist grün."),
            ("us-ascii", "Die Mühle ist grün.".encode(), "Die Mühle ist grün."),
            ("utf-8", "Die Mühle ist grün.".encode("latin-1"), "Die Mühle ist grün."),
        ],
    )
    def test_charsets_that_mean_another(self, tmp_path: Path, charset: str, data: bytes, text: str) -> None:
        kind = b"Content-Type: text/plain" + (f"; charset={charset}" if charset else "").encode()
        content = MAIL + kind + b"\nContent-Transfer-Encoding: 8bit\n\n" + data
        [passage], notices = read(put(tmp_path / "a.eml", content))
        assert passage.text.endswith(text) and not notices

    def test_an_attached_text_in_the_letters_that_it_names(self, tmp_path: Path) -> None:
        head = MAIL + b"Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\nHi.\n--B\n"
        part = b'Content-Type: text/plain; charset=iso-8859-1; name="tor.txt"\nContent-Disposition: attachment\n'
        content = head + part + b"Content-Transfer-Encoding: 8bit\n\nDas Tor schlie\xdft um neun.\n--B--\n"
        [passage], notices = read(put(tmp_path / "a.eml", content))
        assert "Das Tor schließt um neun." in passage.text and passage.place == "attachment tor.txt"
        assert not notices

    def test_an_error_of_the_standard_librarys_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mail, "message_from_bytes", lambda *_, **__: [][0])
        assert why_not(put(tmp_path / "a.eml", MAIL)) == "is no e-mail that can be read (list index out of range)"


class TestSheets:
    def cells(self, tmp_path: Path, form: str, *values: str) -> list[str]:
        """The values of one column as they are read, in a format."""
        rows = "".join(f'<row><c s="0"><v>1</v></c><c s="1"><v>{value}</v></c></row>' for value in values)
        styles = (
            f'<numFmts><numFmt numFmtId="164" formatCode="{form}"/></numFmts>'
            '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/></cellXfs>'
        )
        files = {
            "xl/workbook.xml": f'<workbook xmlns="{make.SHEETS}" xmlns:r="{make.OFFICE_LINKS}"><sheets>'
            '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": make.links({"r1": "worksheets/sheet1.xml"}),
            "xl/styles.xml": f'<styleSheet xmlns="{make.SHEETS}">{styles}</styleSheet>',
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{make.SHEETS}"><sheetData>{rows}</sheetData></worksheet>',
        }
        [passage] = read(put(tmp_path / "a.xlsx", make.zipped(files)))[0]
        return [line.removeprefix("1 | ") for line in passage.text.splitlines()[1:]]

    def test_durations_of_more_than_a_day(self, tmp_path: Path) -> None:
        assert self.cells(tmp_path, "[h]:mm", "1.5", "0.25", "-0.5") == ["36:00", "6:00", "-12:00"]
        assert self.cells(tmp_path, "[Red][mm]:ss", "0.0007") == ["0:01"]

    def test_days_before_the_leap_day_that_excel_made_up(self, tmp_path: Path) -> None:
        assert self.cells(tmp_path, "yyyy-mm-dd", "1", "59", "61") == ["1900-01-01", "1900-02-28", "1900-03-01"]

    def test_a_negative_date_is_a_number(self, tmp_path: Path) -> None:
        assert self.cells(tmp_path, "yyyy-mm-dd", "-3") == ["-3"]

    def test_a_wide_row_alone_is_read(self, tmp_path: Path) -> None:
        row = [f"word{number}" for number in range(60)]
        passages = read(put(tmp_path / "a.xlsx", make.xlsx("S", tuple(row))))[0]
        texts = " ".join(one.text for one in passages)
        assert [word for word in texts.split() if word.startswith("word")] == row


class TestPdf:
    @pytest.mark.parametrize(
        ("layer", "text"),
        [
            ("der Leucht\u00ad\nturm", "der Leuchtturm"),
            ("das Mühl-\nöl", "das Mühlöl"),
            ("свет на мая\u2010\nке", "свет на маяке"),
            ("Nord-\nOst-Tor", "Nord-\nOst-Tor"),
            ("the ﬁrst oﬃce", "the first office"),
            ("\ufee3\ufedc\ufe98\ufe92\ufe94", "مكتبة"),
        ],
    )
    def test_text_as_it_is_drawn(self, layer: str, text: str) -> None:
        assert list(_page(1, layer).paragraphs) == [text]


def test_passages_are_ordinary(tmp_path: Path) -> None:
    """A text without any of this stays as it is."""
    [passage] = read(put(tmp_path / "a.txt", "Plain text.\n"))[0]
    assert passage == Passage("a.txt#1", "a", "Plain text.")
