"""Make a folder as people have them, fifteen files in thirteen formats, to try ``ragr1-lite index build`` on.

    python examples/many_formats.py harbour
    ragr1-lite index build harbour --out indexes/harbour
    ragr1-lite index search indexes/harbour "Who keeps the Virel light?" -k 1

Every file holds a fact of a made-up harbour that no other one holds. They are written by hand, in the least that each
format asks for, so that nothing but Python is needed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SLIDES = "http://schemas.openxmlformats.org/presentationml/2006/main"
SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table")
)


def zipped(files: Mapping[str, str]) -> bytes:
    """A ZIP file of texts by their names."""
    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return out.getvalue()


def core(title: str) -> str:
    """The properties of a file of Microsoft's formats."""
    return f'<p xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(title)}</dc:title></p>'


def links(targets: Mapping[str, str]) -> str:
    """What the ids of one of its files refer to."""
    rows = "".join(f'<Relationship Id="{id}" Target="{target}"/>' for id, target in targets.items())
    return f'<Relationships xmlns="{LINKS}">{rows}</Relationships>'


def docx(title: str, *paragraphs: tuple[str, str]) -> bytes:
    """Word: paragraphs with their styles, ``Heading1`` or none."""
    rows = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:styleId="Heading{level}"><w:name w:val="heading {level}"/></w:style>' for level in (1, 2, 3)
    )
    return zipped(
        {
            "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{rows}</w:body></w:document>',
            "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>',
            "docProps/core.xml": core(title),
        }
    )


def pptx(title: str, *slides: tuple[str, str]) -> bytes:
    """PowerPoint: slides with a title and a text."""
    files = {"docProps/core.xml": core(title)}
    for number, texts in enumerate(slides, start=1):
        boxes = "".join(
            f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
            f"<p:txBody><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
            for kind, text in zip(("title", "body"), texts, strict=True)
        )
        files[f"ppt/slides/slide{number}.xml"] = f'<p:sld xmlns:p="{SLIDES}" xmlns:a="{DRAWING}">{boxes}</p:sld>'
    order = "".join(f'<p:sldId id="{255 + number}" r:id="r{number}"/>' for number in range(1, len(slides) + 1))
    files["ppt/presentation.xml"] = (
        f'<p:presentation xmlns:p="{SLIDES}" xmlns:r="{OFFICE_LINKS}"><p:sldIdLst>{order}</p:sldIdLst></p:presentation>'
    )
    files["ppt/_rels/presentation.xml.rels"] = links(
        {f"r{number}": f"slides/slide{number}.xml" for number in range(1, len(slides) + 1)}
    )
    return zipped(files)


def xlsx(sheet: str, *rows: tuple[str, ...]) -> bytes:
    """Excel: one sheet of texts."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(text)}</t></is></c>' for text in row) + "</row>"
        for row in rows
    )
    book = f'<sheets><sheet name="{escape(sheet)}" sheetId="1" r:id="r1"/></sheets>'
    return zipped(
        {
            "xl/workbook.xml": f'<workbook xmlns="{SHEETS}" xmlns:r="{OFFICE_LINKS}">{book}</workbook>',
            "xl/_rels/workbook.xml.rels": links({"r1": "worksheets/sheet1.xml"}),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{SHEETS}"><sheetData>{cells}</sheetData></worksheet>',
        }
    )


def odt(heading: str, text: str) -> bytes:
    """OpenDocument's text."""
    body = f'<text:h text:outline-level="1">{escape(heading)}</text:h><text:p>{escape(text)}</text:p>'
    content = f"<office:body><office:text>{body}</office:text></office:body>"
    return zipped({"content.xml": f"<office:document-content {OPEN}>{content}</office:document-content>"})


def ods(sheet: str, *rows: tuple[str, ...]) -> bytes:
    """OpenDocument's spreadsheet."""
    cells = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{escape(text)}</text:p></table:table-cell>" for text in row)
        + "</table:table-row>"
        for row in rows
    )
    table = f'<table:table table:name="{escape(sheet)}">{cells}</table:table>'
    content = f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
    return zipped({"content.xml": f"<office:document-content {OPEN}>{content}</office:document-content>"})


def epub(title: str, *chapters: tuple[str, str]) -> bytes:
    """A book of chapters with a heading and a text."""
    files = {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    }
    for number, (heading, text) in enumerate(chapters, start=1):
        files[f"OPS/{number}.xhtml"] = (
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
            f"<body><h2>{escape(heading)}</h2><p>{escape(text)}</p></body></html>"
        )
    numbers = range(1, len(chapters) + 1)
    items = "".join(f'<item id="c{number}" href="{number}.xhtml"/>' for number in numbers)
    order = "".join(f'<itemref idref="c{number}"/>' for number in numbers)
    files["OPS/book.opf"] = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>{escape(title)}</dc:title></metadata>"
        f"<manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    return zipped(files)


def pdf(*pages: str) -> bytes:
    """A page of one line for each text, in ASCII without brackets."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
    kids = b" ".join(b"%d 0 R" % number for number in range(5, len(objects) + 1, 2))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(b"%010d 00000 n \n" % len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, b"".join(offsets))
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + table + end


def message(subject: str, text: str) -> str:
    """An e-mail."""
    return f"From: Ida Brandt <ida@oste.example>\nTo: all@oste.example\nSubject: {subject}\n\n{text}\n"


FILES: dict[str, str | bytes] = {
    "notes/pier.txt": "The east pier is forty metres long.\n",
    "notes/bell.md": "# The bell\n\nThe fog bell was cast in Lower Oste in 1702.\n",
    "notes/rules.rtf": r"{\rtf1\ansi The speed limit in the basin is three knots.\par}",
    "web/ferry.html": "<!DOCTYPE html><title>Ferry</title><p>The ferry Karla is painted red.</p>",
    "web/mill.htm": "<html><body><h1>Mill</h1><p>The tide mill is run by Per Sand.</p></body></html>",
    "office/handbook.docx": docx(
        "Harbour handbook",
        ("Heading1", "Lights"),
        ("", "The Virel light is kept by Ines Duarte."),
        ("Heading1", "Keys"),
        ("", "The boathouse key hangs behind the clock."),
    ),
    "office/budget.pptx": pptx("Budget", ("Income", "Mooring fees brought 900 crowns."), ("Costs", "Paint cost 210.")),
    "office/boats.xlsx": xlsx("Boats", ("Boat", "Owner", "Berth"), ("Ute", "Olu Adeyemi", "B7")),
    "office/minutes.odt": odt("Minutes", "The council chose slate for the new roof."),
    "office/stock.ods": ods("Stock", ("Thing", "Count"), ("Anchors", "12")),
    "books/history.epub": epub(
        "A history of Oste", ("Beginnings", "Oste was founded by salt traders."), ("Floods", "The flood came in 1634.")
    ),
    "books/chart.pdf": pdf("Chart of the bay.", "The Heron reef lies north of the mole."),
    "mail/storm.eml": message("Storm", "The storm tore off the weather vane on Tuesday."),
    "mail/inbox.mbox": "\n".join(
        f"From ida@oste.example Fri May  3 10:00:00 2024\n{message(subject, text)}"
        for subject, text in (("Paint", "The new paint is called harbour blue."), ("Cat", "The pilots' cat is Mopsa."))
    ),
    "records.jsonl": '{"id": "r1", "title": "Customs", "text": "The customs house closes at four."}\n',
}


def write(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Writes files by their names."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


if __name__ == "__main__":
    write(FILES, Path(sys.argv[1] if len(sys.argv) > 1 else "harbour"))
