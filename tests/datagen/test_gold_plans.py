"""Plans composed from what a set says about its questions: what is asked when, what is quoted, what is rejected."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.types import Example, GoldPlan, Mode, Passage
from ragr1_lite.data.questions import Hop, Question
from ragr1_lite.datagen import gold
from ragr1_lite.datagen.gold import Composed, compose_plans
from tests.support.scripted import ScriptedSearcher

TEXTS = {
    "Silver Heron": "It is a classic. Silver Heron is a 1961 drama film directed by Ada Quist.",
    "Ada Quist": "Ada Quist (4 May 1920 – 9 June 1999) was a Danish director. She was born in Ribe.",
    "Low Tide (film)": "Low Tide is a 1972 film. B. A. Cane wrote it. It was directed by Bo Lund.",
    "Bo Lund": "Bo Lund (born October 5, 1931) is a Danish film director and painter.",
    "Ribe": "Ribe is a town in Jutland. Its cathedral was begun in the year 1150.",
    "Jutland": "Jutland is a peninsula.",
    "Vale Airport": "Vale Airport is the busiest of all US airports.",
}
LIBRARY = {title: Passage(title, title, text) for title, text in TEXTS.items()}


class Library:
    """Finds the passages with most of a query's words, those in the title counted thrice; keeps its calls."""

    def __init__(self, **changed: str) -> None:
        texts = {**TEXTS, **{title.replace("_", " "): text for title, text in changed.items()}}
        self.passages = [Passage(title, title, text) for title, text in texts.items()]
        self.calls: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append(list(queries))
        return [self._find(query.casefold().split(), k) for query in queries]

    def _find(self, asked: list[str], k: int) -> tuple[Passage, ...]:
        def score(one: Passage) -> int:
            return sum(3 * (word in one.title.casefold()) + (word in one.text.casefold()) for word in asked)

        return tuple(sorted((one for one in self.passages if score(one)), key=score, reverse=True)[:k])


def question(asked: str, *answers: str, titles: tuple[str, ...] = (), **said: Any) -> Question:
    return Question(Example("q", asked, answers, titles=titles), **said)


def compose(
    one: Question,
    mode: Mode = "multi",
    k: int = 1,
    *,
    max_queries: int | tuple[int, ...] = 3,
    library: Library | None = None,
) -> Composed:
    [composed] = compose_plans([one], library or Library(), Protocol(mode, max_queries), k=k)
    assert (composed.plan is None) == (composed.reason is not None)
    return composed


def planned(one: Question, mode: Mode = "multi", k: int = 1, **more: Any) -> GoldPlan:
    composed = compose(one, mode, k, **more)
    assert composed.plan is not None, composed.reason
    return composed.plan


def searches(plan: GoldPlan) -> list[list[str]]:
    return [list(step.queries) for step in plan.steps]


BORN = question(
    "Where was the director of film Silver Heron born?",
    "Ribe",
    titles=("Ada Quist", "Silver Heron"),
    triples=(("Silver Heron", "director", "Ada Quist"), ("Ada Quist", "place of birth", "Ribe")),
)
OLDER = question(
    "Which film has the director born first, Low Tide (Film) or Silver Heron?",
    "Silver Heron",
    titles=("Ada Quist", "Bo Lund", "Low Tide (film)", "Silver Heron"),
    triples=(
        ("Low Tide (film)", "director", "Bo Lund"),
        ("Silver Heron", "director", "Ada Quist"),
        ("Bo Lund", "date of birth", "5 October 1931"),
        ("Ada Quist", "date of birth", "May 4, 1920"),
    ),
)
SAME = question(
    "Do Ada Quist and Bo Lund share a nationality?",
    "yes",
    titles=("Ada Quist", "Bo Lund"),
    triples=(("Ada Quist", "country of citizenship", "Denmark"), ("Bo Lund", "country of citizenship", "Danish")),
)
BEGUN = question(
    "When was the cathedral of the birthplace of Silver Heron's director begun?",
    "1150",
    titles=("Silver Heron", "Ada Quist", "Ribe"),
    hops=(
        Hop("Silver Heron >> director", "Ada Quist"),
        Hop("#1 >> place of birth", "in Ribe"),
        Hop("when was the cathedral of #2 begun?", "the year 1150"),
    ),
)


def test_what_rests_on_an_answer_follows_a_round_later_and_every_thought_says_why() -> None:
    plan = planned(BORN)
    assert searches(plan) == [["Silver Heron director"], ["Ada Quist place of birth"]]
    assert [step.think for step in plan.steps] == [
        "I need the director of Silver Heron.",
        "Silver Heron: Silver Heron is a 1961 drama film directed by Ada Quist. "
        "So the director of Silver Heron is Ada Quist. Next I need to know where Ada Quist was born.",
    ]
    assert plan.think == "Ada Quist: She was born in Ribe. So Ada Quist was born in Ribe."
    assert plan.answer == "Ribe"
    assert searches(planned(BORN, "single")) == searches(plan)


def test_two_chains_run_side_by_side_and_one_after_the_other_in_single_mode() -> None:
    first, second = ["Low Tide director", "Silver Heron director"], ["Bo Lund date of birth", "Ada Quist date of birth"]
    plan, single = planned(OLDER), planned(OLDER, "single")
    assert searches(plan) == [first, second]
    assert searches(single) == [[query] for query in (*first, *second)]
    assert plan.think.endswith(
        "The date of birth of Bo Lund is 5 October 1931 and the date of birth of Ada Quist is May 4, 1920. "
        "Of 1931 and 1920 the earlier is 1920, so the answer is Silver Heron."
    )
    assert "1931" in plan.think and "1920" in plan.think
    assert not any("1931" in step.think for step in plan.steps), "nothing is said before it was found"


def test_countries_compare_as_nouns_and_adjectives() -> None:
    plan = planned(SAME)
    assert searches(plan) == [["Ada Quist nationality", "Bo Lund nationality"]]
    assert plan.think.endswith("That is the same, so the answer is yes.")
    assert plan.think.count("The nationality of Ada Quist is Danish") == plan.think.count("nationality of Ada") == 1
    wrong = question(SAME.example.question, "no", titles=SAME.example.titles, triples=SAME.triples)
    assert compose(wrong).reason == "the evidence does not give the answer"


def test_sub_questions_are_filled_with_earlier_answers() -> None:
    plan = planned(BEGUN)
    assert searches(plan) == [["Silver Heron director"], ["Ada Quist place of birth"], ["cathedral Ribe begun"]]
    assert plan.steps[2].think.endswith("Next I need to know: When was the cathedral of Ribe begun?")
    assert plan.think.startswith("Ribe: Its cathedral was begun in the year 1150. So it is the year 1150.")
    assert plan.answer == "1150", "the accepted form that stands there"


def test_independent_facts_are_split_over_tags() -> None:
    asked = "Which year is earliest for Ribe, Low Tide, Ada Quist and Bo Lund?"
    one = question(asked, "1150", titles=("Ada Quist", "Bo Lund", "Low Tide (film)", "Ribe"))
    ribe, tide, quist, lund = (f"{name} year earliest" for name in ("Ribe", "Low Tide", "Ada Quist", "Bo Lund"))
    lund = "Bo Lund earliest"  # Ribe's passage has the word "year"
    assert searches(planned(one)) == [[ribe, tide, quist], [lund]], "in the question's order"
    assert searches(planned(one, max_queries=2)) == [[ribe, tide], ["Ada Quist earliest", lund]]
    assert searches(planned(one, max_queries=(2, 1))) == [[ribe, tide], ["Ada Quist earliest"], [lund]]


def test_a_title_that_the_question_does_not_name_waits_until_a_passage_does() -> None:
    one = question("In which town was Ada Quist's cathedral begun?", "Ribe", titles=("Ribe", "Ada Quist"))
    plan = planned(one)
    assert searches(plan) == [["Ada Quist town cathedral begun"], ["Ribe town cathedral begun"]]
    assert plan.steps[1].think == "Ada Quist: She was born in Ribe. Next I look up Ribe."


def test_a_question_about_one_passage_is_searched_by_its_own_words() -> None:
    one = question("In which year was the cathedral of Ribe begun?", "1150", titles=("Ribe",))
    assert searches(planned(one)) == [["year cathedral Ribe begun"]], "its name alone leaves out what is asked"


def test_the_question_is_asked_where_no_name_is_known_and_what_is_left_of_it_later() -> None:
    one = question("Which peninsula has a town with a cathedral?", "Jutland", titles=("Jutland", "Ribe"))
    assert searches(planned(one, library=Library(Jutland="It is a peninsula."))) == [
        ["peninsula town cathedral"],
        ["Jutland peninsula"],
    ]
    two = question("Which airport serves the town with a cathedral?", "Vale", titles=("Ribe", "Vale Airport"))
    found = {"airport serves town cathedral": "Ribe", "Ribe airport serves": "Vale Airport"}
    searcher = ScriptedSearcher({query: [LIBRARY[title]] for query, title in found.items()}, default=[])
    assert searches(planned(two, library=searcher)) == [[query] for query in found]


def test_what_an_earlier_search_found_is_not_searched_again() -> None:
    assert searches(planned(BORN, k=5)) == [["Silver Heron director"]]


@pytest.mark.parametrize(
    ("order", "answer", "kept"),
    [
        ("first", "Silver Heron", True),
        ("first", "Low Tide", False),
        ("later", "Low Tide", True),
        ("later", "Silver Heron", False),
        ("in spring", "Low Tide", False),
    ],
)
def test_a_comparison_must_give_the_answer(order: str, answer: str, kept: bool) -> None:
    asked = f"Which film has the director born {order}, Low Tide or Silver Heron?"
    composed = compose(question(asked, answer, titles=OLDER.example.titles, triples=OLDER.triples))
    assert composed.reason == (None if kept else "the evidence does not give the answer")


@pytest.mark.parametrize(
    ("asked", "answer", "compared"),
    [
        ("Which film is older, Silver Heron or Low Tide?", "Silver Heron", "Of 1961 and 1972 the earlier is 1961. "),
        ("Which film is newer, Silver Heron or Low Tide?", "Low Tide", "Of 1961 and 1972 the later is 1972. "),
        ("Which film is older, Silver Heron or Low Tide?", "Low Tide", ""),
        ("Which film is sadder, Silver Heron or Low Tide?", "Low Tide", ""),
    ],
)
def test_dates_are_compared_where_only_the_passages_are_known(asked: str, answer: str, compared: str) -> None:
    plan = planned(question(asked, answer, titles=("Silver Heron", "Low Tide (film)")))
    assert plan.think.endswith(f"Low Tide is a 1972 film. {compared}So the answer is {answer}.")


TOWNS = {"Oakvale": "Population: 1.2 million", "Ashby": "Population: 12,400 people", "Pell": "Population: 340 houses"}


@pytest.mark.parametrize(
    ("asked", "values", "answer", "end"),
    [
        (
            "Which has the greater population, Oakvale or Ashby?",
            ("1.2 million", "12,400"),
            "Oakvale",
            "Of 1.2 million and 12,400 the greater is 1.2 million,",
        ),
        ("Which has fewer people, Oakvale or Ashby?", ("1.2 million", "12,400"), "Ashby", "the smaller is 12,400"),
        ("Which has the greater population, Oakvale or Ashby?", ("1.2 million", "12,400"), "Ashby", None),
        ("Which has the prettier population, Oakvale or Ashby?", ("1.2 million", "12,400"), "Oakvale", None),
        ("Which has the greater population, Oakvale or Pell?", ("1.2 million", "340 houses"), "Oakvale", None),
    ],
)
def test_quantities_are_compared(asked: str, values: tuple[str, str], answer: str, end: str | None) -> None:
    names = [name for name in TOWNS if name in asked]
    triples = tuple((name, "population", value) for name, value in zip(names, values, strict=True))
    composed = compose(question(asked, answer, titles=tuple(names), triples=triples), library=Library(**TOWNS))
    if end is None:
        assert composed.reason == "the evidence does not give the answer"
    else:
        assert composed.plan is not None and composed.plan.answer == answer and end in composed.plan.think


@pytest.mark.parametrize(
    ("one", "changed", "reason"),
    [
        (question("Why?", "so"), {}, "the set does not say how it is answered"),
        (BORN, {"Ada_Quist": "She was a director."}, "answer not in what was retrieved"),
        (BORN, {"Silver_Heron": "The film is by Ada Quistgaard."}, "answer not in what was retrieved"),
        (
            question(BORN.example.question, "Ribe", titles=("Ada Quist", "Silver Heron (film)"), triples=BORN.triples),
            {},
            "gold passage not retrieved",
        ),
        (
            question("Where was its director born?", "Ribe", titles=BORN.example.titles, triples=BORN.triples),
            {},
            "a query cannot be known by then",
        ),
        (
            question("When was a cathedral begun?", "1150", titles=("Ribe",), hops=(Hop("When was Ribe's?", "1150"),)),
            {},
            "a query cannot be known by then",
        ),
        (question(BORN.example.question, "Aarhus", titles=BORN.example.titles, triples=BORN.triples), {}, None),
        (question("Who is Ada Quist?", "</answer>", titles=("Ada Quist",)), {"Ada_Quist": "</answer>"}, None),
        (question("Who is Ada Quist?", "painter", titles=("Ada Quist",)), {}, "answer not in what was retrieved"),
    ],
)
def test_rejections(one: Question, changed: dict[str, str], reason: str | None) -> None:
    found = compose(one, library=Library(**changed)).reason
    assert found == reason if reason else found is not None


def test_an_alias_that_is_a_common_word_supports_nothing() -> None:
    hop = Hop("Ada Quist >> country of citizenship", "Italy")
    one = question("Where is Ada Quist from?", "Italy", "it", "IT", titles=("Ada Quist",), hops=(hop,))
    assert compose(one, library=Library(Ada_Quist="Ada Quist liked it.")).reason == "answer not in what was retrieved"


def test_short_capitals_are_no_common_words() -> None:
    one = question("Vale Airport is in which country?", "U.S.", titles=("Vale Airport",))
    assert planned(one).answer == "U.S."
    assert compose(one, library=Library(Vale_Airport="Vale Airport tells us.")).plan is None


@pytest.mark.parametrize(
    "said",
    [
        {"hops": (Hop("Silver Heron >> director", "Ada Quist"), Hop("#1 >> place of birth", "Ribe"))},
        {"triples": BORN.triples},
    ],
)
def test_a_fact_does_not_stand_in_another_facts_passage(said: dict[str, Any]) -> None:
    one = question("Where was the director of Silver Heron born?", "Ribe", titles=BORN.example.titles, **said)
    elsewhere = {"Silver_Heron": "Silver Heron is directed by Ada Quist of Ribe.", "Ada_Quist": "Ada Quist is dead."}
    assert compose(one, library=Library(**elsewhere)).reason == "answer not in what was retrieved"


def test_what_is_said_of_a_subject_stands_in_its_own_passage() -> None:
    one = question(BORN.example.question, "Ribe", titles=(*BORN.example.titles, "Ribe"), triples=BORN.triples)
    elsewhere = {"Ada_Quist": "Ada Quist is dead.", "Ribe": "Ribe had a place and birth for Ada Quist."}
    assert compose(one, k=3, library=Library(**elsewhere)).reason == "answer not in what was retrieved"


def test_only_gold_passages_support_where_the_set_names_them() -> None:
    hop = Hop("Ada Quist >> place of birth", "Ribe")
    asked = "Where was Ada Quist born?"
    assert compose(question(asked, "Ribe", titles=("Jutland",), hops=(hop,))).reason == "gold passage not retrieved"
    assert planned(question(asked, "Ribe", hops=(hop,))).answer == "Ribe"


def test_a_step_that_rests_on_another_waits_even_if_its_name_is_known() -> None:
    one = question(
        "Where was Ada Quist, the director of Silver Heron, born?",
        "Ribe",
        titles=BORN.example.titles,
        triples=BORN.triples,
    )
    assert searches(planned(one)) == [["Silver Heron director"], ["Ada Quist place of birth"]]


def test_a_subject_may_be_written_otherwise_than_the_object_before_it() -> None:
    triples = (("Silver Heron", "director", "Ada Quist"), ("A. M. Quist-Bang", "place of birth", "Ribe"))
    plan = planned(question(BORN.example.question, "Ribe", titles=BORN.example.titles, triples=triples))
    assert searches(plan) == [["Silver Heron director"], ["Ada Quist place of birth"]]


@pytest.mark.parametrize(
    ("born", "kept"),
    [
        ("5 October 1931", True),
        ("October 5th, 1931", True),
        ("5 October 19317 May 1990", True),
        ("October 1931", False),
    ],
)
def test_dates_stand_in_any_order_but_whole(born: str, kept: bool) -> None:
    assert (compose(OLDER, library=Library(Bo_Lund=f"Bo Lund ({born}) is Danish.")).plan is not None) == kept


def test_all_questions_search_together_and_keep_their_order() -> None:
    library = Library()
    composed = compose_plans([BORN, question("Why?", "so"), SAME], library, Protocol(), k=1)
    assert [one.question.example.question for one in composed] == [BORN.example.question, "Why?", SAME.example.question]
    assert [one.plan is not None for one in composed] == [True, False, True]
    assert len(library.calls) == 2, "one call a round"
    assert compose_plans([], library, Protocol(), k=1) == []


def test_foreign_tags_in_passages_are_harmless() -> None:
    text = "Silver Heron <search>x</search> is directed by Ada Quist."
    plan = planned(BORN, library=Library(Silver_Heron=text))
    assert "‹search›" in plan.steps[1].think
    tagged = question(
        "Who directed <search> Silver Heron?", "Ada Quist", triples=(("<search> Silver Heron", *BORN.triples[0][1:]),)
    )
    assert planned(tagged).steps[0].think == "I need the director of ‹search› Silver Heron."


NAMES = st.text(alphabet="ab\"',<>?!(){}-é Z9.\n", min_size=1, max_size=12)


@given(
    asked=NAMES,
    triples=st.lists(st.tuples(NAMES, st.sampled_from(["director", "country", "{s}", "a>>b"]), NAMES), max_size=4),
    titles=st.lists(NAMES, max_size=3, unique=True),
    hops=st.lists(
        st.builds(Hop, st.one_of(NAMES, st.sampled_from(["#1 >> country", "#2", "x #9"])), NAMES), max_size=3
    ),
    mode=st.sampled_from(["multi", "single"]),
)
def test_whatever_a_set_says_plans_keep_the_protocol(
    asked: str, triples: list[Any], titles: list[str], hops: list[Hop], mode: Mode
) -> None:
    one = Question(Example("q", asked, ("a",), titles=tuple(titles)), tuple(hops), tuple(triples))
    library = Library()
    library.passages = [Passage(title, title, f"{title} and {asked}. a {titles}") for title in titles]
    [composed] = compose_plans([one], library, Protocol(mode), k=2)
    if composed.plan:
        protocol = Protocol(mode)
        for step in composed.plan.steps:
            assert protocol.parse_turn(render_turn(step.think, queries=step.queries)).queries == step.queries
        queries = [query.casefold() for step in composed.plan.steps for query in step.queries]
        assert len(set(queries)) == len(queries)


@pytest.mark.parametrize("module", [one.name for one in pkgutil.iter_modules(gold.__path__)])
def test_the_examples_in_the_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"ragr1_lite.datagen.gold.{module}")).failed == 0
