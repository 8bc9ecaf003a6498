"""A user's own passages and questions, on real ones: index, gold trajectories, SFT, evaluation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Setup
from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.datagen.generate import generate
from ragr1_lite.retrieval import build_index, read_corpus
from tests.support.tiny import save_byte_model

SHARED = Path(os.environ.get("RAGR1_LITE_SHARED", Path(__file__).parents[3] / "shared")) / "data"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (SHARED / "corpus_hotpotqa.jsonl.gz").is_file(), reason="needs shared data"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hotpotqa") / "index"
    assert build_index(read_corpus([SHARED / "corpus_hotpotqa.jsonl.gz"]), out).passages == 25_531
    return out


@pytest.fixture(scope="module")
def made(index: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    """Counts and file of the gold trajectories, by mode."""
    folder = tmp_path_factory.mktemp("gold")
    files = {mode: folder / f"{mode}.jsonl" for mode in ("multi", "single")}
    train = SHARED / "hotpotqa_train.jsonl.gz"
    return {
        mode: (generate(train, Setup(model="gold", index=str(index), mode=mode), out=out), out)
        for mode, out in files.items()
    }  # type: ignore[arg-type]


def test_most_questions_give_a_trajectory(made: dict[str, tuple[dict[str, Any], Path]]) -> None:
    for counts, _ in made.values():
        assert counts["questions"] == 600
        assert counts["kept"] >= 400
        assert counts["kept"] + sum(counts["rejected"].values()) == 600


def test_parallel_queries_spare_rounds_on_comparisons(made: dict[str, tuple[dict[str, Any], Path]]) -> None:
    rounds = {}
    for mode, (_, path) in made.items():
        comparisons = [record for record in read_records(path) if record.example.kind == "comparison"]
        rounds[mode] = sum(record.rounds for record in comparisons) / len(comparisons)
    assert rounds["multi"] <= 0.6 * rounds["single"]


@pytest.mark.parametrize("mode", ["multi", "single"])
def test_every_trajectory_keeps_the_protocol(made: dict[str, tuple[dict[str, Any], Path]], mode: str) -> None:
    protocol = Protocol(mode)  # type: ignore[arg-type]
    for record in read_records(made[mode][1]):
        assert exact_match(record.answer, record.example.answers) == 1.0
        for step in record.turns[:-1]:
            assert protocol.parse_turn(render_turn(step.think, queries=step.queries)).queries == step.queries
            assert 1 <= len(step.queries) <= 3
            assert len({query.casefold() for query in step.queries}) == len(step.queries)


def test_they_train_and_evaluate(index: Path, made: dict[str, tuple[dict[str, Any], Path]], tmp_path: Path) -> None:
    from ragr1_lite import evaluation
    from ragr1_lite.config import load_recipe
    from ragr1_lite.training import sft

    model = save_byte_model(tmp_path / "model")
    recipe = load_recipe(
        "sft-own-data",
        [
            f"model.name={model}",
            "model.dtype=fp32",
            f"data.train={made['multi'][1]}",
            "data.limit=8",
            f"retrieval.index={index}",
            "train.steps=2",
            "train.batch_size=2",
            "rollout.max_length=8192",
            "rollout.document_tokens=400",
            f"output={tmp_path / 'run'}",
        ],
    )
    trained = sft.train(recipe)
    (evaluation,) = evaluation.run(
        Setup(model=str(model), adapter=str(trained.adapter), index=str(index), batch_size=3),
        data=str(SHARED / "hotpotqa_dev.jsonl.gz"),
        questions=3,
        out=tmp_path / "dev.jsonl",
    )
    assert evaluation.to_json()["n"] == 3
    assert len((tmp_path / "dev.jsonl").read_text(encoding="utf-8").splitlines()) == 3
