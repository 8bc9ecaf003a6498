"""A repository's README.md: YAML for the hub, then a section for whatever is known."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ragr1_lite.config import Recipe
from ragr1_lite.evaluation.intervals import bootstrap
from ragr1_lite.evaluation.report.tables import INTERVALS, Training, cell, evaluation_rows, resources
from ragr1_lite.serving.hub.facts import Facts, Wanted, public
from ragr1_lite.serving.hub.usage import usage

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

RECIPE = "recipe.yaml"
_PAPER = "[RAG-R1](https://arxiv.org/abs/2507.02962)"
_LICENCES = {"Apache-2.0": "apache-2.0", "Gemma's terms of use": "gemma"}
"""The hub's names for the licences of the built-in models."""
_METRICS = {"em": ("exact_match", "EM"), "f1": ("f1", "F1")}


def render(wanted: Wanted, facts: Facts) -> str:
    """The card as Markdown."""
    parts = [f"---\n{_front_matter(wanted, facts)}\n---", _head(wanted, facts), usage(wanted, facts)]
    if facts.trained and facts.run:
        parts.append(_training(facts.trained, facts.run, facts.step))
    parts += [_figures(facts), _limits(facts)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _front_matter(wanted: Wanted, facts: Facts) -> str:
    from huggingface_hub import ModelCardData

    figures: dict[str, Any] = {}
    if facts.evaluations:
        figures = {"model_name": _title(wanted), "eval_results": list(_eval_results(facts))}
    data = ModelCardData(
        base_model=facts.hub_id or None,
        library_name="transformers" if wanted.merged else "peft",
        license=wanted.license or (_LICENCES[facts.built_in.licence] if facts.trained and facts.built_in else None),
        datasets=facts.datasets or None,
        tags=["ragr1-lite", "rag", "retrieval", "lora", *([facts.trained.task] if facts.trained else [])],
        pipeline_tag="text-generation",
        **figures,
    )
    text: str = data.to_yaml()
    return text


def _eval_results(facts: Facts) -> Iterator[EvalResult]:
    from huggingface_hub import EvalResult

    for one in facts.evaluations:
        for figure, (kind, name) in _METRICS.items():
            interval = bootstrap([row[figure] for row in one.rows])
            low, high = interval.bounds
            yield EvalResult(
                task_type="question-answering",
                dataset_type=one.name,
                dataset_name=one.name,
                metric_type=kind,
                metric_value=round(interval.mean, 4),
                metric_name=f"{name} (95 % interval {low} to {high}, {interval.n} questions)",
            )


def _title(wanted: Wanted) -> str:
    return wanted.name.rpartition("/")[2]


def _head(wanted: Wanted, facts: Facts) -> str:
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.hub_id else facts.base
    what = f"{base} with a LoRA adapter merged into it" if wanted.merged else f"A LoRA adapter for {base}"
    does = "think, search documents and answer" if facts.asked.rollout.protocol().searches else "answer questions"
    made = f"trained by ragr1-lite to {does}, after {_PAPER}" if facts.trained else "exported by ragr1-lite"
    return f"# {_title(wanted)}\n\n{what}, {made}."


def _training(recipe: Recipe, run: Training, step: int | None) -> str:
    train, lora, fields = recipe.train, recipe.lora, public(recipe.model_dump(mode="json"))
    steps = str(train.steps) if step in (None, train.steps) else f"{step} of {train.steps}"
    rows: dict[str, object] = {
        "Stage": recipe.task.upper(),
        "Command": f"`ragr1-lite {recipe.task} {RECIPE}`",
        "Data": fields["data"]["train"],
        "Started from": fields["model"]["adapter"] or "a fresh adapter",
        "Index": ", ".join(public(recipe.retrieval.indexes)),
        "Passages a query": recipe.retrieval.k,
        "LoRA": f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout:g}, {', '.join(lora.targets)}",
        "Steps": f"{steps}, {train.batch_size} trajectories each",
        "Learning rate": f"{train.learning_rate:g}, {train.schedule}, {train.warmup_steps} steps of warm-up",
        "Seed": train.seed,
    }
    summary = dict(run.summary)
    if hardware := summary.get("hardware"):
        rows["Hardware"] = hardware
    if spent := summary.get("resources"):
        summary["resources"] = replace(spent, not_measurable={})
    rows = resources(replace(run, summary=summary)) | rows
    if versions := summary.get("versions"):
        rows["Versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = "\n".join(f"| {name} | {cell(value)} |" for name, value in rows.items())
    return (
        f"## Training\n\n`{RECIPE}` has all settings; files that it names are its maker's.\n\n| | |\n|---|---|\n{lines}"
    )


def _figures(facts: Facts) -> str:
    parts = []
    if rows := evaluation_rows(facts.evaluations):
        heads = ["", "Questions", *rows[0]["figures"]]
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
        for row in rows:
            found = row["figures"].values()
            figures = [f"{one['value']} ({one['interval']})" if one["interval"] else one["value"] for one in found]
            lines.append([cell(row["name"]), f"{row['n']:,}", *figures])
        parts += ["\n".join(f"| {' | '.join(line)} |" for line in lines), INTERVALS]
        parts += [cell(row["refused"]) for row in rows if row["refused"]]
    if facts.trained and (held := facts.held_out):
        chosen = (
            f"{held['questions']} questions, by which this adapter was chosen" if "questions" in held else "questions"
        )
        parts.append(
            f"Measured by the training at step {facts.step}: EM {held['em']:.2f}, F1 {held['f1']:.2f} on held-out "
            f"{chosen} (`{public(facts.trained.eval.data)}`, {facts.trained.eval.split})."
        )
    return "\n\n".join(["## Figures", *parts]) if parts else ""


def _limits(facts: Facts) -> str:
    lines = []
    if facts.built_in:
        lines.append(
            f"Here it was used with weights of {facts.base} that went through about 4 bits, ragr1-lite's built-in "
            f"`{facts.built_in.name}`; the hub's own weights differ from them a little."
        )
    if facts.trained:
        asked = ", ".join(public(facts.trained.retrieval.indexes))
        lines.append(f"It was trained to search `{asked}`; how well it does on other documents has to be measured.")
    if not (facts.evaluations or facts.held_out):
        lines.append("No evaluation of it is known here.")
    lines.append("Its answers may be wrong: check them against the passages that it found.")
    filled = (textwrap.fill(line, 118, initial_indent="- ", subsequent_indent="  ") for line in lines)
    return "## Limits\n\n" + "\n".join(filled)
