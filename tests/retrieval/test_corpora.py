"""Corpora of every form, good and bad; and the words they are cut into."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import Passage
from ragr1_lite.files import json_arrays, json_lines
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer
from ragr1_lite.retrieval.corpora import read_corpus
from ragr1_lite.retrieval.corpora.documents.passages import WORDS, Part, cut_parts
from ragr1_lite.retrieval.corpora.reader import Keys

GOOD = '{"id": "a", "title": "Chad", "text": "A country."}\n'


def write(folder: Path, content: str | bytes, name: str = "corpus.jsonl") -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(*objects: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in objects)


def read(*paths: Path) -> list[Passage]:
    return list(read_corpus(paths))


@pytest.mark.parametrize(
    ("row", "passage"),
    [
        ({"id": "a", "title": " T ", "text": " x "}, Passage("a", "T", "x")),
        ({"_id": "b", "title": "T", "text": "x", "metadata": {}}, Passage("b", "T", "x")),
        ({"docid": 7, "text": "x"}, Passage("7", "", "x")),
        ({"id": 0, "title": None, "text": "x"}, Passage("0", "", "x")),
        ({"text": "no id"}, Passage("0", "", "no id")),
        ({"id": "a", "title": "only a title", "text": ""}, Passage("a", "only a title", "")),
        ({"id": "a", "contents": '"Lake Chad"\nA lake.\nShallow.'}, Passage("a", "Lake Chad", "A lake.\nShallow.")),
        ({"id": "a", "contents": "Lake Chad\nA lake."}, Passage("a", "Lake Chad", "A lake.")),
        ({"id": "a", "contents": "No title here."}, Passage("a", "", "No title here.")),
        ({"id": "a", "contents": "long " * 60 + "\nA lake."}, Passage("a", "", "long " * 60 + "\nA lake.")),
        ({"id": "a", "title": "Chad", "contents": '"Chad"\nA country.'}, Passage("a", "Chad", "A country.")),
        ({"id": "a", "title": "Chad", "contents": "Its north\nis dry."}, Passage("a", "Chad", "Its north\nis dry.")),
        ({"id": "é", "title": "São Tomé", "text": "日本 \U0001f30d"}, Passage("é", "São Tomé", "日本 \U0001f30d")),
    ],
)
@pytest.mark.parametrize("ascii", [True, False])
def test_forms_of_a_line(tmp_path: Path, row: dict[str, object], passage: Passage, ascii: bool) -> None:
    path = write(tmp_path, json.dumps(row, ensure_ascii=ascii))
    assert read(path) == [passage]


def test_files_are_read_in_order_and_numbered_through(tmp_path: Path) -> None:
    first = write(tmp_path, "\ufeff" + rows({"text": "x"}) + "\n  \r\n" + rows({"text": "y"}))
    second = write(tmp_path, rows({"text": "z"}), "more.jsonl.gz")
    assert [(passage.id, passage.text) for passage in read(first, second)] == [("0", "x"), ("1", "y"), ("2", "z")]


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + rows({"id": "a", "text": "the same id"}))
    assert next(read_corpus([path])).id == "a"


def test_few_bad_lines_are_skipped_and_named(tmp_path: Path) -> None:
    bad = "not json\n[1]\n" + rows({"id": "x", "title": "only"}, {"id": True, "text": "x"}, {"id": "x", "text": 3})
    path = write(tmp_path, (GOOD + bad).encode() + b'{"text": "\xff"}\n{"text": "\\ud800"}\n{"id": "", "text": ""}\n')
    events: list[object] = []
    assert [passage.id for passage in read_corpus([path], events.append)] == ["a"]
    [notice] = events
    assert isinstance(notice, Notice)
    assert notice.level == "warning"
    assert notice.text == (
        f"Skipped 8 of 9 rows: {path}:2 is not JSON (Expecting value); {path}:3 is not a JSON object; "
        f"{path}:4 has no `text` or `contents`, only `id`, `title`; and 5 more"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff"}', "is not UTF-8"),
        (b'{"text": "half \\uD83D"}', "has half of a surrogate pair"),
        (b'{"text": "x", "id": {}}', "has an id that is neither text nor a whole number"),
        (b'{"text": "x", "id": 1.5}', "has an id that is neither text nor a whole number"),
        (b'{"text": "x", "id": ""}', "has an id that is neither text nor a whole number"),
        (b'{"text": {"x": 1}}', "has a title or text that is not a string"),
        (b'{"text": ["x", 3]}', "has a list as its text that is not of strings"),
        (b'{"text": [" "]}', "has an empty text"),
        (b'{"text": "x", "title": 3}', "has a title or text that is not a string"),
        (b'{"text": " "}', "has an empty text"),
        (b"{}", "has no `text` or `contents`, only nothing"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_a_bad_line_says_why(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path, line)
    with pytest.raises(DataError, match="There is no passage in") as caught:
        read(path)
    assert f"{path}:1 {reason}" in caught.value.message


@pytest.mark.parametrize(("good", "bad", "passes"), [(5, 10, True), (500, 11, False), (1100, 11, True)])
def test_the_limit_on_bad_lines(tmp_path: Path, good: int, bad: int, passes: bool) -> None:
    path = write(tmp_path, rows(*({"text": "x"} for _ in range(good))) + "broken\n" * bad)
    if passes:
        assert len(read(path)) == good
    else:
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.message == (
            f"11 of the first {good + bad} rows cannot be used; "
            f"the first: {path}:{good + 1} is not JSON (Expecting value)"
        )
        assert '"text"' in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b"", "There is no passage in {path}"),
        ("c.jsonl", b"\n\n", "There is no passage in {path}"),
        ("c.jsonl", b"PK\x03\x04\0\0\n", "{path}:1 is binary, not text in UTF-8"),
        ("c.jsonl", GOOD.encode("utf-16-le"), "{path}:1 is binary, not text in UTF-8"),
        ("c.jsonl", b"{" + b"x" * 5000, "There is no passage in {path}; the first: {path}:1 is longer than 0 MiB"),
        ("c.doc", b"\xd0\xcf\x11\xe0\0\0", "The corpus {path} is binary and of no known form"),
        ("c.toml", b"[chad]\narea = 1\n", "The corpus {path} is of no known form"),
        ("corpus", b"Chad is a country.\n", "The corpus {path} is of no known form"),
        ("c.jsonl", (GOOD + "\n" + GOOD).encode(), "The id 'a' in {path}:3 was already used in {path}:1"),
    ],
)
def test_files_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1000)
    path = write(tmp_path, content, name)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.message == message.format(path=path)
    assert caught.value.hint.endswith(".")


@pytest.mark.parametrize("keep", [3, -5])
def test_gzip_cut_off_or_none_at_all(tmp_path: Path, keep: int) -> None:
    whole = gzip.compress(GOOD.encode() * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:keep])
    (tmp_path / "plain.jsonl.gz").write_text(GOOD)
    for name in ("cut.jsonl.gz", "plain.jsonl.gz"):
        with pytest.raises(DataError, match="not a whole gzip file|already used"):
            read(tmp_path / name)


def test_what_is_compressed_is_seen_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(gzip.compress(GOOD.encode()))
    assert read(tmp_path / "corpus.jsonl") == [Passage("a", "Chad", "A country.")]


def test_missing_file_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no corpus"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="There is no file in the folder .* that can be read"):
        read(tmp_path)
    with pytest.raises(DataError, match="no files"):
        read()


def test_an_endless_line_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_lines, json_arrays):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 2**20)
    for name, beginning in (("lines.jsonl.gz", b'{"text": "'), ("array.json.gz", b'[{"text": "'), ("t.tsv.gz", b"1\t")):
        path = write(tmp_path, beginning + b"x" * 2**24, name)
        tracemalloc.start()
        with pytest.raises(DataError, match="longer than 1 MiB"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23


def test_bytes_read_grow_to_their_total(tmp_path: Path) -> None:
    lines = rows(*({"id": str(n), "text": f"{n} " * 200} for n in range(3000)))
    paths = [write(tmp_path, lines), write(tmp_path, lines.replace('"id": "', '"id": "b'), "b.jsonl.gz")]
    corpus = read_corpus(paths)
    assert corpus.bytes_total == sum(path.stat().st_size for path in paths)
    seen = [corpus.bytes_read for _ in corpus]
    assert all(first <= second for first, second in pairwise(seen))
    assert 0 < seen[0] < paths[0].stat().st_size < seen[4000] < corpus.bytes_total
    assert corpus.bytes_read == corpus.bytes_total


class TestTwiceTheSameId:
    def test_in_two_files(self, tmp_path: Path) -> None:
        first = write(tmp_path, rows({"id": "b", "text": "x"}) + "broken\n" + GOOD, "first.jsonl")
        second = write(tmp_path, "id\ttext\nc\tx\na\ty\n", "second.tsv")
        with pytest.raises(DataError) as caught:
            read(first, second)
        assert caught.value.message == f"The id 'a' in {second}:3 was already used in {first}:3"

    def test_a_shared_hash_is_not_the_same_id(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ragr1_lite.retrieval.corpora.reader.hash", lambda key: 7, raising=False)
        path = write(tmp_path, rows(*({"id": str(n), "text": "x"} for n in range(5))))
        assert [passage.id for passage in read(path)] == list("01234")

    def test_few_bytes_an_id(self) -> None:
        seen = Keys()
        assert all(seen.add(f"id-{n}") for n in range(30_000))
        assert not any(seen.add(f"id-{n}") for n in range(30_000))
        assert len(seen) == 30_000
        assert seen.nbytes <= 24 * len(seen)


def cut(paragraphs: list[str], words: int = WORDS) -> list[str]:
    return [text for text, _ in cut_parts([Part(paragraphs)], words)]


class TestCutting:
    def test_at_sentences_and_paragraphs(self) -> None:
        paragraphs = ["One two three. Four five!  Six\nseven eight.", "", " Nine ten."]
        assert cut(paragraphs, 5) == ["One two three. Four five!", "Six seven eight.\nNine ten."]
        assert cut(paragraphs) == ["One two three. Four five! Six seven eight.\nNine ten."]

    def test_a_long_sentence(self) -> None:
        assert cut(["a b c d e f g. h"], 3) == ["a b c", "d e f", "g. h"]

    def test_scripts_without_blanks(self) -> None:
        passages = cut(["乍得是非洲国家。" * 300 + "长" * 2500])
        assert max(map(len, passages)) <= 1000
        assert "".join(passages).replace(" ", "") == "乍得是非洲国家。" * 300 + "长" * 2500

    @settings(max_examples=40)
    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=80), max_size=8), st.integers(1, 12))
    def test_no_word_is_lost(self, paragraphs: list[str], words: int) -> None:
        passages = cut(paragraphs, words)
        assert "".join("".join(passages).split()) == "".join("".join(paragraphs).split())
        assert all(passage and len(passage.split()) <= words for passage in passages)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Chad's domain is .td", "chad s domain is td"),
        ("The The", "the the"),
        ("São Tomé, ÎLE; Ålesund", "sao tome ile alesund"),
        ("İstanbul İSTANBUL istanbul", "istanbul istanbul istanbul"),
        ("Straße STRASSE", "strasse strasse"),
        ("ﬁsh ﬂoat km² Ⅳ ℡", "fish float km2 iv tel"),
        ("Ελλάδα ΕΛΛΆΔΑ", "ελλαδα ελλαδα"),
        ("a\u0301 \u00e1", "a a"),
        ("C++ & C#: x_1", "c c x_1"),
        (" …!? ", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert WordTokenizer("none").words(text) == words.split()


def test_stemming_is_the_same_for_passages_and_queries() -> None:
    tokenizer = WordTokenizer("english")
    vocabulary: dict[str, int] = {}
    [ids] = tokenizer.learn(["Countries bordering a country"], vocabulary)
    assert ids == [0, 1, 2, 0]
    assert tokenizer.known("which country borders countries", vocabulary) == (0, 1, 0)


def test_unknown_stemmer() -> None:
    with pytest.raises(ConfigError, match="klingon"):
        WordTokenizer("klingon")  # type: ignore[arg-type]


def test_reading_corpora_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; from ragr1_lite.retrieval import read_corpus; "
        "assert not {'numpy', 'bm25s', 'Stemmer', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
