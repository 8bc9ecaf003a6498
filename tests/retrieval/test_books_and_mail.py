"""E-books and mail as documents."""

from __future__ import annotations

import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest

from ragr1_lite.retrieval.corpora import documents
from tests.support.corpora import make, put, read, unzipped, why_not

pytest.importorskip("selectolax")


class TestBooks:
    def test_a_chapter_that_is_missing(self, tmp_path: Path) -> None:
        book = unzipped(make.epub("Oste", ("A", "One."), ("B", "Two.")))
        del book["OPS/1.xhtml"]
        passages, [notice] = read(put(tmp_path / "a.epub", make.zipped(book)))
        assert [one.text for one in passages] == ["B\nTwo."]
        assert notice.endswith("has 1 of 2 chapters that cannot be read")

    def test_names_in_percent_form_and_above(self, tmp_path: Path) -> None:
        book = unzipped(make.epub("Oste", ("A", "One.")))
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
        book = unzipped(make.epub("Oste", ("A", "One."))) | change
        assert why_not(put(tmp_path / "a.epub", make.zipped(book))).startswith(reason)


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
