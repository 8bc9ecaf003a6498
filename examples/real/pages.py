"""What the shipped adapter goes on to learn: questions about pages, whose facts stand anywhere and not in a first line.

    python examples/real/pages.py questions DATA QUESTIONS MADE     MuSiQue's parts, some of 2WikiMultiHopQA's triples
    python examples/real/pages.py cut CORPUS OUT                    passages, two in three of them cut into several
    python examples/real/pages.py countries FACTS OUT               ninety pages about countries
    python examples/real/pages.py mix GOLD OUT                      320 trajectories of these and of the sets
    python examples/real/pages.py compared SETS PAGES MADE OUT      620 trajectories, half of them comparisons

MADE are questions of `ragr1-lite data make-questions`, GOLD is a folder of gold trajectories of all these questions.
"""

from __future__ import annotations

import json
import random
import re
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from splits import Row, read, write

from ragr1_lite.datagen.gold.text import join, sentences

# --- questions ------------------------------------------------------------------------------------------------------

PARTS = {
    "performer": "Who is the performer of {}?",
    "country": "Which country is {} in?",
    "composer": "Who composed {}?",
    "country of citizenship": "Which country was {} a citizen of?",
    "located in the administrative territorial entity": "Where is {} located?",
    "spouse": "Who is the spouse of {}?",
    "director": "Who directed {}?",
    "place of birth": "Where was {} born?",
    "educated at": "Where was {} educated?",
    "publisher": "Who published {}?",
    "record label": "Which record label does {} belong to?",
    "employer": "Who employed {}?",
    "place of death": "Where did {} die?",
    "author": "Who wrote {}?",
    "creator": "Who created {}?",
    "developer": "Who developed {}?",
    "child": "Who is {}'s child?",
    "father": "Who is {}'s father?",
    "mother": "Who is {}'s mother?",
}
"""How a relation is asked where MuSiQue writes ``subject >> relation``."""
MOST = {"one-hop": 8, "bridge": 15, "comparison": 15}
"""Of the made questions: at most so many of a kind, and one-hop ones of a relation."""


def parts_of(row: Row) -> Iterator[tuple[int, str, str]]:
    """The number, question and answer of each part of a MuSiQue question, earlier answers put in."""
    answers: dict[int, str] = {}
    for number, part in enumerate(row["question_decomposition"], 1):
        asked = part["question"]
        for earlier, answer in answers.items():
            asked = asked.replace(f"#{earlier}", answer)
        answers[number] = part["answer"]
        subject, _, relation = map(str.strip, asked.partition(">>"))
        if relation in PARTS:
            asked = PARTS[relation].format(subject)
        elif relation:
            continue
        asked = re.sub(r"\s+\?", "?", (asked[:1].upper() + asked[1:]).strip())
        yield number, asked if asked.endswith("?") else f"{asked}?", part["answer"]


def parts(rows: list[Row], texts: dict[str, list[str]]) -> Iterator[Row]:
    """The parts that one gold passage answers, each once: the only one with the answer, or the first that is named."""
    seen = set()
    for row in rows:
        for number, asked, answer in parts_of(row):
            holding = [one for one in row["gold_titles"] if any(answer.lower() in text.lower() for text in texts[one])]
            named = [one for one in holding if one.lower().split(" (")[0] in asked.lower()]
            found = named[:1] or (holding if len(holding) == 1 else [])
            if found and asked not in seen and answer.lower() not in asked.lower():
                seen.add(asked)
                about = {"question": asked, "answers": [answer], "gold_titles": found, "hops": 1, "kind": "one-hop"}
                yield {"id": f"{row['id']}-{number}", **about}


def some(made: list[Row]) -> Iterator[Row]:
    """Made questions, drawn by a seed, so that no relation is in most of them."""
    random.Random(0).shuffle(made)
    taken: Counter[str] = Counter()
    for row in made:
        group = row["evidences"][0][1] if row["kind"] == "one-hop" else row["kind"]
        taken[group] += 1
        if taken[group] <= MOST[row["kind"]]:
            yield row


def questions(data: Path, asked: Path, made: Path) -> None:
    """Writes ``musique-parts`` and ``2wiki-some``, with the gold passage of each."""
    texts = defaultdict(list)
    for passage in read(data / "corpus_musique_train.jsonl.gz"):
        texts[passage["title"]].append(passage["text"])
    found = {"musique-parts": parts([*read(asked / "musique-train.jsonl")], texts), "2wiki-some": some([*read(made)])}
    for name, rows in found.items():
        print(f"{asked / name}.jsonl: {write(asked / f'{name}.jsonl', rows)} questions")


# --- pages ----------------------------------------------------------------------------------------------------------

HEADINGS = "Life History Career Description Background Later_years Details Reception Legacy Today Overview Work".split()


def pieces(passage: Row) -> Iterator[Row]:
    """A passage, or its sentences as several under headings, one to three at a time, by its title's checksum."""
    drawn, said = zlib.crc32(passage["title"].encode()), sentences(passage["text"])
    if drawn % 3 == 0 or len(said) < 3:
        yield passage
        return
    size = (1 if len(said) < 6 else 2) + (drawn >> 4) % 2
    for at, begin in enumerate(range(0, len(said), size)):
        heading = HEADINGS[(drawn + at * 7) % len(HEADINGS)].replace("_", " ") if at else passage["title"]
        text = f"{heading}\n{' '.join(said[begin : begin + size])}"
        yield {"id": f"{passage['id']}-{at}", "title": passage["title"], "text": text}


def cut(corpus: Path, out: Path) -> None:
    """Writes a corpus in pieces."""
    print(f"{out}: {write(out, (piece for passage in read(corpus) for piece in pieces(passage)))} passages")


def page(name: str, facts: dict[str, str], as_table: bool) -> str:
    """A country's facts as Markdown, with its figures in lines or in tables."""

    def block(rows: dict[str, str]) -> str:
        if not as_table:
            return "\n".join(f"{key}: {value}" for key, value in rows.items())
        return "\n".join(["| Fact | Value |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])

    land = {"Area": facts["area"]}
    if peak := re.match(r"(.*?) ([\d,]+ m)$", facts["highest"]):
        land |= {"Highest point": peak[1], "Height of the highest point": peak[2]}
    people = {"Capital": facts["capital"], "Population": facts["population"].partition(" (")[0]}
    region = facts["region"].replace("-", " ").title()
    texts = [f"# {name}\n\n{name} is a country in {region}.", f"## Geography\n\n{block(land)}"]
    if borders := re.sub(r" \(.*?\)", "", facts.get("borders") or ""):
        texts.append(f"## Borders\n\n{name} borders on {borders.replace('; ', ', ')}.")
    texts.append(f"## People\n\n{block(people)}")
    if facts.get("indep"):
        texts.append(f"## History\n\nIndependence: {facts['indep']}")
    if facts.get("anthem"):
        texts.append(f"## Anthem\n\nThe anthem of {name} is {facts['anthem'].partition(' (')[0]}.")
    return "\n\n".join(texts) + "\n"


def countries(facts: Path, out: Path) -> None:
    """Writes the pages of ninety countries, drawn by a seed, a third of them with tables."""
    known = json.loads(facts.read_text(encoding="utf-8"))
    whole = ("capital", "highest", "area", "population")
    names = [name for name, one in known.items() if all(map(one.get, whole)) and not set(",(") & set(name)]
    drawing = random.Random(1)
    drawing.shuffle(names)
    out.mkdir(parents=True, exist_ok=True)
    for name in names[:90]:
        text = page(name, known[name], as_table=drawing.randrange(3) == 1)
        (out / f"{name.lower().replace(' ', '_')}.md").write_text(text, encoding="utf-8")
    print(f"{out}: 90 pages")


# --- the mix --------------------------------------------------------------------------------------------------------

LISTS = {
    "date of birth": ["When were {} born, in that order?", "What are the dates of birth of {}?"],
    "place of birth": ["Where were {} born, in that order?", "Give the places of birth of {}."],
    "director": ["Who directed {}, in that order?", "Name the directors of {} in this order."],
    "nationality": ["What are the nationalities of {}, in that order?"],
    "date of death": ["When did {} die, in that order?"],
    "area": ["What are the areas of {}, in that order?", "How large are {}, in that order?"],
    "population": ["How many people live in {}, in that order?", "List the populations of {} in this order."],
    "capital": ["What are the capitals of {}, in that order?", "Name the capitals of {}, in this order."],
    "highest point": ["What are the highest points of {}, in that order?"],
}
"""How a list of several subjects' facts is asked for."""
WORDED = {
    ("area", "greater"): ["Which is larger, {} or {}?", "Which country is bigger, {} or {}?"],
    ("area", "smaller"): ["Which is smaller, {} or {}?"],
    ("population", "greater"): [
        "Which country has more inhabitants, {} or {}?",
        "Where do more people live, in {} or in {}?",
    ],
    ("population", "smaller"): ["Which has fewer inhabitants, {} or {}?"],
    ("height of the highest point", "greater"): [
        "Which rises higher, {} or {}?",
        "Which has the higher highest point, {} or {}?",
    ],
    ("height of the highest point", "smaller"): ["Whose highest point is lower, that of {} or of {}?"],
}
"""How people would ask which of two has the greater or smaller figure."""


def quotes_late(row: Row) -> bool:
    """Whether a thought quotes a sentence of a passage that is not its first."""
    read: list[str] = []
    for turn in row["turns"]:
        if any(" ".join(said.split()[:6]) in turn["think"] for said in read):
            return True
        for passage in (one for found in turn.get("passages") or () for one in found):
            read += [said for said in sentences(passage["text"]) if len(said.split()) > 3][1:]
    return False


class Mix:
    """Draws trajectories from a folder of gold ones by a seed."""

    def __init__(self, gold: Path) -> None:
        self.gold, self.drawing = gold, random.Random(3)

    def rows(self, name: str) -> list[Row]:
        """The trajectories of a file."""
        return list(read(self.gold / f"{name}.jsonl"))

    def some(self, rows: list[Row], wanted: int, *kinds: str, turns: Sequence[int] = range(9)) -> list[Row]:
        """Draws some of a kind, at least seven in ten of those that quote late while there are such."""
        rows = [row for row in rows if row["kind"] in kinds and len(row["turns"]) in turns]
        self.drawing.shuffle(rows)
        if wanted < len(rows):
            rows.sort(key=quotes_late, reverse=True)
        late, rest = rows[: int(wanted * 0.7)], rows[int(wanted * 0.7) :]
        self.drawing.shuffle(rest)
        return late + rest[: wanted - len(late)]

    def lists(self, rows: list[Row], wanted: int, sizes: Sequence[int]) -> list[Row]:
        """Lists of the facts of several one-hop trajectories, searched for at once."""
        groups = defaultdict(list)
        for row in rows:
            need = re.fullmatch(rf"I need the ({'|'.join(LISTS)}) of (.+)\.", row["turns"][0]["think"])
            if row["kind"] == "one-hop" and len(row["turns"]) == 2 and need:
                groups[need[1]].append((need[2], row))
        relations = sorted(groups)
        self.drawing.shuffle(relations)
        made: list[Row] = []
        used: set[str] = set()
        for turn in count():
            if len(made) == wanted or turn == 400:
                return made
            relation = relations[turn % len(relations)]
            free = [one for one in groups[relation] if one[1]["id"] not in used]
            size = self.drawing.choice(sizes)
            if len(free) < size:
                continue
            drawn = self.drawing.sample(free, size)
            used |= {row["id"] for _, row in drawn}
            answers = [row["answer"] for _, row in drawn]
            if relation in ("area", "population") or not any("," in one for one in answers):
                made.append(self.list_of(relation, [name for name, _ in drawn], [row for _, row in drawn]))
        raise AssertionError

    def list_of(self, relation: str, names: list[str], rows: list[Row]) -> Row:
        """One trajectory: all searches in its first turn, all quotes and the list in its second."""
        answer = ", ".join(row["answer"] for row in rows)
        asked = self.drawing.choice(LISTS[relation]).format(join(names))
        firsts, lasts = ([row["turns"][at] for row in rows] for at in (0, 1))
        said = " ".join(last["think"].partition(f" So the {relation} of ")[0] for last in lasts)
        search = {
            "think": f"I need {join(f'the {relation} of {name}' for name in names)}.",
            "queries": [first["queries"][0] for first in firsts],
            "passages": [first["passages"][0] for first in firsts],
        }
        return {
            **rows[0],
            "id": f"list-{rows[0]['id']}",
            "question": asked,
            "answers": [answer],
            "answer": answer,
            "kind": "list",
            "hops": len(rows),
            "gold_titles": [title for row in rows for title in row["gold_titles"]],
            "turns": [firsts[0] | search, lasts[0] | {"think": f"{said} So the answer is {answer}."}],
        }

    def worded(self, row: Row) -> Row:
        """Three in four comparisons of figures as people would ask them."""
        asked = re.fullmatch(r"Which has the (greater|smaller) (.+), (.+) or (.+)\?", row["question"])
        if not asked or (asked[2], asked[1]) not in WORDED or self.drawing.random() >= 0.75:
            return row
        return row | {"question": self.drawing.choice(WORDED[asked[2], asked[1]]).format(asked[3], asked[4])}

    def drawn(self) -> list[Row]:
        """All of them: half about one passage or several at once, as many second searches."""
        hotpotqa, wiki, musique = self.rows("hotpotqa"), self.rows("2wiki"), self.rows("musique")
        made, parts, facts = self.rows("2wiki-some"), self.rows("musique-parts"), self.rows("countries")
        lists = [*self.lists(made, 10, [2]), *self.lists(facts, 16, [2, 2, 3])]
        rows = [
            *self.some(hotpotqa, 66, "bridge", turns=range(3, 9)),
            *self.some(hotpotqa, 16, "bridge", turns=[2]),
            *self.some(hotpotqa, 28, "comparison"),
            *self.some(wiki, 30, "compositional", "inference"),
            *self.some(wiki, 8, "bridge_comparison"),
            *self.some(wiki, 16, "comparison"),
            *self.some(made, 22, "one-hop"),
            *self.some(made, 12, "bridge"),
            *self.some(musique, 20, *{row["kind"] for row in musique}),
            *self.some(parts, 44, "one-hop"),
            *self.some(facts, 14, "one-hop"),
            *map(self.worded, self.some(facts, 18, "comparison")),
            *lists,
        ]
        rows = list({row["id"]: row for row in rows}.values())
        self.drawing.shuffle(rows)
        return rows


def mix(gold: Path, out: Path) -> None:
    """Writes the mix."""
    print(f"{out}: {write(out, Mix(gold).drawn())} trajectories")


def compared(sets: Path, pages: Path, made: Path, out: Path) -> None:
    """Writes some trajectories of the sets, of :func:`mix` and of made questions; comparing was learned least."""
    drawing = random.Random(0)
    rows = [list(read(file)) for file in (sets, pages, made)]
    rows[2] = [row for row in rows[2] if row["kind"] != "one-hop"]
    for each in rows:
        drawing.shuffle(each)
    of_sets, of_pages, of_made = rows
    kinds = ("comparison", "bridge_comparison")
    drawn = [row for row in of_sets if row["kind"] in kinds][:170]
    drawn += [row for row in of_sets if row["kind"] not in kinds][:170] + of_pages[:110]
    drawn += [row for row in of_made if row["kind"] == "bridge"][:60]
    drawn += [row for row in of_made if row["kind"] == "comparison"][:110]
    drawing.shuffle(drawn)
    print(f"{out}: {write(out, drawn)} trajectories")


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {one.__name__: one for one in (questions, cut, countries, mix, compared)}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
