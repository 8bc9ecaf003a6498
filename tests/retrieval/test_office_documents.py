"""Documents in the formats of offices, books and mail: found, placed, and harmless whatever is in them."""

from __future__ import annotations

import importlib.util
import io
import mailbox
import tracemalloc
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.files.json_lines import BadLine
from ragr1_lite.retrieval import build_index, open_searcher, read_corpus
from ragr1_lite.retrieval.corpora import documents
from ragr1_lite.retrieval.corpora.documents import packed, sheets
from ragr1_lite.retrieval.corpora.documents.passages import WORDS

for needed in ("cryptography", "pypdf", "selectolax"):
    pytest.importorskip(needed)


def example() -> ModuleType:
    """The script that makes a folder of many formats, with its writers."""
    path = Path(__file__).parents[2] / "examples" / "many_formats.py"
    spec = importlib.util.spec_from_file_location("many_formats", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = example()


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(*sources: Path) -> tuple[list[Passage], list[str]]:
    """The passages, and the notices there were."""
    events: list[object] = []
    passages = list(read_corpus(sources, events.append))
    return passages, [event.text for event in events if isinstance(event, Notice)]


def refusal(path: Path) -> str:
    """Why there is no passage in a document."""
    with pytest.raises(DataError) as caught:
        read(path)
    before, _, reason = caught.value.message.partition(f"; the first: {path} ")
    assert before == f"There is no passage in {path}"
    return reason


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


class TestHeadings:
    WORDS = " ".join(f"Boat {n} lies at the quay." for n in range(40))

    def test_a_passage_that_goes_on_begins_with_its_heading(self, tmp_path: Path) -> None:
        path = put(tmp_path / "a.md", f"# Oste\n\nA port.\n\n## Boats\n\n### Large ones\n\n{self.WORDS}\n")
        passages = read(path)[0]
        assert [one.place for one in passages] == ["Boats; Boats › Large ones", *["Boats › Large ones"] * 2]
        assert passages[0].text.startswith("Oste\nA port.\nBoats\nLarge ones\nBoat 0 lies")
        assert all(one.text.startswith("Large ones\nBoat ") for one in passages[1:])
        assert all(len(one.text.split()) <= WORDS for one in passages)
        texts = " ".join(one.text.removeprefix("Large ones\n") for one in passages)
        assert texts.endswith(self.WORDS[-300:])

    def test_of_html(self, tmp_path: Path) -> None:
        page = f"<title>Oste</title><h1>Oste</h1><p>A port.</p><h2>Boats <i>all</i></h2><div>{self.WORDS}</div>"
        passages = read(put(tmp_path / "a.html", page))[0]
        assert [one.place for one in passages] == ["Boats all"] * 3
        assert passages[2].text.startswith("Boats all\nBoat ")

    def test_a_long_one_is_not_repeated(self, tmp_path: Path) -> None:
        passages = read(put(tmp_path / "a.md", f"# A\n\n## {'very ' * 30}long\n\n{self.WORDS}\n"))[0]
        assert passages[1].text.startswith("Boat ")


class TestTables:
    ROWS = tuple((f"Boat {n}", f"Olu of St. Ives, no. {n}", "Paid. " + "In May. " * (n % 5)) for n in range(30))

    @pytest.mark.parametrize("suffix", ["md", "xlsx", "csv", "html"])
    def test_rows_stay_whole_under_their_columns(self, tmp_path: Path, suffix: str) -> None:
        lines = [" | ".join(row).strip() for row in (("Boat", "Owner", "Fee"), *self.ROWS)]
        cells = [line.split(" | ") for line in lines]
        tables: dict[str, bytes | str] = {
            "md": "\n".join(["# Oste", "## Fleet", "", lines[0], "---|---|---", *lines[1:]]),
            "xlsx": make.xlsx("Fleet", *map(tuple, cells)),
            "csv": "\n".join(";".join(row) for row in cells),
            "html": "<h2>Fleet</h2><table>" + "".join(f"<tr><td>{'<td>'.join(row)}" for row in cells) + "</table>",
        }
        passages = read(put(tmp_path / f"a.{suffix}", tables[suffix]))[0]
        found = [one.text.removeprefix("Oste\n").splitlines() for one in passages]
        head = [] if suffix == "csv" else ["Fleet"]
        assert len(found) > 3 and all(text[: len(head) + 1] == [*head, lines[0]] for text in found)
        assert [line for text in found for line in text[len(head) + 1 :]] == lines[1:]
        assert max(len(" ".join(text).split()) for text in found) <= WORDS

    def test_a_first_row_that_names_nothing_is_not_repeated(self, tmp_path: Path) -> None:
        rows = "\n\n".join(f"Boat {name} | {'oak ' * 12}" for name in "0bcdefghijklmnopqrst")
        texts = [one.text for one in read(put(tmp_path / "a.txt", f"{rows}\n\nA | B"))[0]]
        assert len(texts) > 2 and all(" ".join(texts).count(f"Boat {name}") == 1 for name in "0bcd")

    def test_pairs_stay_whole_under_their_heading(self, tmp_path: Path) -> None:
        pairs = [f"Key {n}: one of St. Ives. Or of Oste." for n in range(40)]
        for name in ("a.md", "a.txt"):
            joined = ("\n\n" if name == "a.txt" else "\n").join(pairs)
            passages = read(put(tmp_path / name, "# A\n\n## Keys\n\n" * (name == "a.md") + joined))[0]
            assert [line for one in passages for line in one.text.splitlines() if line not in ("A", "Keys")] == pairs
            assert name == "a.txt" or all(one.text.startswith("Keys\nKey ") for one in passages[1:])


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
        deck = _unzipped(make.pptx("Deck", ("A", "one"), ("B", "two")))
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
        deck = _unzipped(make.pptx("Deck", ("A", "one"), ("B", "two")))
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
        files = _unzipped(make.xlsx("Boats"))
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
        files = _unzipped(make.ods("Stock", ("Thing", "Count"), ("Rope", "9")))
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


class TestBooks:
    def test_a_chapter_that_is_missing(self, tmp_path: Path) -> None:
        book = _unzipped(make.epub("Oste", ("A", "One."), ("B", "Two.")))
        del book["OPS/1.xhtml"]
        passages, [notice] = read(put(tmp_path / "a.epub", make.zipped(book)))
        assert [one.text for one in passages] == ["B\nTwo."]
        assert notice.endswith("has 1 of 2 chapters that cannot be read")

    def test_names_in_percent_form_and_above(self, tmp_path: Path) -> None:
        book = _unzipped(make.epub("Oste", ("A", "One.")))
        book["text/chapter one.xhtml"] = book.pop("OPS/1.xhtml")
        book["OPS/book.opf"] = book["OPS/book.opf"].replace("1.xhtml", "../text/chapter%20one.xhtml")
        assert read(put(tmp_path / "a.epub", make.zipped(book)))[0][0].text == "A\nOne."

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"META-INF/rights.xml": "<x/>"}, "is protected against copying (DRM)"),
            ({"META-INF/container.xml": "<container/>"}, "names no book in META-INF/container.xml"),
            ({"META-INF/container.xml": "<container"}, "has a broken part, META-INF/container.xml ("),
        ],
    )
    def test_refused(self, tmp_path: Path, change: dict[str, str], reason: str) -> None:
        book = _unzipped(make.epub("Oste", ("A", "One."))) | change
        assert refusal(put(tmp_path / "a.epub", make.zipped(book))).startswith(reason)


class TestMail:
    def test_parts_and_attachments(self, tmp_path: Path) -> None:
        inner = EmailMessage()
        inner["Subject"] = "Key"
        inner.set_content("The key is under the oar.")
        message = EmailMessage()
        message["Subject"], message["From"] = "Grüße aus Łódź", "Ida <ida@oste.example>"
        message.set_content("The tide mill:\n> is it red?\nYes.\n")
        message.add_alternative("<p>not this one</p>", subtype="html")
        message.add_attachment(
            make.docx("T", ("Heading1", "Roof"), ("", "It is slate.")), "application", "x", filename="a.docx"
        )
        message.add_attachment(b"\x89PNG", "image", "png", filename="p.png")
        message.add_attachment(inner)
        [passage], [notice] = read(put(tmp_path / "a.eml", bytes(message)))
        assert passage.title == "Grüße aus Łódź"
        assert passage.text == (
            "From Ida <ida@oste.example>\nThe tide mill: is it red? Yes.\n"
            "Roof\nIt is slate.\nKey\nThe key is under the oar."
        )
        assert passage.place == "attachment a.docx; Roof"
        assert notice.endswith(f"{tmp_path / 'a.eml'} has attachments that are not read (.png)")

    def test_html_alone_and_an_unknown_charset(self, tmp_path: Path) -> None:
        head = b"Subject: S\nContent-Type: text/%s; charset=%s\n\n"
        for kind, charset, body in ((b"html", b"latin-1", b"<p>caf\xe9"), (b"plain", b"klingon", "café".encode())):
            path = put(tmp_path / "a.eml", head % (kind, charset) + body)
            assert read(path)[0][0].text == "café"

    @pytest.mark.parametrize("packed_", [False, True])
    def test_a_mailbox_of_python(self, tmp_path: Path, packed_: bool) -> None:
        box = mailbox.mbox(tmp_path / "in.mbox")
        for number in range(3):
            message = EmailMessage()
            message["Subject"] = f"Mail {number}"
            message.set_content(f"One.\n\nFrom here it is {number} miles.\n")
            box.add(message)
        box.close()
        if packed_:
            import gzip

            path = put(tmp_path / "in.mbox.gz", gzip.compress((tmp_path / "in.mbox").read_bytes()))
        else:
            path = tmp_path / "in.mbox"
        passages = read(path)[0]
        assert [(one.id, one.title) for one in passages] == [(f"{path.name}#{n + 1}", f"Mail {n}") for n in range(3)]
        assert passages[2].text == "One.\nFrom here it is 2 miles."

    def test_a_mailbox_with_bad_mails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "MAX_BYTES", 2**20)
        good = "From x\nSubject: Good\n\nText.\n\n"
        long = "From x\nSubject: Long\n\n" + "long line\n" * 110_000
        path = put(tmp_path / "in.mbox", f"{good}From x\nno header\n\n{long}\n{good}")
        passages, [notice] = read(path)
        assert [one.title for one in passages] == ["Good", "Good"]
        assert notice.startswith("2 of 4 documents could not be read: ")
        assert "is no e-mail: it has none of its headers" in notice
        assert "has a message that is longer than 1 MiB" in notice


class TestPdf:
    def encrypted(self, algorithm: str, password: str = "") -> bytes:
        import pypdf

        writer = pypdf.PdfWriter(clone_from=io.BytesIO(make.pdf("Warden of Oste: Lena Kruse.")))
        writer.encrypt(user_password=password, owner_password="x", algorithm=algorithm)
        out = io.BytesIO()
        writer.write(out)
        return out.getvalue()

    @pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256", "AES-256-R5"])
    def test_encrypted_without_a_password(self, tmp_path: Path, algorithm: str) -> None:
        assert read(put(tmp_path / "a.pdf", self.encrypted(algorithm)))[0][0].text == "Warden of Oste: Lena Kruse."

    def test_with_a_password(self, tmp_path: Path) -> None:
        reason = refusal(put(tmp_path / "a.pdf", self.encrypted("AES-256", "secret")))
        assert reason == "is encrypted and opens with a password only: save it without one"

    def test_without_the_package_for_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import pypdf
        from pypdf.errors import DependencyError

        def fail(*_: object, **__: object) -> None:
            raise DependencyError("cryptography>=3.1 is required for AES algorithm")

        data = self.encrypted("AES-256")
        monkeypatch.setattr(pypdf._encryption.Encryption, "verify", fail)
        put(tmp_path / "b.txt", "The mill is red.")
        passages, [notice] = read(put(tmp_path / "a.pdf", data).parent)
        assert [one.text for one in passages] == ["The mill is red."]
        assert "a.pdf is encrypted by AES, which needs cryptography: pip install" in notice.replace("uv pip", "pip")

    def test_scanned(self, tmp_path: Path) -> None:
        reason = refusal(put(tmp_path / "a.pdf", make.pdf("")))
        assert reason == "has no text, so it may be scanned: `ocrmypdf IN.pdf OUT.pdf` adds it"

    def test_scanned_pages_among_others(self, tmp_path: Path) -> None:
        data = make.pdf("The mill is red.", "", "")
        picture = b"/Resources << /XObject << /I 3 0 R >> >> >>"
        image = b"<< /Type /XObject /Subtype /Image /X /Y /Z /Long >>"
        data = data.replace(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", image.ljust(54))
        head, last, tail = data.rpartition(b"/Resources << /Font << /F1 3 0 R >> >> >>")
        passages, [notice] = read(put(tmp_path / "a.pdf", head + picture.ljust(len(last)) + tail))
        assert len(passages) == 1
        assert "has among its 3 pages 1 that are pictures without text: `ocrmypdf IN.pdf OUT.pdf` adds it" in notice

    def test_a_sentence_over_two_pages_is_whole(self, tmp_path: Path) -> None:
        [passage] = read(put(tmp_path / "a.pdf", make.pdf("It was dug by", "Anna Brandt. She left.", "More.")))[0]
        assert passage.text == "It was dug by Anna Brandt.\nShe left.\nMore."
        assert passage.place == "page 1; page 2; page 3"


class TestRtf:
    @pytest.mark.parametrize(
        ("source", "text"),
        [
            (r"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364?uro\par two\line three}", "café €uro\ntwo\nthree"),
            (r"{\rtf1\ansi {\fonttbl{\f0 Arial;}}{\*\generator X;}{\pict\pngblip 89504e47}Text.}", "Text."),
            (r"{\rtf1 \u-10179?\u-8704?}", "😀"),
            (r"{\rtf1\ansi unbalanced {\b bold", "unbalanced bold"),
            (r"{\rtf1 }} after {it}", "after it"),
            (r"{\rtf1{\fonttbl{\f1\fcharset204 Arial;}}\f1 \'c4\'e0\plain  \'e9}", "Да é"),
            (r"{\rtf1\trowd\intbl Boat\par big\cell Ute\cell\row\pard end}", "Boat big | Ute\nend"),
            (r"{\rtf1 {\*\shppict{\pict\bin7 }}}\'ff}}seen}", "seen"),
            (r"{\rtf1\uc2\u8364 ??{\uc0\u8364}x}", "€€x"),
            (r"{\rtf1 Rope {\title rules} here.}", "Rope rules here."),
        ],
    )
    def test_is_read(self, tmp_path: Path, source: str, text: str) -> None:
        assert read(put(tmp_path / "a.rtf", source))[0][0].text == text

    def test_title_and_name(self, tmp_path: Path) -> None:
        path = put(tmp_path / "a.doc", r"{\rtf1{\info{\author Ida}{\title Rope rules}}Splice.}")
        assert read(path)[0] == [Passage("a.doc#1", "Rope rules", "Splice.")]
        assert refusal(put(tmp_path / "b.rtf", "no RTF")) == "is not RTF"
        assert refusal(put(tmp_path / "b.rtf", r"{\rtf1" + "{" * 100_000)) == "is nested too deeply"

    def test_headings(self, tmp_path: Path) -> None:
        source = r"{\rtf1\pard\outlinelevel0 Boats\par\pard Ute.\par\pard\outlinelevel1 Owners\par\pard Olu.}"
        [passage] = read(put(tmp_path / "a.rtf", source))[0]
        assert (passage.text, passage.place) == ("Boats\nUte.\nOwners\nOlu.", "Boats; Boats › Owners")


class TestHarm:
    """What is in a document is foreign: it ends in a sentence, in bounded memory."""

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
        assert refusal(path).startswith(reason)

    def test_a_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packed, "MAX_UNPACKED", 2**20)
        out = io.BytesIO()
        with ZipFile(out, "w", ZIP_DEFLATED) as written, written.open("word/document.xml", "w") as file:
            file.write(b"<document>")
            for _ in range(64):
                file.write(b" " * 2**20)
        path = put(tmp_path / "a.docx", out.getvalue())
        assert path.stat().st_size < 2**17
        assert refusal(path) == "unpacks to more than 1 MiB"
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
        assert refusal(path) == "declares entities, which are not read"

    def test_a_text_that_is_repeated(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "MAX_CHARACTERS", 100_000)
        files = _unzipped(make.xlsx("A"))
        files["xl/sharedStrings.xml"] = f"<sst><si><t>{'word ' * 6000}</t></si></sst>"
        rows = '<row><c t="s"><v>0</v></c></row>' * 5000
        files["xl/worksheets/sheet1.xml"] = f"<worksheet><sheetData>{rows}</sheetData></worksheet>"
        passages, [notice] = read(put(tmp_path / "a.xlsx", make.zipped(files)))
        assert sum(len(one.text) for one in passages) < 102_000
        assert notice.endswith("has more than 100,000 characters")

    def test_numbers_of_thousands_of_digits(self, tmp_path: Path) -> None:
        endless = "9" * 5000
        files = _unzipped(make.xlsx("A"))
        cell = f'<c t="s"><v>{endless}</v></c><c s="{endless}"><v>4</v></c>'
        files["xl/worksheets/sheet1.xml"] = f"<worksheet><sheetData><row>{cell}</row></sheetData></worksheet>"
        number = f'numFmtId="{endless}"'
        files["xl/styles.xml"] = f"<s><numFmt {number} formatCode='0'/><cellXfs><xf {number}/></cellXfs></s>"
        assert read(put(tmp_path / "a.xlsx", make.zipped(files)))[0][0].text == "A\n4"
        files = _unzipped(make.ods("A", ("Rope", "9")))
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
            assert refusal(path) == "has a header of more than 262,144 characters"

    def test_a_broken_part_keeps_what_was_before_it(self, tmp_path: Path) -> None:
        body = "<w:p><w:r><w:t>Kept.</w:t></w:r></w:p>"
        xml = f'<w:document xmlns:w="{make.WORD}"><w:body>{body}{" " * 2**17}</w:b'
        passages, [notice] = read(put(tmp_path / "a.docx", make.zipped({"word/document.xml": xml})))
        assert [one.text for one in passages] == ["Kept."]
        assert "has a broken part, word/document.xml (" in notice

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


def _unzipped(data: bytes) -> dict[str, str]:
    with ZipFile(io.BytesIO(data)) as package:
        return {name: package.read(name).decode() for name in package.namelist()}
