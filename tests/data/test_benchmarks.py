"""What was published of small models stands next to the benchmarks, with what it can be compared with."""

from __future__ import annotations

import io
import re

from rich.console import Console

from ragr1_lite.data.benchmarks import BENCHMARKS, SMALL_MODELS
from ragr1_lite.ui.evaluations import benchmarks_table


def test_a_small_models_figures_are_those_of_its_benchmark() -> None:
    small = {(one.method, one.model): dict(one.em) for one in SMALL_MODELS}
    assert len(small) == len(SMALL_MODELS)
    assert small["David-GRPO", "Qwen2.5-0.5B"] == {
        "hotpotqa": 0.108,
        "2wiki": 0.174,
        "musique": 0.02,
        "bamboogle": 0.048,
    }
    assert set(small["AutoRefine", "Qwen2.5-3B"]) == {"2wiki", "musique"}, "what is not known is left out"
    assert all(em < BENCHMARKS[name].published["multi"] for one in small.values() for name, em in one.items())
    shown = {name: [one["method"] for one in BENCHMARKS[name].to_json()["small_models"]] for name in ("nq", "hotpotqa")}
    assert shown["nq"] == [] and "AutoRefine" not in shown["hotpotqa"] and shown["hotpotqa"][0] == "David-GRPO"


def test_the_list_says_what_they_are_comparable_with() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(benchmarks_table(list(BENCHMARKS.values()), console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"AutoRefine, Qwen2.5-3B +– +\.393 +\.157 +–", text)
    assert "all of Wikipedia (2018), E5" in text and "not with figures over the paragraphs" in text
