"""Reports: what is read, what the tables say, and a page that holds everything and trusts nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from ragr1_lite.core.errors import DataError, RunError, StorageError
from ragr1_lite.evaluation.report import write_report
from ragr1_lite.evaluation.report.curves import plots
from ragr1_lite.evaluation.report.page import pack
from ragr1_lite.evaluation.report.tables import (
    MEANINGS,
    causes,
    courses,
    evaluation_rows,
    kinds,
    pairs,
    read_sources,
    resources,
)
from ragr1_lite.evaluation.resources import Resources
from ragr1_lite.evaluation.results import Cause

HOSTILE = "</script><script>alert(1)</script><img onerror=alert(1)>"
STEPS = [
    {"step": n, "loss": 1 / n, "reward": n / 40, "politeness": 0.5, "lr": 1e-4, "seconds": 2.0} for n in range(1, 41)
]


def passage(id: str, text: str) -> dict[str, Any]:
    return {"id": id, "title": f"About {id}", "text": text, "score": 1.23456}


def row(id: str, answer: str | None, *, question: str = "Which?", **more: Any) -> dict[str, Any]:
    chad, mali = passage("chad", "Chad is large."), passage("mali", "Mali is large.")
    right = float(answer == "Chad")
    search = {"kind": "search", "think": "Both.", "queries": ["Chad?", "Mali?"], "passages": [[chad], [mali, chad]]}
    last = {"kind": "answer" if answer else "invalid", "think": "So.", "queries": [], "passages": []}
    return {
        "id": id, "question": question, "answers": ["Chad", "Tchad"], "kind": "bridge", "answer": answer,
        "stop_reason": "answer" if answer else "invalid", "turns": [search, last], "mode": "multi", "seconds": 0.5,
        "em": right, "f1": right, "cover_em": right, "cause": None if right else "synthesis", "rounds": 1, "queries": 2,
        "sampled_tokens": 20, "retrieved_tokens": 60, "segments": [{"source": "prompt", "tokens": 9}],
    } | more  # fmt: skip


def saved(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def run(folder: Path, *steps: dict[str, float], **summary: Any) -> Path:
    folder.mkdir()
    saved(folder / "metrics.jsonl", *(steps or STEPS))
    (folder / "recipe.yaml").write_text("task: grpo # <b>\n", "utf-8")
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    return folder


def test_each_mode_of_a_file_is_an_evaluation(tmp_path: Path) -> None:
    file = saved(tmp_path / "books.jsonl", row("1", "Chad", mode="multi"), row("1", "Mali", mode="single"))
    sources = read_sources([file])
    assert [one.name for one in sources.evaluations] == ["books · multi", "books · single"]
    assert [len(one.rows) for one in sources.evaluations] == [1, 1]


def test_a_folder_without_metrics_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no metrics\.jsonl in"):
        read_sources([tmp_path])


@pytest.mark.parametrize("line", [{"loss": 1.0}, {"step": 1, "loss": "low"}])
def test_metrics_of_another_form_are_named(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="is no step of a training run"):
        read_sources([run(tmp_path / "run", line)])


def test_a_summary_that_is_broken_is_named(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    (folder / "summary.json").write_text("{", "utf-8")
    with pytest.raises(RunError, match=r"summary\.json cannot be read"):
        read_sources([folder])


def test_figures_are_means_with_the_intervals_of_shares(tmp_path: Path) -> None:
    rows = [row(str(n), "Chad" if n % 2 else None, seconds=float(n)) for n in range(40)]
    [one] = evaluation_rows(read_sources([saved(tmp_path / "a.jsonl", *rows)]).evaluations)
    assert {name: figure["value"] for name, figure in one["figures"].items()} == {
        "EM": ".50", "F1": ".50", "Cover EM": ".50", "Answered": ".50", "Rounds": "1.00", "Queries": "2.00",
        "Retrieved tokens": "60", "Sampled tokens": "20", "Seconds": "19.50",
    }  # fmt: skip
    low, high = (float(bound) for bound in one["figures"]["EM"]["interval"].split("–"))
    assert 0.3 < low < 0.4 and 0.6 < high < 0.7
    assert one["figures"]["Seconds"]["interval"] == ""


def test_the_last_is_held_against_each_other_one_by_the_questions_of_both(tmp_path: Path) -> None:
    other = saved(tmp_path / "other.jsonl", row("7", "Chad", question="Another?"), row("8", "Chad"))
    wrong = saved(tmp_path / "wrong.jsonl", *(row(str(n), "Mali") for n in range(4, 12)))
    half = saved(tmp_path / "half.jsonl", *(row(str(n), "Chad" if n % 2 else "Mali") for n in range(8)))
    right = saved(tmp_path / "right.jsonl", *(row(str(n), "Chad") for n in range(8)))
    read = read_sources([other, wrong, half, right]).evaluations
    found = pairs(read)
    assert [(one["name"], one["n"], one["em"][:5]) for one in found] == [("wrong", 4, "+1.00"), ("half", 8, "+.50 ")]
    assert re.fullmatch(r"\+\.50 \(\+\.\d\d to \+\.\d\d, p \.\d{3}\)", found[1]["f1"])
    assert pairs(read[:1]) == []
    em = found[0]["em"]
    for form, line in (("md", f"| wrong | 4 | {em} |"), ("html", f"<th>wrong</th><td>4</td><td>{em}</td>")):
        write_report([wrong, right], tmp_path / f"out.{form}", format=form)
        assert line in (tmp_path / f"out.{form}").read_text("utf-8")


def test_a_difference_that_no_chance_makes_is_said_so(tmp_path: Path) -> None:
    wrong, right = (
        saved(tmp_path / f"{answer}.jsonl", *(row(str(n), answer) for n in range(40))) for answer in ("Mali", "Chad")
    )
    [one] = pairs(read_sources([right, wrong]).evaluations)
    assert one["em"] == "−1.00 (−1.00 to −1.00, p < .001)"


def test_kinds_are_told_where_there_are_several(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.jsonl", row("1", "Chad"), row("2", "Mali"))
    second = saved(tmp_path / "b.jsonl", row("1", "Mali", kind="list"))
    assert kinds(read_sources([first]).evaluations) == {}
    assert kinds(read_sources([first, second]).evaluations) == {"bridge": [".50", "–"], "list": ["–", ".00"]}


def test_causes_sum_to_the_wrong_answers(tmp_path: Path) -> None:
    rows = [
        row("1", "Chad", cause=None),
        *(row(str(n), "Mali") for n in (2, 3)),
        row("4", None, cause="format"),
    ]
    [one] = causes(read_sources([saved(tmp_path / "a.jsonl", *rows)]).evaluations)
    assert [(part["cause"], part["n"]) for part in one["causes"]] == [("synthesis", 2), ("format", 1)]
    assert one["wrong"] == 3


def test_every_cause_has_a_meaning() -> None:
    assert set(MEANINGS) == set(get_args(Cause))


def test_courses_are_of_the_first_and_the_last_tenth() -> None:
    by_name = {one["name"]: (one["first"], one["last"]) for one in courses(STEPS)}
    assert by_name["reward"] == ("0.0625", "0.963")
    assert "lr" not in by_name


def test_resources_say_what_could_not_be_measured(tmp_path: Path) -> None:
    took = Resources(90.0, 1.04, 2.5, None, {"gpu": 1.5}, {"energy_wh.cpu": "root only", "peak_vram_gb": "no card"})
    [training] = read_sources([run(tmp_path / "run", resources=took.to_json())]).trainings
    assert resources(training) == {
        "Steps": "40",
        "Time in steps": "1 min 20 s",
        "Time": "1 min 30 s",
        "Cores busy": "1.0",
        "Peak memory": "2.5 GB",
        "Energy, gpu": "1.5 Wh",
        "Energy, cpu": "not measurable here (root only)",
        "Memory on the card": "not measurable here (no card)",
    }


def test_samples_are_evaluations_of_their_own(tmp_path: Path) -> None:
    rows = [row(str(n), "Chad") | {"sample": sample} for n in range(3) for sample in range(2)]
    found = read_sources([saved(tmp_path / "drawn.jsonl", *rows)]).evaluations
    assert [(one.name, len(one.rows)) for one in found] == [("drawn · sample 1", 3), ("drawn · sample 2", 3)]


def test_each_passage_is_packed_once(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.jsonl", *(row(str(n), "Chad") for n in range(50)))
    second = saved(tmp_path / "b.jsonl", row("1", "Mali"))
    packed = pack(read_sources([first, second]).evaluations)
    assert packed["passages"] == [("About chad", "Chad is large."), ("About mali", "Mali is large.")]
    assert packed["questions"][1]["tries"][0]["turns"][0]["found"] == [[[0, 1.23]], [[1, 1.23], [0, 1.23]]]
    assert [one is None for one in packed["questions"][0]["tries"]] == [False, True]
    assert packed["questions"][1]["tries"][1]["answer"] == "Mali"


def test_plots_follow_the_page() -> None:
    drawn = plots(STEPS)
    assert [one.title for one in drawn] == ["Reward", "Parts of the reward", "Loss", "Seconds"]
    for one in drawn:
        assert "var(--series-0)" in one.svg
        assert not re.search(r"http|<style|font-family|<g id|#0[123]0", one.svg)
    assert drawn[2].points["lines"] == {"loss": [float(f"{1 / n:.4g}") for n in range(1, 41)]}


def test_plots_bear_gaps_and_what_is_no_number() -> None:
    steps = [
        {"step": n, "loss": float("nan") if n == 3 else 1.0} | ({"eval_em": 0.5} if n % 4 == 0 else {})
        for n in range(1, 9)
    ]
    match, loss = plots(steps)
    assert match.points["lines"]["eval_em"] == [None, None, None, 0.5, None, None, None, 0.5]
    assert loss.points["lines"]["loss"][2] is None
    assert json.loads(json.dumps(loss.points, allow_nan=False)) == loss.points


def data_of(page: str) -> dict[str, Any]:
    [letters] = re.findall(r'id="data">([^<]*)</script>', page)
    unpacked: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(letters)))
    return unpacked


def test_the_page_is_whole_and_trusts_nothing(tmp_path: Path) -> None:
    """What comes from files is escaped or packed, and only the page's own script may run."""
    folder = run(tmp_path / "run")
    file = saved(
        tmp_path / "<b>.jsonl", row("1", HOSTILE, question=HOSTILE, kind=HOSTILE), row("2", "Chad", kind="list")
    )
    made = write_report([folder, file], tmp_path / "out.html", title=HOSTILE)
    page = (tmp_path / "out.html").read_text("utf-8")
    assert made == {
        "file": str(tmp_path / "out.html"), "bytes": len(page.encode()), "trainings": 1, "evaluations": 1,
        "trajectories": 2,
    }  # fmt: skip
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert "# &lt;b&gt;" in page
    assert not re.search(r"https?:|\bsrc=|@import|url\((?!#)", page)
    assert data_of(page)["questions"][0]["question"] == HOSTILE
    [script] = re.findall(r"<script>(.*)</script>", page, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'" in page


def test_the_same_sources_make_the_same_page(tmp_path: Path) -> None:
    sources = [run(tmp_path / "run"), saved(tmp_path / "a.jsonl", row("1", "Chad"))]
    for name in ("one", "two"):
        write_report(sources, tmp_path / name, title="Same")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_page_of_curves_alone_has_no_browser(tmp_path: Path) -> None:
    write_report([run(tmp_path / "run")], tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text("utf-8")
    assert "<title>run</title>" in page
    assert 'id="list"' not in page


def test_markdown_tables_keep_their_columns(tmp_path: Path) -> None:
    file = saved(tmp_path / "a|b.jsonl", row("1", "Chad"), row("2", "Mali", kind="li|st"))
    write_report([file, run(tmp_path / "run")], tmp_path / "out.md", format="md", title="Card <x>")
    lines = (tmp_path / "out.md").read_text("utf-8").splitlines()
    assert lines[0] == "# Card &lt;x>"
    assert (
        "| a\\|b | 2 | .50 (.00–1.00) | .50 (.00–1.00) | .50 (.00–1.00) | 1.00 | 1.00 | 2.00 | 60 | 20 | 0.50 |"
        in lines
    )
    assert "| | bridge | li\\|st |" in lines
    assert "| a\\|b | 1.00 | .00 |" in lines
    assert "- **synthesis** 1: what was retrieved holds the answer" in lines
    assert "| loss | 0.521 | 0.026 |" in lines
    tables = [line for line in lines if line.startswith("|")]
    for head, rule in zip(tables, tables[1:], strict=False):
        if rule.startswith("|---"):
            assert len(re.findall(r"(?<!\\)\|", head)) == rule.count("|")


def test_numbers_that_are_not_finite_leave_a_whole_page(tmp_path: Path) -> None:
    """Old runs wrote NaN, today's write null: neither is in the page's JSON, and no step is lost."""
    odd = row("1", "Chad")
    odd["turns"][0]["passages"][0][0]["score"] = float("nan")
    odd["turns"][0]["passages"][1][0]["score"] = float("inf")
    steps: list[dict[str, Any]] = [
        {"step": 1, "loss": float("nan"), "seconds": None, "memory_gb": 1.0},
        {"step": 2, "loss": 0.5, "seconds": 2.0, "memory_gb": float("inf")},
        {"step": 3, "loss": None, "seconds": 2.0, "memory_gb": 1.0},
    ]
    sources = [run(tmp_path / "run", *steps), saved(tmp_path / "odd.jsonl", odd)]
    write_report(sources, tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text("utf-8")
    assert data_of(page)["questions"][0]["tries"][0]["turns"][0]["found"] == [[[0, 0.0]], [[1, 0.0], [0, 0.0]]]
    drawn = [json.loads(one, parse_constant=pytest.fail) for one in re.findall(r"data-points='([^']*)'", page)]
    assert [one["lines"] for one in drawn] == [{"loss": [None, 0.5, None]}, {"seconds": [None, 2.0, 2.0]}]
    [training] = read_sources(sources).trainings
    assert len(training.steps) == 3
    assert {one["name"]: one["last"] for one in courses(training.steps)} == {"loss": "0.5", "seconds": "2"}
    assert resources(training) == {"Steps": "3", "Time in steps": "0 min 04 s", "Peak memory": "1.0 GB"}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.jsonl", row("1", "Chad"))
    with pytest.raises(StorageError, match="cannot be written"):
        write_report([file], tmp_path / "none" / "out.html")
