"""The embedded world: its tables, passages, questions and gold plans."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.rewards import normalize
from ragr1_lite.world import KINDS, SPLITS, WorldQuestion, passages, questions
from tools.world.compare import RIVALS, Comparison, Rivals
from tools.world.passages import passages as written
from tools.world.questions import every_question
from tools.world.tables import countries, elements, split_of

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "ragr1_lite/world"

ALL = {split: questions(split) for split in SPLITS}
EVERY = [question for split in SPLITS for question in ALL[split]]
TEXTS = {passage.id: f"{passage.title} {passage.text}" for passage in passages()}


def of_kind(*kinds: str) -> list[WorldQuestion]:
    return [question for question in EVERY if question.example.kind in kinds]


def test_tables_are_clean() -> None:
    assert len(countries()) == 196
    assert [element.number for element in elements()] == list(range(1, 119))
    assert len({element.symbol for element in elements()}) == 118
    by_name = {country.name: country for country in countries()}
    assert len(by_name) == len({country.id for country in countries()}) == 196
    for country in countries():
        assert all(country.name in by_name[other].borders for other in country.borders)
        texts = (country.name, country.capital, country.highest)
        assert not any(re.search(r"[();]|unnamed|none", text) for text in texts if text)
        assert country.tld is None or re.fullmatch(r"\.[a-z]{2}", country.tld)


def test_passages_are_many_short_and_distinct() -> None:
    assert 500 <= len(passages()) <= 1500
    assert len(TEXTS) == len(passages()) == len({passage.text for passage in passages()})
    lengths = [len(passage.text.split()) for passage in passages()]
    assert 25 <= median(lengths) <= 45 and min(lengths) >= 15 and max(lengths) <= 50
    for passage in passages():
        assert not re.search(r"None|[{}]|  |\.\.|\bthe the\b| ,", f"{passage.title} {passage.text}"), passage
        assert passage.text[0].isupper() or passage.text[0] in ".0123456789", passage


def test_sentence_forms_vary() -> None:
    openings = Counter(
        TEXTS[f"{country.id}-geography"].replace(country.name, "X").split()[3] for country in countries()
    )
    assert len(openings) >= 3 and openings.most_common(1)[0][1] < 120


@pytest.mark.parametrize(("split", "least"), [("train", 5000), ("dev", 150), ("test", 400)])
def test_splits_are_large_enough_and_hold_every_kind(split: str, least: int) -> None:
    assert len(ALL[split]) >= least
    assert {question.example.kind for question in ALL[split]} == set(KINDS)


def test_ids_and_texts_are_unique() -> None:
    assert len({question.example.id for question in EVERY}) == len(EVERY)
    assert len({question.example.question for question in EVERY}) == len(EVERY)


def test_asked_entities_belong_to_their_split() -> None:
    homes = {entity.id: split_of(entity.id) for entity in (*countries(), *elements())}
    facets = re.compile(r"-(geography|people|history|neighbours|symbol|properties|discovery)$")
    for split in SPLITS:
        for question in ALL[split]:
            assert {homes[facets.sub("", id)] for id in question.support} <= {split}, question.example.id


def test_answers_stand_in_their_support() -> None:
    for question in of_kind("one-hop", "bridge"):
        assert all(question.example.answers[0] in TEXTS[id] for id in question.searches[-1].passages), question
    for question in of_kind("list"):
        answer = question.example.answers[0]
        assert all(id in TEXTS for id in question.support)
        assert question.multi.answer == answer and answer.count(", ") >= 2
    for question in of_kind("intersection"):
        assert all(question.example.answers[0] in TEXTS[id] for id in question.support)


def test_gold_titles_are_those_of_the_support() -> None:
    titles = {passage.id: passage.title for passage in passages()}
    for question in EVERY:
        assert question.example.titles == tuple(dict.fromkeys(titles[id] for id in question.support))
    assert all(question.example.titles for question in EVERY if question.searches)


def test_a_bridge_does_not_name_its_entity_before_it_is_found() -> None:
    names = {entity.id: entity.name for entity in (*countries(), *elements())}
    for question in of_kind("bridge"):
        name = names[question.example.id.split("-", 3)[3]]
        first, second = question.plan("multi").steps
        early = (question.example.question, first.think, *first.queries)
        assert not any(re.search(rf"\b{re.escape(name)}\b", text) for text in early), question.example
        assert name in second.think and name in second.queries[0]


def test_plans_have_the_rounds_of_their_mode() -> None:
    rounds = {
        "one-hop": (1, 1),
        "bridge": (2, 2),
        "everyday": (0, 0),
        "compare-2": (1, 2),
        "compare-3": (1, 3),
        "list": (1, 3),
    }
    for question in EVERY:
        multi, single = question.plan("multi"), question.plan("single")
        queries = [query for step in multi.steps for query in step.queries]
        if question.example.kind in rounds:
            assert (len(multi.steps), len(single.steps)) == rounds[question.example.kind]
        assert queries == [search.query for search in question.searches] and len(queries) <= 3
        assert queries == [query for step in single.steps for query in step.queries]
        assert all(len(step.queries) == 1 for step in single.steps)
        assert not question.plan("direct").steps and not question.plan("rag").steps
        assert multi.answer == single.answer == question.example.answers[0]
        assert not any("," in query for query in queries if "Washington" not in query)


def _compared(question: WorldQuestion) -> list[tuple[str, int]]:
    """Names and numbers of a comparison's thought."""
    facts = re.findall(r"[ABC] is ([^:]+): ([\d,]+)", question.multi.think)
    return [(name, int(number.replace(",", ""))) for name, number in facts]


@pytest.mark.parametrize("kind", ["compare-2", "compare-3"])
@pytest.mark.parametrize("split", SPLITS)
def test_winners_are_balanced_over_positions(kind: str, split: str) -> None:
    asked = [question for question in ALL[split] if question.example.kind == kind]
    places: Counter[int] = Counter()
    for question in asked:
        text = question.example.question
        names = [name for name, _ in _compared(question)]
        assert all(name in text for name in names)
        places[names.index(question.multi.answer)] += 1
    share = len(asked) / int(kind[-1])
    assert all(abs(places[place] - share) <= len(RIVALS) for place in range(int(kind[-1]))), places


def test_comparisons_end_in_their_answer_and_have_no_near_ties() -> None:
    for question in of_kind("compare-2", "compare-3"):
        assert question.multi.think.endswith(f" is {question.multi.answer}.")
        ranked = sorted(number for _, number in _compared(question))
        assert len(ranked) == int(question.example.kind[-1])
        if ranked[-1] > 2100:  # years have a rule of their own
            assert all(high - low >= 0.03 * high for low, high in zip(ranked, ranked[1:], strict=False))


def test_comparison_counts_digits_then_walks_them() -> None:
    longer = Comparison().explain(["Chad", "Malta"], [1284000, 316])
    assert longer == "A is Chad: 1,284,000 (7 digits). B is Malta: 316 (3 digits). A B: 7 3 >: A. A is Chad."
    best = Comparison(least=True, counted=False).explain(["Ada", "Bo", "Cy"], [1960, 1821, 1832])
    assert best.startswith("A is Ada: 1960. B is Bo: 1821. C is Cy: 1832. A B: 1 1 =, 9 8 after: B. ")
    assert best.endswith(" B C: 1 1 =, 8 8 =, 2 3 before: B. B is Bo.")


@pytest.mark.parametrize("rivals", RIVALS, ids=lambda rivals: rivals.number)
def test_a_sign_alone_decides_the_winner(rivals: Rivals) -> None:
    numbers = (1911, 1948) if rivals.rule.least else (1948, 1911)
    assert re.search(r"A B: .* (>|before): A\. A is", rivals.rule.explain(["Ada", "Bo"], numbers))
    assert re.search(r"A B: .* (<|after): B\. B is", rivals.rule.explain(["Ada", "Bo"], numbers[::-1]))


def test_years_have_four_digits() -> None:
    assert all(re.fullmatch(r"\d{4}", str(country.independence)) for country in countries() if country.independence)


def test_intersections_have_one_answer() -> None:
    rows = {country.id: country for country in countries()}
    for question in of_kind("intersection"):
        asked = [rows[id.removesuffix("-neighbours")] for id in question.support]
        common = set.intersection(*(set(country.borders) for country in asked))
        assert common == {question.example.answers[0]}


def test_bm25_finds_the_support_of_the_gold_queries() -> None:
    import bm25s

    index = bm25s.BM25(k1=1.5, b=0.75)
    corpus = bm25s.tokenize(list(TEXTS.values()), stopwords=None, show_progress=False)
    index.index(corpus, show_progress=False)
    needs = sorted({(search.query, search.passages) for question in EVERY for search in question.searches})
    queries = bm25s.tokenize([query for query, _ in needs], stopwords=None, show_progress=False, return_ids=False)
    found, _ = index.retrieve(queries, k=2, show_progress=False)
    ids = list(TEXTS)
    tops = [[ids[place] in passages for place in places] for places, (_, passages) in zip(found, needs, strict=True)]
    assert sum(top[0] for top in tops) / len(tops) >= 0.97
    assert sum(any(top) for top in tops) / len(tops) >= 0.99


def test_articles_are_spoken() -> None:
    bare = [country.name for country in countries() if country.article]
    for question in EVERY:
        for name in bare:
            assert not re.search(rf"(?<!the )\b{name}\b", question.example.question), question.example
    texts = [question.example.question for question in EVERY]
    assert not any(re.search(r"\bthe the\b|  |\{|\}| \?", text) for text in texts)


def test_answer_formats_are_accepted() -> None:
    answers = next(question.example.answers for question in EVERY if question.example.id == "one-hop-height-chad")
    heights = {normalize(answer) for answer in answers}
    assert {normalize(text) for text in ("3,445 m", "3445 m", "3,445 metres", "3445")} <= heights


def test_a_limit_draws_by_weight_without_repeats() -> None:
    drawn = questions("train", seed=3, limit=120)
    assert len({question.example.id for question in drawn}) == 120
    assert max(Counter(question.example.kind for question in drawn).values()) <= 120 // len(KINDS) + 1
    mixed = questions("train", limit=100, mix={"one-hop": 1, "bridge": 3, "list": 0})
    assert Counter(question.example.kind for question in mixed) == {"bridge": 75, "one-hop": 25}
    assert {question.example.kind for question in questions("dev", kinds=["list"])} == {"list"}
    filled = questions("dev", limit=60, kinds=["intersection", "list"])
    assert len(filled) == 60


def test_seeds_change_the_draw_but_not_the_split() -> None:
    first, second = questions("test", seed=1), questions("test", seed=2)
    assert first != second and {q.example.id for q in first} == {q.example.id for q in second}
    assert questions("test", seed=1, limit=50) != questions("test", seed=2, limit=50)


@pytest.mark.parametrize(
    "call",
    [
        lambda: questions("valid"),
        lambda: questions("test", kinds=["riddle"]),
        lambda: questions("test", mix={"riddle": 1}),
        lambda: questions("test", mix={"list": -1}),
    ],
)
def test_wrong_requests_say_what_exists(call: object) -> None:
    with pytest.raises(ConfigError):
        call()  # type: ignore[operator]


def test_the_generator_makes_the_shipped_files(tmp_path: Path) -> None:
    """Uncompressed, byte for byte: another zlib packs the same bytes in another way."""
    command = [sys.executable, "-m", "tools.world", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONHASHSEED": "2"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in SHIPPED.glob("*.gz")}
    assert {path.name for path in tmp_path.iterdir()} == names == {f"{name}.jsonl.gz" for name in (*SPLITS, "passages")}
    for name in names:
        made, shipped = (gzip.decompress((folder / name).read_bytes()) for folder in (tmp_path, SHIPPED))
        assert made == shipped, name


def test_what_is_read_is_what_was_made() -> None:
    assert passages() == written()
    assert {question.example.id: question for question in ALL["dev"]} == {
        question.example.id: question for question in every_question("dev")
    }


@pytest.mark.parametrize(
    ("split", "seed", "limit", "digest"),
    [
        ("train", 0, None, "08e692853a0a0354"),
        ("train", 7, 200, "6a350b07c9e0e77f"),
        ("dev", 4, 200, "1055f41ac8abea16"),
        ("test", 0, 50, "9c2bc007728cc943"),
        ("test", 1, None, "0461c86dfcf9c3b8"),
    ],
)
def test_draws_never_change(split: str, seed: int, limit: int | None, digest: str) -> None:
    """Published figures and the shipped adapter rest on them."""
    drawn = [
        (one.example.id, one.example.question, one.example.answers, one.support, one.multi.think, one.single.think)
        for one in questions(split, seed=seed, limit=limit)
    ]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == digest
