"""Every form in which people have questions, read right; on the hub, too."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Example
from ragr1_lite.data.questions import Hop, Question, Summary, read_questions, read_set, to_row
from ragr1_lite.data.questions.forms import parse_question
from ragr1_lite.data.trajectories import write_records
from tests.support.scripted import ScriptedSampler, ScriptedSearcher, example

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"

Row = dict[str, Any]


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


def jsonl(*rows: Row) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def array(*rows: Row) -> bytes:
    return json.dumps(rows, indent=2).encode()


def table(mark: str, *records: tuple[str, ...]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=mark, lineterminator="\n").writerows(records)
    return out.getvalue().encode()


def parquet(*rows: Row) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# Each set as its makers or the hub hand it out; two questions, made up.

HOTPOTQA = {
    "_id": "5a8b",
    "question": "Which lake is larger, Fitri or Iro?",
    "answer": "Fitri",
    "type": "comparison",
    "level": "medium",
    "supporting_facts": [["Lake Fitri", 0], ["Lake Iro", 1], ["Lake Fitri", 2]],
    "context": [["Lake Fitri", ["It is a lake."]], ["Lake Iro", ["A lake.", " It is small."]]],
}
HOTPOTQA_HUB = HOTPOTQA | {
    "id": "5a8b",
    "supporting_facts": {"title": ["Lake Fitri", "Lake Iro", "Lake Fitri"], "sent_id": [0, 1, 2]},
    "context": {"title": ["Lake Fitri"], "sentences": [["It is a lake."]]},
}
HOTPOTQA_SAYS = Question(
    Example(
        "5a8b",
        "Which lake is larger, Fitri or Iro?",
        ("Fitri",),
        "comparison",
        2,
        titles=("Lake Fitri", "Lake Iro"),
    )
)
TRIPLES = [
    ["Red Sand", "director", "Ali Musa"],
    ["Dunes", "director", "Omar Ba"],
    ["Ali Musa", "born", "1951"],
    ["Omar Ba", "born", "1960"],
]
WIKI2 = {
    "_id": "8813",
    "type": "bridge_comparison",
    "question": "Which film's director was born first?",
    "answer": "Red Sand",
    "supporting_facts": [["Red Sand", 0], ["Dunes", 0], ["Ali Musa", 0], ["Omar Ba", 1]],
    "evidences": TRIPLES,
    "evidences_id": [["Q1", "director", "Q2"]],
    "context": [["Red Sand", ["A film."]]],
}
WIKI2_TEXT = {key: value if isinstance(value, str) else json.dumps(value) for key, value in WIKI2.items()}
WIKI2_HUB = {key: WIKI2[key] for key in ("type", "question", "answer")} | {
    "id": "8813",
    "supporting_facts": {"title": ["Red Sand", "Dunes", "Ali Musa", "Omar Ba"], "sent_id": [0, 0, 0, 1]},
    "evidences": [{"fact": s, "relation": r, "entity": o} for s, r, o in TRIPLES],
}
WIKI2_SAYS = Question(
    Example(
        "8813",
        "Which film's director was born first?",
        ("Red Sand",),
        "bridge_comparison",
        4,
        titles=("Red Sand", "Dunes", "Ali Musa", "Omar Ba"),
    ),
    triples=tuple((s, r, o) for s, r, o in TRIPLES),
)
MUSIQUE = {
    "id": "3hop1__12_34_56",
    "paragraphs": [
        {"idx": 0, "title": "Moundou", "paragraph_text": "A town.", "is_supporting": True},
        {"idx": 1, "title": "Doba", "paragraph_text": "Another.", "is_supporting": False},
        {"idx": 2, "title": "Logone", "paragraph_text": "A river.", "is_supporting": True},
    ],
    "question": "Into what does the river of the town where Gala is brewed flow?",
    "question_decomposition": [
        {"id": 12, "question": "Gala >> brewed in", "answer": "Moundou", "paragraph_support_idx": 0},
        {"id": 34, "question": "river of #1", "answer": "Logone", "paragraph_support_idx": 0},
        {"id": 56, "question": "Into what does #2 flow?", "answer": "Chari", "paragraph_support_idx": 2},
    ],
    "answer": "Chari",
    "answer_aliases": ["Chari River", "the Chari"],
    "answerable": True,
}
MUSIQUE_SAYS = Question(
    Example(
        "3hop1__12_34_56",
        str(MUSIQUE["question"]),
        ("Chari", "Chari River", "the Chari"),
        "3hop1",
        3,
        titles=("Moundou", "Logone"),
    ),
    (
        Hop("Gala >> brewed in", "Moundou", "Moundou"),
        Hop("river of #1", "Logone", "Moundou"),
        Hop("Into what does #2 flow?", "Chari", "Logone"),
    ),
)
MUSIQUE_BARE = {
    key: value for key, value in MUSIQUE.items() if key not in ("paragraphs", "answer", "answer_aliases")
} | {"answers": ["Chari", "Chari River", "the Chari"], "gold_titles": ["Logone", "Moundou"], "hops": 3}
MUSIQUE_BARE_SAYS = Question(
    replace(MUSIQUE_SAYS.example, titles=("Logone", "Moundou")),
    tuple(Hop(hop.question, hop.answer) for hop in MUSIQUE_SAYS.hops),
)
CAPITAL = Question(Example("0", "what is the capital of chad", ("N'Djamena", "Ndjamena", "Fort-Lamy")))
CAPITAL_LIST = ["N'Djamena", "Ndjamena", "Fort-Lamy"]
TRIVIA = {
    "Answer": {
        "Aliases": ["N'Djamena", "Fort Lamy"],
        "NormalizedAliases": ["n djamena", "fort lamy"],
        "NormalizedValue": "n djamena",
        "Type": "WikipediaEntity",
        "Value": "N'Djamena",
    },
    "EntityPages": [],
    "Question": "What is Chad's capital?",
    "QuestionId": "tc_7",
    "QuestionSource": "http://localhost/",
}
TRIVIA_HUB = {
    "question": "What is Chad's capital?",
    "question_id": "tc_7",
    "answer": {
        "aliases": ["N'Djamena", "Fort Lamy"],
        "normalized_aliases": ["n djamena", "fort lamy"],
        "value": "N'Djamena",
    },
}
TRIVIA_SAYS = Question(Example("tc_7", "What is Chad's capital?", ("N'Djamena", "Fort Lamy", "n djamena", "fort lamy")))
POPQA = {
    "id": 4222,
    "subj": "Idriss Déby",
    "prop": "occupation",
    "obj": "politician",
    "o_aliases": '["political leader", "polit."]',
    "question": "What is Idriss Déby's occupation?",
    "possible_answers": '["politician", "political leader", "pol\\u00edtico"]',
}
POPQA_SAYS = Question(
    Example(
        "4222",
        "What is Idriss Déby's occupation?",
        ("politician", "political leader", "político", "polit."),
        "occupation",
    )
)
SEARCH_R1 = {
    "id": "test_0",
    "question": "what is the capital of chad?",
    "golden_answers": CAPITAL_LIST,
    "data_source": "nq",
    "prompt": [{"role": "user", "content": "Answer it. Question: what is the capital of chad?\n"}],
    "ability": "fact-reasoning",
    "reward_model": {"ground_truth": {"target": CAPITAL_LIST}, "style": "rule"},
    "extra_info": {"index": 0, "split": "test"},
}
SEARCH_R1_BARE = {key: SEARCH_R1[key] for key in ("prompt", "reward_model", "data_source")}
SEARCH_R1_SAYS = Question(Example("test_0", "what is the capital of chad?", tuple(CAPITAL_LIST), "nq"))
FLASH = {
    "id": "dev_3",
    "question": HOTPOTQA["question"],
    "golden_answers": ["Fitri"],
    "metadata": {"type": "comparison", "level": "medium", "supporting_facts": HOTPOTQA_HUB["supporting_facts"]},
}
FLASH_SAYS = Question(
    replace(HOTPOTQA_SAYS.example, id="dev_3"),
)
RAG_R1 = {"set": "x", "split": "train", "question": "Who?", "golden_answers": "Idriss Déby"}
PLAIN_SAYS = Question(Example("0", "Who?", ("Idriss Déby",)))
OWN_SAYS = Question(
    Example("w-1", "Who?", ("A", "B"), "bridge", 2, 0.25, ("T",)), (Hop("a", "b", "T"),), (("s", "r", "o"),)
)

GOOD: list[tuple[str, str, bytes, Question]] = [
    ("HotpotQA", "hotpot_dev.json", array(HOTPOTQA), HOTPOTQA_SAYS),
    ("HotpotQA", "hotpot.jsonl", jsonl(HOTPOTQA_HUB), HOTPOTQA_SAYS),
    ("HotpotQA", "hotpot.parquet", parquet(HOTPOTQA_HUB), HOTPOTQA_SAYS),
    ("HotpotQA", "flash.jsonl", jsonl(FLASH), FLASH_SAYS),
    ("HotpotQA", "flash.parquet", parquet(FLASH), FLASH_SAYS),
    ("2WikiMultiHopQA", "2wiki.json", array(WIKI2), WIKI2_SAYS),
    ("2WikiMultiHopQA", "2wiki.parquet", parquet(WIKI2_TEXT), WIKI2_SAYS),
    ("2WikiMultiHopQA", "hub.parquet", parquet(WIKI2_HUB), WIKI2_SAYS),
    ("MuSiQue", "musique_ans_v1.0_dev.jsonl", jsonl(MUSIQUE), MUSIQUE_SAYS),
    ("MuSiQue", "musique.parquet", parquet(MUSIQUE), MUSIQUE_SAYS),
    ("MuSiQue", "bare.jsonl", jsonl(MUSIQUE_BARE), MUSIQUE_BARE_SAYS),
    ("NQ-open", "NQ-open.jsonl", jsonl({"question": CAPITAL.example.question, "answer": CAPITAL_LIST}), CAPITAL),
    ("NQ-open", "nq.parquet", parquet({"question": CAPITAL.example.question, "answer": CAPITAL_LIST}), CAPITAL),
    ("DPR", "nq-test.qas.csv", table("\t", (CAPITAL.example.question, str(CAPITAL_LIST))), CAPITAL),
    ("DPR", "nq-test.tsv", f"{CAPITAL.example.question}\t{CAPITAL_LIST}\n".encode(), CAPITAL),
    ("DPR", "nq-test.txt", f"{CAPITAL.example.question}\t{json.dumps(CAPITAL_LIST)}\n".encode(), CAPITAL),
    (
        "DPR",
        "nq.csv",
        table(",", ("question", "answers"), (CAPITAL.example.question, str(CAPITAL_LIST))),
        CAPITAL,
    ),
    ("TriviaQA", "unfiltered.json", json.dumps({"Data": [TRIVIA], "Domain": "Web"}).encode(), TRIVIA_SAYS),
    ("TriviaQA", "pretty", json.dumps({"Data": [TRIVIA], "Version": 1.0}, indent=4).encode(), TRIVIA_SAYS),
    ("TriviaQA", "trivia.jsonl", jsonl(TRIVIA_HUB), TRIVIA_SAYS),
    ("TriviaQA", "trivia.parquet", parquet(TRIVIA_HUB), TRIVIA_SAYS),
    ("PopQA", "popQA.tsv", table("\t", tuple(POPQA), tuple(map(str, POPQA.values()))), POPQA_SAYS),
    ("PopQA", "popQA.csv", table(",", tuple(POPQA), tuple(map(str, POPQA.values()))), POPQA_SAYS),
    ("PopQA", "popQA.jsonl", jsonl(POPQA), POPQA_SAYS),
    (
        "plain",
        "bamboogle.csv",
        table(",", ("Question", "Answer"), ('Who, "really"?', "Idriss Déby")),
        Question(Example("0", 'Who, "really"?', ("Idriss Déby",))),
    ),
    ("plain", "bamboogle.parquet", parquet({"Question": "Who?", "Answer": "Idriss Déby"}), PLAIN_SAYS),
    ("Search-R1", "test.parquet", parquet(SEARCH_R1), SEARCH_R1_SAYS),
    ("Search-R1", "test.jsonl", jsonl(SEARCH_R1), SEARCH_R1_SAYS),
    (
        "Search-R1",
        "bare.parquet",
        parquet(SEARCH_R1_BARE),
        Question(Example("0", "what is the capital of chad?", tuple(CAPITAL_LIST), "nq")),
    ),
    ("RAG-R1", "rl.jsonl", jsonl(RAG_R1), PLAIN_SAYS),
    ("RAG-R1", "rl.parquet", parquet(RAG_R1), PLAIN_SAYS),
    ("RAG-R1", "rl.json", array(RAG_R1), PLAIN_SAYS),
    ("plain", "r1_searcher.jsonl", jsonl({"stage": "1", "question": "Who?", "answers": ["Idriss Déby"]}), PLAIN_SAYS),
    ("plain", "q.jsonl", jsonl({"question": "Who?", "answer": "Idriss Déby"}), PLAIN_SAYS),
    ("plain", "q.ndjson", b"\xef\xbb\xbf" + jsonl({"question": "Who?", "answer": "Idriss Déby"}), PLAIN_SAYS),
    ("ragr1-lite", "own.jsonl", jsonl(to_row(OWN_SAYS)), OWN_SAYS),
    ("ragr1-lite", "own.parquet", parquet(to_row(OWN_SAYS)), OWN_SAYS),
    ("ragr1-lite", "own", array(to_row(OWN_SAYS)), OWN_SAYS),
]


@pytest.mark.parametrize(("form", "name", "data", "says"), GOOD, ids=[f"{form}-{name}" for form, name, *_ in GOOD])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_set_is_recognised_and_read(
    tmp_path: Path, form: str, name: str, data: bytes, says: Question, suffix: str
) -> None:
    found = read_set(file(tmp_path, name + suffix, COMPRESS[suffix](data)))
    assert found.questions == [says]
    assert dict(found.forms) == {form: 1}
    assert found.bad == 0


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_files_are_opened_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    data = COMPRESS[suffix](jsonl(RAG_R1))
    for name in (f"q.jsonl{suffix}", "q.jsonl", "q"):
        assert read_questions(file(tmp_path, name, data)) == [PLAIN_SAYS]


def test_sets_are_read_one_after_the_other(tmp_path: Path) -> None:
    paths = [file(tmp_path, name, data) for _, name, data, _ in GOOD[:12]]
    found = read_questions([str(path) for path in paths])
    assert [one.example.question for one in found] == [says.example.question for *_, says in GOOD[:12]]
    assert len({one.example.id for one in found}) == 12


def test_trajectories_serve_as_questions(tmp_path: Path) -> None:
    lines = ["<think>t</think><search>Chad</search>", "<think>t</think><answer>a</answer>"]
    limits = Limits(max_rounds=2, max_new_tokens=200, max_length=9000)
    asked = [example("Who?", "a")] * 12
    rolled = run_rollouts(asked, ScriptedSampler(lines), ScriptedSearcher({}), protocol=Protocol(), limits=limits)
    path = tmp_path / "traj.jsonl"
    write_records(path, rolled)
    assert [one.example.answers for one in read_questions(path)] == [("a",)] * 12


class TestHub:
    """A data set on the hub, its client played."""

    class Rows(list[Row]):
        def __init__(self, *rows: Row) -> None:
            super().__init__(rows)
            self.column_names = list(rows[0])

        def select_columns(self, names: list[str]) -> list[Row]:
            return [{name: row[name] for name in names} for row in self]

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        state = SimpleNamespace(rows=None, asked=[])

        class Missing(Exception):
            pass

        def dataset_info(_: object, name: str, timeout: float) -> None:
            if "missing" in name:
                raise Missing

        def load_dataset(*asked: object, **options: object) -> object:
            state.asked.append((*asked, options["split"]))
            return state.rows

        errors = SimpleNamespace(GatedRepoError=PermissionError, RepositoryNotFoundError=Missing)
        api = SimpleNamespace(HfApi=type("HfApi", (), {"dataset_info": dataset_info}), errors=errors)
        monkeypatch.setitem(sys.modules, "huggingface_hub", api)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
        datasets = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
        monkeypatch.setitem(sys.modules, "datasets", datasets)
        return state

    def test_is_read(self, hub: SimpleNamespace) -> None:
        hub.rows = self.Rows(TRIVIA_HUB | {"image": b""})
        assert read_questions("hub:mandarjoshi/trivia_qa:rc.nocontext:train") == [TRIVIA_SAYS]
        hub.rows = self.Rows(HOTPOTQA_HUB | {"level": "easy"})
        assert read_questions([Path("hub:a/b")]) == [HOTPOTQA_SAYS]
        assert hub.asked == [("mandarjoshi/trivia_qa", "rc.nocontext", "train"), ("a/b", None, None)]

    @pytest.mark.parametrize(
        ("source", "sentence"),
        [
            ("hub:a", "hub:a is not the name of a data set on the hub"),
            ("hub:a/missing", "The hub has no data set a/missing, or it is private"),
            ("hub:a/b:c", "There is no question in hub:a/b:c; the first: hub:a/b:c row 1 has no `answers`"),
        ],
    )
    def test_refused(self, hub: SimpleNamespace, source: str, sentence: str) -> None:
        hub.rows = self.Rows({"question": "Who?"})
        with pytest.raises(DataError) as caught:
            read_questions(source)
        assert caught.value.message == sentence


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "hotpotqa_train.jsonl.gz").is_file(), reason="needs shared data")
@pytest.mark.parametrize(
    ("name", "forms", "hops", "known"),
    [
        ("hotpotqa_train", {"HotpotQA": 600}, {2: 600}, (600, 0, 0)),
        ("hotpotqa_dev", {"HotpotQA": 384, "plain": 248}, {2: 632}, (632, 0, 0)),
        ("2wiki_train", {"2WikiMultiHopQA": 500}, {2: 408, 4: 92}, (500, 0, 500)),
        ("musique_train", {"MuSiQue": 100}, {2: 68, 3: 27, 4: 5}, (100, 100, 0)),
        ("questions_ragr1_rl", {"RAG-R1": 12_037}, {0: 12_037}, (0, 0, 0)),
        ("questions_r1searcher_train", {"plain": 8498}, {0: 8498}, (0, 0, 0)),
    ],
)
def test_real_sets(name: str, forms: dict[str, int], hops: dict[int, int], known: tuple[int, ...]) -> None:
    found = read_set(SHARED / f"{name}.jsonl.gz")
    summary = Summary.of(found)
    by_hops = {str(number): count for number, count in hops.items()}
    assert (summary.forms, summary.counts["hops"], summary.counts["bad"]) == (forms, by_hops, 0)
    assert tuple(summary.counts["with"].values()) == known
    again = [parse_question(json.loads(json.dumps(to_row(one))), 0)[1] for one in found.questions]
    assert again == found.questions
