"""Search in scripts without spaces, with vowel signs, with letters Unicode does not take apart; by other stemmers."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.errors import ConfigError, RetrievalIndexError
from ragr1_lite.core.scripts import JOINED
from ragr1_lite.core.types import Passage
from ragr1_lite.retrieval.bm25 import build, store
from ragr1_lite.retrieval.bm25.build import build_in_memory, build_index
from ragr1_lite.retrieval.bm25.postings import best_by_numpy
from ragr1_lite.retrieval.bm25.searcher import Bm25Searcher
from ragr1_lite.retrieval.bm25.store import verify_index
from ragr1_lite.retrieval.bm25.tokenizer import WordTokenizer, cut, fold, tokenizer_of

TOWNS = (
    ("青河镇", "青河镇的镇长是林小雨。镇上有一座老桥。"),
    ("白石镇", "白石镇的镇长是周大山。镇上有一个茶园。"),
    ("みどり駅", "みどり駅の駅長は佐藤花子です。"),
    ("नीलपुर", "नीलपुर की मेयर मीरा जोशी हैं।"),
    ("हरिपुर", "हरिपुर की नदी बहुत लंबी है।"),
    ("สวนลุม", "สวนลุมมีสะพานไม้เก่าปี๒๕๖๑อยู่กลางสวน"),
    ("ភូមិថ្មី", "ភូមិថ្មីមានសាលារៀនមួយនៅមាត់ទន្លេ។"),
    ("ရွာသစ်", "ရွာသစ်တွင်ကျောင်းတစ်ကျောင်းရှိသည်။"),
    ("ບ້ານໃໝ່", "ບ້ານໃໝ່ມີຕະຫຼາດຢູ່ແຄມນ້ຳ"),
    ("한빛마을", "한빛마을에는 오래된 도서관이 있습니다."),
    ("新店", "新店でiPhoneの修理ができる。"),
)
LETTERS = (
    ("Łódź", "Łódź opened its tram depot in 1898."),
    ("Ørsted Hall", "Ørsted Hall has seating for ninety."),
    ("Đông Bridge", "The Đông Bridge is painted green."),
    ("Diyarbakır House", "Diyarbakır House sells tea."),
    ("Æbelø", "Æbelø has a lighthouse."),
    ("Ħamrun", "Ħamrun lies on a hill."),
    ("Œuvre", "Œuvre is a magazine."),
    ("Þingeyri", "Þingeyri has a harbour."),
    ("Hawaiʻi", "Hawaiʻi grows coffee."),
    ("أحمد", "أَحْمَد كتب رسالة سنة ١٩٧٣"),
)


def found(passages: Sequence[tuple[str, str]], query: str, version: int, stemmer: str = "none") -> str | None:
    """The title found first, by an index of these passages."""
    tokenizer = WordTokenizer(stemmer, version)
    rows = [Passage(str(number), *passage) for number, passage in enumerate(passages)]
    postings, words = build_in_memory(rows, tokenizer)
    positions, scores = best_by_numpy(postings, [tokenizer.known(query, words)], 1)
    return passages[int(positions[0, 0])][0] if scores[0, 0] > 0 else None


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("镇长 青河", "青河镇"),
        ("茶园", "白石镇"),
        ("駅長", "みどり駅"),
        ("桥", "青河镇"),
        ("佐藤さんはどの駅", "みどり駅"),
        ("iPhone", "新店"),
        ("ｉＰｈｏｎｅ修理", "新店"),
        ("สะพาน", "สวนลุม"),
        ("2561", "สวนลุม"),
        ("도서관", "한빛마을"),
    ],
)
def test_scripts_without_spaces(query: str, title: str) -> None:
    assert found(TOWNS, query, 2) == title
    assert found(TOWNS, query, 1) != title


@pytest.mark.parametrize(
    ("query", "title", "other"),
    [
        ("नदी", "हरिपुर", "नाद"),
        ("សាលា\u200bរៀន", "ភូមិថ្មី", "សូលុ"),
        ("ကျောင်း", "ရွာသစ်", "ကူငု"),
        ("ຕະຫຼາດ", "ບ້ານໃໝ່", "ມື"),
    ],
)
def test_vowel_signs_belong_to_words(query: str, title: str, other: str) -> None:
    """Without them a river, नदी, is the same as a sound, नाद."""
    assert found(TOWNS, query, 2) == title
    assert found(TOWNS, other, 2) is None
    assert found(TOWNS, other, 1) is not None


def test_joiners_inside_words_change_nothing() -> None:
    tokenizer = WordTokenizer("none")
    assert tokenizer.words("वि\u200dद्\u200dया क्\u200cष தமிழ் বাংলা") == ["विद्या", "क्ष", "தமிழ்", "বাংলা"]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("Lodz", "Łódź"),
        ("Orsted", "Ørsted Hall"),
        ("Dong", "Đông Bridge"),
        ("Diyarbakir", "Diyarbakır House"),
        ("Aebelo", "Æbelø"),
        ("Hamrun", "Ħamrun"),
        ("oeuvre", "Œuvre"),
        ("THINGEYRI", "Þingeyri"),
        ("Hawaii", "Hawaiʻi"),
        ("احمد", "أحمد"),
        ("1973", "أحمد"),
    ],
)
@pytest.mark.parametrize("stemmer", ["none", "english"])
def test_letters_that_unicode_does_not_decompose(query: str, title: str, stemmer: str) -> None:
    assert found(LETTERS, query, 2, stemmer) == found(LETTERS, title, 2, stemmer) == title
    assert found(LETTERS, query, 1, stemmer) != title


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("が か\u3099 ｶﾞ", "が が ガ"),
        ("葛\U000e0100", "葛"),
        ("co\u00adoperate", "cooperate"),
        ("Горький ещё", "горький еще"),
        ("می\u200cخواهم", "می خواهم"),
        ("محـــمّد שָׁלוֹם", "محمد שלום"),
        ("İstanbul ISTANBUL", "istanbul istanbul"),
        ("\u0301 ʻ ๏ ។ ・", ""),
    ],
)
def test_one_spelling(text: str, words: str) -> None:
    assert WordTokenizer("none").words(text) == words.split()


def test_text_of_latin_letters_is_cut_as_before() -> None:
    texts = ("Chad's “domain” is .td – 5 km²", "São Tomé; ÎLE ﬁsh Ålesund", "Straße ΕΛΛΆΔΑ Ⅳ", "ё C++ x_1 naïve")
    assert [WordTokenizer(version=1).words(text) for text in texts] == [WordTokenizer().words(text) for text in texts]


@given(st.text(st.sampled_from("aé ł青河のがสะพ\u0e31\u0301\u200b\u200cनदी한ʻ٢,_")))
def test_queries_find_what_passages_say(text: str) -> None:
    """Whatever is cut out of a query is among the words of a passage of the same text."""
    words = set(map(fold, cut(text, singles=True)))
    assert set(map(fold, cut(text))) <= words
    assert "" not in words


def test_punctuation_and_digits_are_in_no_run() -> None:
    """The table of scripts is written by hand."""
    ranges = [part.split("-") if "-" in part else [part, part] for part in _ranges()]
    codes = [code for low, high in ranges for code in range(ord(low), min(ord(high), 0xFFFF) + 1)]
    kinds = {unicodedata.category(chr(code)) for code in codes} - {"Cn"}
    assert kinds == {"Lo", "Lm", "Mn", "Mc", "Nl"}


def _ranges() -> list[str]:
    parts, rest = [], JOINED
    while rest:
        size = 3 if rest[1:2] == "-" else 1
        parts.append(rest[:size])
        rest = rest[size:]
    return parts


class TestStemmers:
    def test_of_other_languages(self, tmp_path: Path) -> None:
        build_index([Passage("1", "Häuser", "Die alten Häuser")], tmp_path / "index", stemmer="german")
        searcher = Bm25Searcher.open(tmp_path / "index")
        assert searcher.info.tokenizer["stemmer"] == "german"
        assert [len(found) for found in searcher.search(["Haus", "Hauses alter", "Maus"], 1)] == [1, 1, 0]

    def test_the_unknown_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        def passages() -> list[Passage]:
            raise AssertionError

        with pytest.raises(ConfigError, match=r"'klingon'.*german") as caught:
            build_index((one for get in [passages] for one in get()), tmp_path / "index", stemmer="klingon")
        assert "none" in str(caught.value)

    def test_one_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "Stemmer", None)
        with pytest.raises(ConfigError, match="pip install PyStemmer"):
            WordTokenizer("german")


class TestVersions:
    @pytest.fixture
    def old(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An index as it was built before there were versions."""
        monkeypatch.setattr(build, "WordTokenizer", partial(WordTokenizer, version=1))
        passages = [Passage(str(number), *row) for number, row in enumerate(TOWNS + LETTERS)]
        build_index(passages, tmp_path / "old")
        return tmp_path / "old"

    def test_old_indexes_answer_as_before(self, old: Path) -> None:
        settings = {"words": r"\w+", "fold": "nfkd-marks-casefold", "stopwords": "none", "stemmer": "english"}
        assert json.loads((old / "manifest.json").read_bytes())["tokenizer"] == settings
        assert verify_index(old).tokenizer == settings
        searcher = Bm25Searcher.open(old)
        queries = ["Lodz", "łódź", "茶园", "青河镇的镇长是林小雨", "lighthouse"]
        titles = [found[0].title if found else None for found in searcher.search(queries, 1)]
        assert titles == [None, "Łódź", None, "青河镇", "Æbelø"]

    def test_new_ones_say_so(self, tmp_path: Path) -> None:
        info = build_index([Passage("1", "青河镇", "")], tmp_path / "index")
        assert info.tokenizer["version"] == "2"
        assert tokenizer_of(info.tokenizer, info.path).settings == info.tokenizer

    def test_those_of_later_versions_are_refused(self, old: Path) -> None:
        manifest = json.loads((old / "manifest.json").read_bytes())
        del manifest["sha256"]
        manifest["tokenizer"] = WordTokenizer().settings | {"version": "3"}
        (old / "manifest.json").write_text(json.dumps(manifest | {"sha256": store._own_sha256(manifest)}))
        for use in (verify_index, Bm25Searcher.open):
            with pytest.raises(RetrievalIndexError, match="cuts words in a way this version does not know"):
                use(old)
