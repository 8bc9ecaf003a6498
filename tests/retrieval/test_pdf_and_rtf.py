"""PDF and RTF as documents: encrypted, scanned, unbalanced."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ragr1_lite.core.types import Passage
from tests.support.corpora import make, put, read, why_not

for needed in ("cryptography", "pypdf"):
    pytest.importorskip(needed)


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
        reason = why_not(put(tmp_path / "a.pdf", self.encrypted("AES-256", "secret")))
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
        reason = why_not(put(tmp_path / "a.pdf", make.pdf("")))
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
        assert why_not(put(tmp_path / "b.rtf", "no RTF")) == "is not RTF"
        assert why_not(put(tmp_path / "b.rtf", r"{\rtf1" + "{" * 100_000)) == "is nested too deeply"

    def test_headings(self, tmp_path: Path) -> None:
        source = r"{\rtf1\pard\outlinelevel0 Boats\par\pard Ute.\par\pard\outlinelevel1 Owners\par\pard Olu.}"
        [passage] = read(put(tmp_path / "a.rtf", source))[0]
        assert (passage.text, passage.place) == ("Boats\nUte.\nOwners\nOlu.", "Boats; Boats › Owners")
