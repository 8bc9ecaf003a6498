"""Documents in the formats of offices: found, and placed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus
from ragr1_lite.retrieval.corpora.documents import sheets
from tests.support.corpora import make, put, read, unzipped

for needed in ("cryptography", "pypdf", "selectolax"):
    pytest.importorskip(needed)


FACTS = {
    "How long is the east pier?": ("notes/pier.txt", "forty metres"),
    "When was the fog bell cast?": ("notes/bell.md", "1702"),
    "What is the speed limit in the basin?": ("notes/rules.rtf", "three knots"),
    "What colour is the ferry Karla?": ("web/ferry.html", "red"),
    "Who runs the tide mill?": ("web/mill.htm", "Per Sand"),
    "Who keeps the Virel light?": ("office/handbook.docx", "Ines Duarte"),
    "What did mooring fees bring?": ("office/budget.pptx", "900 crowns"),
    "Who is the owner of the boat Ute?": ("office/boats.xlsx", "Olu Adeyemi"),
    "What did the council choose for the roof?": ("office/minutes.odt", "slate"),
    "How many anchors are in stock?": ("office/stock.ods", "12"),
    "Who founded Oste?": ("books/history.epub", "salt traders"),
    "Where does the Heron reef lie?": ("books/chart.pdf", "north of the mole"),
    "What did the storm tear off?": ("mail/storm.eml", "weather vane"),
    "What is the pilots' cat called?": ("mail/inbox.mbox", "Mopsa"),
    "When does the customs house close?": ("records.jsonl", "four"),
}


def test_a_fact_of_each_of_fifteen_files_is_found(tmp_path: Path) -> None:
    make.write(make.FILES, tmp_path / "harbour")
    corpus = read_corpus([tmp_path / "harbour"])
    build_index(corpus, tmp_path / "idx")
    assert corpus.bytes_read == corpus.bytes_total
    found = open_searcher(str(tmp_path / "idx")).search([*FACTS], 1)
    names = [name for name, _ in FACTS.values()]
    assert sorted(names) == sorted(make.FILES)
    assert len({Path(name).suffix for name in names}) >= 10
    for (name, answer), [passage] in zip(FACTS.values(), found, strict=True):
        assert answer in passage.text
        assert passage.id == "r1" if name == "records.jsonl" else passage.id.startswith(f"{name}#")


def test_places_are_kept_in_an_index(tmp_path: Path) -> None:
    book = make.epub("Oste", ("Beginnings", "Salt. " * 120), ("Floods", "The flood came in 1634."))
    build_index(read_corpus([put(tmp_path / "a.epub", book)]), tmp_path / "idx")
    [[passage]] = open_searcher(str(tmp_path / "idx")).search(["flood"], 1)
    assert passage.place == "Beginnings; Floods"


class TestWord:
    def read(self, tmp_path: Path, body: str, **files: str) -> list[Passage]:
        xml = f'<w:document xmlns:w="{make.WORD}" xmlns:mc="m"><w:body>{body}</w:body></w:document>'
        return read(put(tmp_path / "a.docx", make.zipped({"word/document.xml": xml} | files)))[0]

    def test_headings_by_style_in_any_language(self, tmp_path: Path) -> None:
        styles = (
            '<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>'
            '<w:style w:styleId="own"><w:name w:val="My own"/><w:basedOn w:val="berschrift1"/></w:style>'
            '<w:style w:styleId="a"><w:basedOn w:val="b"/></w:style>'
            '<w:style w:styleId="b"><w:basedOn w:val="a"/></w:style>'
        )
        texts = {"berschrift1": "Lichter", "": "Virel.", "own": "Fähren", "a": "Karla."}
        assert self.place(tmp_path, styles, texts) == "Lichter; Fähren"

    def test_headings_by_outline_level_of_which_the_tenth_is_text(self, tmp_path: Path) -> None:
        styles = "".join(f'<w:style w:styleId="{n}"><w:outlineLvl w:val="{n}"/></w:style>' for n in range(10))
        texts = {"0": "Lichter", "1": "Fähren", "8": "Karla", "9": "Virel."}
        place = "Lichter; Lichter › Fähren; Lichter › Fähren › Karla"
        assert self.place(tmp_path, styles, texts) == place

    def place(self, tmp_path: Path, styles: str, texts: dict[str, str]) -> str:
        """The place of a passage of paragraphs, by the style of each."""
        body = "".join(
            f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
            for style, text in texts.items()
        )
        xml = {"word/styles.xml": f'<w:styles xmlns:w="{make.WORD}">{styles}</w:styles>'}
        return self.read(tmp_path, body, **xml)[0].place

    def test_what_is_shown_and_what_is_not(self, tmp_path: Path) -> None:
        body = (
            "<w:p><w:r><w:t>One</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>three</w:t></w:r>"
            "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t> new</w:t></w:r></w:ins>"
            "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
            "<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Choice>"
            "<mc:Fallback><w:p><w:r><w:t>box</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>"
        )
        notes = f'<w:footnotes xmlns:w="{make.WORD}"><w:p><w:r><w:t>A footnote.</w:t></w:r></w:p></w:footnotes>'
        [passage] = self.read(tmp_path, body, **{"word/footnotes.xml": notes})
        assert passage.text == "One two three new\nbox\nA footnote."
        assert passage.place == "footnotes"

    def test_tables(self, tmp_path: Path) -> None:
        def cell(text: str) -> str:
            return f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"

        inner = f"<w:tbl><w:tr>{cell('x')}{cell('y')}</w:tr></w:tbl>"
        rows = f"<w:tr>{cell('Boat')}{cell('Owner')}</w:tr><w:tr>{cell('Ute')}<w:tc>{inner}<w:p/></w:tc></w:tr>"
        [passage] = self.read(tmp_path, f"<w:p><w:r><w:t>Boats</w:t></w:r></w:p><w:tbl>{rows}</w:tbl>")
        assert passage.text == "Boats\nBoat | Owner\nUte | x | y"


class TestSlides:
    def test_order_notes_and_small_print(self, tmp_path: Path) -> None:
        deck = unzipped(make.pptx("Deck", ("A", "one"), ("B", "two")))
        deck["ppt/_rels/presentation.xml.rels"] = make.links(
            {"r1": "slides/slide2.xml", "r2": "/ppt/slides/slide1.xml"}
        )
        deck["ppt/slides/_rels/slide1.xml.rels"] = make.links({"n": "../notesSlides/notesSlide1.xml"})
        deck["ppt/notesSlides/notesSlide1.xml"] = (
            f'<p:notes xmlns:p="{make.SLIDES}" xmlns:a="{make.DRAWING}"><p:sp><p:ph type="body"/><a:p><a:r><a:t>Say it.'
            '</a:t></a:r></a:p></p:sp><p:sp><p:ph type="sldNum"/><a:p><a:fld><a:t>7</a:t></a:fld></a:p></p:sp>'
            "</p:notes>"
        )
        [passage] = read(put(tmp_path / "a.pptx", make.zipped(deck)))[0]
        assert passage == Passage("a.pptx#1", "Deck", "B\ntwo\nA\none\nSay it.", place="slide 1; slide 2")

    def test_a_missing_slide_keeps_the_others(self, tmp_path: Path) -> None:
        deck = unzipped(make.pptx("Deck", ("A", "one"), ("B", "two")))
        del deck["ppt/slides/slide2.xml"]
        passages, [notice] = read(put(tmp_path / "a.pptx", make.zipped(deck)))
        assert [one.text for one in passages] == ["A\none"]
        assert "has no ppt/slides/slide2.xml" in notice


class TestSheets:
    STYLES = (
        '<numFmts><numFmt numFmtId="164" formatCode="dd. mmmm yyyy"/><numFmt numFmtId="165" '
        'formatCode="[Red]#,##0.00 &quot;days&quot;"/></numFmts>'
        '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>'
        '<xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="9"/></cellXfs>'
    )

    def read(self, tmp_path: Path, rows: str, shared: str = "", book: str = "") -> list[Passage]:
        files = unzipped(make.xlsx("Boats"))
        space = f'xmlns="{make.SHEETS}"'
        files["xl/worksheets/sheet1.xml"] = f"<worksheet {space}><sheetData>{rows}</sheetData></worksheet>"
        files["xl/sharedStrings.xml"] = f"<sst {space}>{shared}</sst>"
        files["xl/styles.xml"] = f"<styleSheet {space}>{self.STYLES}</styleSheet>"
        files["xl/workbook.xml"] = files["xl/workbook.xml"].replace("<sheets>", f"{book}<sheets>")
        return read(put(tmp_path / "a.xlsx", make.zipped(files)))[0]

    @pytest.mark.parametrize(
        ("cell", "shown"),
        [
            ('<c t="s"><v>1</v></c>', "Virel light"),
            ('<c t="s"><v>9</v></c>', ""),
            ('<c t="b"><v>1</v></c>', "TRUE"),
            ('<c t="e"><v>#N/A</v></c>', "#N/A"),
            ('<c t="str"><f>A1&amp;"x"</f><v>made</v></c>', "made"),
            ("<c><f>40+2</f><v>42</v></c>", "42"),
            ("<c><v>0.30000000000000004</v></c>", "0.3"),
            ('<c s="1"><v>45415</v></c>', "2024-05-03"),
            ('<c s="2"><v>45415.5</v></c>', "2024-05-03 12:00"),
            ('<c s="1"><v>0.25</v></c>', "06:00"),
            ('<c s="1"><v>1e300</v></c>', "1e300"),
            ('<c s="3"><v>7</v></c>', "7"),
            ('<c s="4"><v>0.075</v></c>', "7.5%"),
            ('<c s="99"><v>x</v></c>', "x"),
        ],
    )
    def test_cells(self, tmp_path: Path, cell: str, shown: str) -> None:
        shared = "<si><t>no</t></si><si><r><t>Virel </t></r><r><t>light</t></r><rPh><t>say</t></rPh></si>"
        row = f'<row>{cell}<c t="inlineStr"><is><t>end</t></is></c></row>'
        head = '<row><c t="inlineStr"><is><t>A</t></is></c><c t="inlineStr"><is><t>B</t></is></c></row>'
        [passage] = self.read(tmp_path, head + row, shared)
        assert passage.text == " ".join(f"Boats\nA | B\n{shown} | end".split(" ")).replace("\n |", "\n|")
        assert passage.place == "sheet Boats"

    def test_years_from_1904(self, tmp_path: Path) -> None:
        [passage] = self.read(tmp_path, '<row><c s="1"><v>1</v></c></row>', book='<workbookPr date1904="1"/>')
        assert passage.text == "Boats\n1904-01-02"

    def test_cells_keep_their_columns(self, tmp_path: Path) -> None:
        def row(number: int, **cells: str) -> str:
            held = "".join(f'<c r="{at}{number}"><v>{value}</v></c>' for at, value in cells.items())
            return f"<row>{held}</row>"

        rows = row(3, C="Name", D="Role") + row(4, D="7") + row(5, C="Ida") + row(6, AAAA="9")
        assert self.read(tmp_path, rows)[0].text == "Boats\nName | Role\n| 7\nIda |"

    def test_every_passage_names_the_columns(self, tmp_path: Path) -> None:
        rows = [("Boat", "Owner"), *((f"Boat {n}", f"Owner {n}") for n in range(100))]
        passages = read(put(tmp_path / "a.xlsx", make.xlsx("Boats", *rows)))[0]
        assert len(passages) > 4
        assert all(one.text.startswith("Boats\nBoat | Owner\nBoat ") for one in passages)

    def test_wide_rows_name_each_cell(self, tmp_path: Path) -> None:
        rows = [tuple(f"Column {n}" for n in range(20)), tuple(f"value {n}" for n in range(20))]
        passages = read(put(tmp_path / "a.xlsx", make.xlsx("Wide", *rows)))[0]
        assert "Column 7: value 7; Column 8: value 8" in passages[0].text

    def test_repeated_cells_of_opendocument(self, tmp_path: Path) -> None:
        files = unzipped(make.ods("Stock", ("Thing", "Count"), ("Rope", "9")))
        cells = (
            '<table:table-cell table:number-columns-repeated="2"><text:p>Oar<text:s text:c="99999999"/>x</text:p>'
            "<office:annotation><text:p>a note</text:p></office:annotation></table:table-cell>"
            '<table:table-cell table:number-columns-repeated="99999999999"/>'
        )
        row = f'<table:table-row table:number-rows-repeated="1048576">{cells}</table:table-row>'
        files["content.xml"] = files["content.xml"].replace("</table:table>", f"{row}</table:table>")
        [passage] = read(put(tmp_path / "a.ods", make.zipped(files)))[0]
        assert passage.text == "Stock\nThing | Count\nRope | 9\nOar x | Oar x"

    def test_names_of_columns(self) -> None:
        assert [sheets._column(name) for name in ("A1", "Z9", "AB12", "", "12", "é3")][:5] == [1, 26, 28, 0, 0]


def test_opendocument_slides(tmp_path: Path) -> None:
    content = (
        f'<office:document-content {make.OPEN} xmlns:draw="d" xmlns:presentation="p"><office:presentation>'
        '<draw:page draw:name="one"><draw:frame presentation:class="title"><text:p>Mill</text:p></draw:frame>'
        "<draw:frame><text:p>It turns.</text:p></draw:frame></draw:page>"
        '<draw:page draw:name="two"><text:p>It stops.</text:p></draw:page></office:presentation>'
        "</office:document-content>"
    )
    [passage] = read(put(tmp_path / "a.odp", make.zipped({"content.xml": content})))[0]
    assert passage == Passage("a.odp#1", "a", "Mill\nIt turns.\nIt stops.", place="slide 1; slide 2")
