"""Questions about one passage, which the three sets hardly have and people's own documents mostly get.

python examples/real/one_passage.py questions QUESTIONS CORPUS MADE OUT    MuSiQue's parts, some of 2Wiki's triples
python examples/real/one_passage.py mix GOLD OUT       trajectories of these, of the sets, and of the embedded world
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from splits import Row, read, write

from ragr1_lite.config import load_recipe
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.data.sets import training_material
from ragr1_lite.data.trajectories import write_records

ASKED = {
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
BYTES = ("rollout.max_length=8000", "rollout.document_tokens=3000", "rollout.max_new_tokens=1000")
WORLD = ("data.mix={list: 1, compare-2: 1, compare-3: 1}", "data.limit=60", "retrieval.k=1", *BYTES)


def parts_of(row: Row) -> Iterator[tuple[int, str, str]]:
    """The number, question and answer of each part of a MuSiQue question, earlier answers put in."""
    answers: dict[int, str] = {}
    for number, part in enumerate(row["question_decomposition"], 1):
        asked = part["question"]
        for earlier, answer in answers.items():
            asked = asked.replace(f"#{earlier}", answer)
        answers[number] = part["answer"]
        subject, _, relation = map(str.strip, asked.partition(">>"))
        if relation in ASKED:
            asked = ASKED[relation].format(subject)
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


def questions(asked: Path, corpus: Path, made: Path, out: Path) -> None:
    """Writes ``musique-parts`` and ``2wiki-some``, with the gold passage of each."""
    texts = defaultdict(list)
    for passage in read(corpus):
        texts[passage["title"]].append(passage["text"])
    for name, rows in {"musique-parts": parts([*read(asked)], texts), "2wiki-some": some([*read(made)])}.items():
        print(f"{out / name}.jsonl: {write(out / f'{name}.jsonl', rows)} questions")


def mix(gold: Path, out: Path) -> None:
    """Draws trajectories: half about one passage, the others lists, comparisons and bridges."""
    world = gold / "world.jsonl"
    write_records(world, training_material(load_recipe("sft-smollm2-135m", WORLD))(ByteTokenizer()))
    drawing = random.Random(0)

    def drawn(name: str, wanted: int, *kinds: str, without: str = "") -> list[Row]:
        rows = [row for row in read(gold / f"{name}.jsonl") if row["kind"].startswith(kinds or "")]
        rows = [row for row in rows if row["kind"] != without]
        drawing.shuffle(rows)
        return rows[:wanted]

    rows = [
        *drawn("world", 24, "list"),
        *drawn("world", 24, "compare"),
        *drawn("musique-multi", 16),
        *drawn("musique-parts-multi", 90),
        *drawn("2wiki-some-multi", 60, "one-hop"),
        *drawn("hotpotqa-multi", 30, "comparison"),
        *drawn("hotpotqa-multi", 36, without="comparison"),
        *drawn("2wiki-some-multi", 30, "bridge", "comparison"),
    ]
    print(f"{out}: {write(out, rows)} trajectories")


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"questions": questions, "mix": mix}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
