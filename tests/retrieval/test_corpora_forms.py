"""Every form of rows in which people have a corpus: read right when good, refused in one sentence when not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragr1_lite.core.types import Passage
from ragr1_lite.files import json_arrays
from tests.support.corpora import passages_of, put, read, refusal

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


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", FORMS)
class TestEveryFormAndCompression:
    def test_is_read(self, tmp_path: Path, suffix: str, compression: str) -> None:
        path = put(tmp_path / f"corpus{suffix}{compression}", COMPRESS[compression](FORMS[suffix](PASSAGES)))
        assert passages_of(path) == PASSAGES

    def test_is_recognized_without_its_suffix(self, tmp_path: Path, suffix: str, compression: str) -> None:
        path = put(tmp_path / "corpus", COMPRESS[compression](FORMS[suffix](PASSAGES)))
        if suffix == ".csv":
            assert refusal(path) == f"The corpus {path} is of no known form"
        else:
            assert passages_of(path) == PASSAGES

    def test_cut_off(self, tmp_path: Path, suffix: str, compression: str) -> None:
        passages = [Passage(str(n), f"Title {n}", f"Text {n * n}") for n in range(600)]
        data = COMPRESS[compression](FORMS[suffix](passages))
        path = put(tmp_path / f"corpus{suffix}{compression}", data[: len(data) * 2 // 3])
        if compression or suffix in (".json", ".parquet"):
            assert str(path) in refusal(path)
        else:
            assert 300 < len(passages_of(path)) < 500


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
        assert read(path.replace(path.with_suffix(suffix))) == (passages, [])

    @FEW
    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\t\r\n"), max_size=20), min_size=1))
    @example(['"', '"b', "c"])
    def test_quotes_may_be_a_part_of_the_text(self, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
        """As in MS MARCO's collection, where nothing is escaped; only a text that is quoted as a whole loses them."""
        lines = [f"{n}\t{text}x" for n, text in enumerate(texts)]
        path = put(tmp_path_factory.getbasetemp() / "collection.tsv", "\n".join(lines))
        assert passages_of(path) == [Passage(str(n), "", f"{text}x".strip()) for n, text in enumerate(texts)]

    def test_a_csv_may_have_tabs(self, tmp_path: Path) -> None:
        """As DPR's files do."""
        path = put(tmp_path / "c.csv", "id\ttext\n1\tA country, dry.\n")
        assert passages_of(path) == [Passage("1", "", "A country, dry.")]

    def test_quotes_that_open_in_one_row_and_close_in_another(self, tmp_path: Path) -> None:
        path = put(tmp_path / "corpus.tsv", 'id\ttext\n1\t"We left\n2\tand came back"\n')
        assert [passage.text for passage in passages_of(path)] == ['"We left', 'and came back"']

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
        assert passages_of(put(tmp_path / "corpus.tsv", lines)) == [passage]

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
        passages, [notice] = read(put(tmp_path / "c.tsv", bad))
        assert [one.id for one in passages] == ["1", "2", "5"]
        assert "c.tsv:4 has 2 columns, not 3" in notice
        assert "c.tsv:6 is not UTF-8" in notice


class TestParquet:
    def test_many_row_groups_and_foreign_columns(self, tmp_path: Path) -> None:
        rows = [{"_id": n, "title": None, "text": f"text {n}", "embedding": [0.0]} for n in range(2500)]
        passages = passages_of(put(tmp_path / "c.parquet", parquet_of(rows, row_group_size=700)))
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
        assert passages_of(put(tmp_path / name, data)) == CONTEXTS

    def test_parquet(self, tmp_path: Path) -> None:
        paths = [
            put(tmp_path / "columns.parquet", parquet_of([COLUMNAR])),
            put(tmp_path / "musique.parquet", parquet_of([MUSIQUE])),
            put(tmp_path / "string.parquet", parquet_of([{"context": json.dumps(HOTPOT["context"])}])),
        ]
        found = sorted((one.title, one.text) for one in passages_of(*paths))
        assert found == sorted((p.title, p.text) for p in CONTEXTS)

    def test_within_metadata(self, tmp_path: Path) -> None:
        row = {"id": "x", "metadata": {"context": {"title": ["Togo"], "content": [["Small."]]}}}
        assert passages_of(put(tmp_path / "c.jsonl", json.dumps(row))) == [Passage("0", "Togo", "Small.")]

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
            assert [passage.text for passage in passages_of(path)] == [row["text"] for row in rows]

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
