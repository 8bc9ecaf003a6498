"""Where documents are cut: under their headings, between the rows of tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragr1_lite.retrieval.corpora.documents.passages import WORDS
from tests.support.corpora import make, put, read

pytest.importorskip("selectolax")


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
