"""The seven benchmarks of the paper by name: where they are, how many questions they have, what was published.

Questions come from the FlashRAG collection on the hub (https://huggingface.co/datasets/RUC-NLPIR/FlashRAG_datasets).
The figures are exact match of RAG-R1 (arXiv 2507.02962) with Qwen2.5-7B-Instruct, and of others with smaller models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ragr1_lite.core.types import Mode

COLLECTION = "hub:RUC-NLPIR/FlashRAG_datasets"
PUBLISHED = "RAG-R1 (arXiv 2507.02962) with Qwen2.5-7B-Instruct"
SETTING = "29 million passages of Wikipedia, a dense retriever, 3 passages a query"
"""Of the published figures."""
_ROWS: Mapping[Mode, str] = {
    "direct": "direct",
    "rag": "standard RAG",
    "single": "single query",
    "multi": "multi query",
}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: ``name`` is what `--data` takes, ``published`` exact match by mode."""

    name: str
    title: str
    source: str
    questions: int
    published: Mapping[Mode, float]
    remark: str

    def nearest(self, mode: Mode) -> dict[str, Any] | None:
        """What was published of a mode, with ``row``, the paper's name of it; ``None`` where nothing was."""
        if mode not in self.published:
            return None
        return {
            "em": self.published[mode],
            "row": _ROWS[mode],
            "by": PUBLISHED,
            "setting": SETTING,
            "comparable": f"Only with the same model, corpus and retriever. {self.remark}",
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, the published figures by the paper's names."""
        published = {_ROWS[mode]: em for mode, em in self.published.items()}
        measured = {"setting": SMALL_SETTING, "comparable": SMALL_COMPARABLE}
        small = [
            {"method": one.method, "model": one.model, "em": one.em[self.name], "by": one.by} | measured
            for one in SMALL_MODELS
            if self.name in one.em
        ]
        last = {"remark": self.remark, "small_models": small}
        return {**asdict(self), "published": published, "by": PUBLISHED, "setting": SETTING} | last


@dataclass(frozen=True, slots=True)
class SmallModel:
    """What was published of a model of at most 3 billion parameters: ``em`` is exact match by a benchmark's name."""

    method: str
    model: str
    by: str
    em: Mapping[str, float]


_OWN_PARAGRAPHS = "Over the paragraphs that come with the questions, rather than all of Wikipedia, it is far easier."
_EACH = (
    ("nq", "Natural Questions", "nq:test", 3_610, ".132 .328 .429 .423",
     "One hop: a single query is enough, and published figures with parallel ones are no better."),
    ("popqa", "PopQA", "popqa:test", 14_267, ".148 .353 .477 .479",
     "One hop, about rarely asked things: the corpus must have a page of each."),
    ("triviaqa", "TriviaQA", "triviaqa:test", 11_313, ".360 .476 .599 .608",
     "One hop with many aliases; much of it a model knows by heart."),
    ("hotpotqa", "HotpotQA", "hotpotqa:dev", 7_405, ".183 .284 .474 .495", _OWN_PARAGRAPHS),
    ("2wiki", "2WikiMultiHopQA", "2wikimultihopqa:dev", 12_576, ".236 .253 .481 .556", _OWN_PARAGRAPHS),
    ("musique", "MuSiQue", "musique:dev", 2_417, ".031 .048 .181 .192", _OWN_PARAGRAPHS),
    ("bamboogle", "Bamboogle", "bamboogle:test", 125, ".080 .152 .432 .432",
     "125 questions: one figure's interval is about .17 wide."),
)  # fmt: skip
BENCHMARKS: Mapping[str, Benchmark] = {
    name: Benchmark(
        name, title, f"{COLLECTION}:{place}", count, dict(zip(_ROWS, map(float, em.split()), strict=True)), remark
    )
    for name, title, place, count, em, remark in _EACH
}
"""By name."""

SMALL_SETTING = "all of Wikipedia (2018), E5, a dense retriever, 3 passages a query"
SMALL_COMPARABLE = (
    "With each other, not with figures over the paragraphs that come with the questions: those of docs/results.md are "
    "of 25,531 passages and fewer, every gold one among them, by BM25."
)
_MULTI_HOP = ("hotpotqa", "2wiki", "musique", "bamboogle")
_DAVID = "arXiv 2601.21699: four RTX 3090, few rollouts"
_SMALL = (
    ("David-GRPO", "Qwen2.5-0.5B", _DAVID, ".108 .174 .020 .048"),
    ("Search-R1 v0.3, same budget", "Qwen2.5-0.5B", _DAVID, ".000 .000 .000 .000"),
    ("David-GRPO", "Qwen2.5-1.5B", _DAVID, ".248 .272 .071 .144"),
    ("Search-R1 v0.3, same budget", "Qwen2.5-1.5B", _DAVID, ".190 .213 .036 .080"),
    ("Search-R1", "Qwen2.5-3B", "arXiv 2503.09516: GRPO on eight H100", ".297 .274 .066 .128"),
    ("Search-R1", "Qwen2.5-3B-Instruct", "arXiv 2503.09516: GRPO on eight H100", ".331 .310 .124 .232"),
    ("AutoRefine", "Qwen2.5-3B", "arXiv 2505.11277: GRPO on eight A100", "- .393 .157 -"),
)
SMALL_MODELS = tuple(
    SmallModel(
        method, model, by, {name: float(em) for name, em in zip(_MULTI_HOP, figures.split(), strict=True) if em != "-"}
    )
    for method, model, by, figures in _SMALL
)
"""By size; a figure that we have not found confirmed is left out."""
