"""From a folder to a trained model by one command, with a model so small that every stage takes moments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ragr1_lite.cli import learn, time_left
from ragr1_lite.cli.learn_folder import Learned, LearnFolder
from ragr1_lite.cli.main import app
from ragr1_lite.core.errors import DataError, RunError
from ragr1_lite.core.events import Notice, PhaseAdvanced, PhaseStarted, StepFinished
from ragr1_lite.data.questions import read_questions
from ragr1_lite.training import planning
from tests.support.recorded import Asked, Reply, recorded
from tests.support.tiny import same_adapter, save_byte_model

TOWNS = "Oakvale Ashmere Pellgate Marnholt Durwick Lensby Crowford Tillmere Hexwold Sarnbury Wexley Brimcote".split()
MAYORS = "Quill Fenn Holt Dorn Orrick Marsh Lund Verrin Calder Brand Stroud Thorn".split()
SMALL = {
    "model.dtype": "fp32",
    "model.engine": "transformers",
    "lora.r": 4,
    "train.steps": 2,
    "train.batch_size": 4,
    "train.micro_batch": 2,
    "train.save_every": 1,
    "grpo.group_size": 2,
    "rollout.max_length": 8192,
    "rollout.max_new_tokens": 8,
}
EMPTY: Mapping[str, Any] = {}
FILES = ("questions", "train", "held-out", "trajectories")
EVALUATIONS = ("before", "sft", "grpo")


def write_notes(folder: Path, towns: int = len(TOWNS)) -> Path:
    folder.mkdir(exist_ok=True)
    for n, (town, mayor) in enumerate(list(zip(TOWNS, MAYORS, strict=True))[:towns]):
        facts = {
            "Mayor": f"Ada {mayor}",
            "Population": f"{900 + 731 * n:,}",
            "Founded": 1200 + 37 * n,
            "Area": f"{10 + 7 * n} km²",
            "Architect": f"Runa {MAYORS[n - 5]}son",
            "River": f"{MAYORS[n - 3]}brook",
            "Rooms": 12 + 5 * n,
        }
        lines = "\n".join(f"- {key}: {value}" for key, value in facts.items())
        (folder / f"{town}.md").write_text(f"# {town}\n\nA town.\n\n{lines}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("documents") / "notes")


Learn = Callable[..., Learned]


@pytest.fixture(scope="module")
def learned(model: Path, notes: Path) -> Learn:
    def run(documents: Path = notes, *, changes: Mapping[str, Any] = EMPTY, **options: Any) -> Learned:
        overrides = [f"{key}={value}" for key, value in (SMALL | dict(changes)).items()]
        return learn.run(documents, model=str(model), overrides=overrides, **options)

    return run


@pytest.fixture(scope="module")
def whole(learned: Learn, tmp_path_factory: pytest.TempPathFactory) -> tuple[Learned, list[object]]:
    """A run that nothing disturbed, and what it reported."""
    events: list[object] = []
    return learned(out=tmp_path_factory.mktemp("runs") / "whole", report=events.append), events


def texts(events: list[object]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def results(path: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What no later command may touch."""
    paths = [folder / f"{name}.jsonl" for name in (*FILES, *EVALUATIONS)]
    paths += [folder / stage / "adapter" / "adapter_model.safetensors" for stage in ("sft", "grpo")]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_the_whole_way(whole: tuple[Learned, list[object]]) -> None:
    done, events = whole
    folder, found = done.folder.path, done.to_json()
    assert list(found["rows"]) == ["before", "SFT", "SFT + GRPO"] and found["enough"] and not found["stale"]
    assert {one["n"] for one in found["rows"].values()} <= {10, found["counts"]["held-out"]}
    assert list(found["seconds"]) == ["index", *learn.STAGES]
    assert found["counts"]["train"] + found["counts"]["held-out"] == found["counts"]["questions"]["kept"]
    assert found["ask"] == f"ragr1-lite ask --adapter {folder / 'grpo'} --index {folder / 'index'}"
    for page in ("report.html", "report.md"):
        assert all(name in (folder / page).read_text(encoding="utf-8") for name in ("Learning notes", *EVALUATIONS))
    recipes = [(folder / stage / "recipe.yaml").read_text(encoding="utf-8") for stage in ("sft", "grpo")]
    assert all("document_tokens: 220\n" in recipe and "  k: 2\n" in recipe for recipe in recipes)
    first, second, *_ = texts(events)
    assert "questions by rule" in first and "SFT (2 steps) and GRPO (2 steps)" in first
    assert second.startswith("About ") and all(stage in second for stage in ("index", *learn.STAGES))


def test_each_held_out_question_is_about_something_that_is_not_trained(whole: tuple[Learned, list[object]]) -> None:
    folder = whole[0].folder
    train, held = (read_questions(folder.file(name)) for name in ("train", "held-out"))
    trained = {subject for one in train for subject, _, _ in one.triples}
    assert len(train) >= learn.LEAST and held
    assert not [one for one in held if {subject for subject, _, _ in one.triples} <= trained]


class Interrupt:
    """Ctrl-C at the first event that fits."""

    def __init__(self, fits: Callable[[Any], bool]) -> None:
        self._fits, self.left = fits, False

    def __call__(self, event: object) -> None:
        if not self.left and self._fits(event):
            self.left = True
            raise KeyboardInterrupt


def ended(name: str) -> Callable[[Any], bool]:
    return lambda one: isinstance(one, PhaseAdvanced) and one.name.startswith(name) and one.part == "ended"


def step(*, of_grpo: bool) -> Callable[[Any], bool]:
    return lambda one: isinstance(one, StepFinished) and one.step == 2 and ("reward" in one.metrics) == of_grpo


MOMENTS = {
    "index": lambda one: isinstance(one, PhaseStarted) and one.name == "Building the index",
    "questions": ended("Making questions"),
    "trajectories": ended("Generating"),
    "eval before": ended("Evaluating"),
    "SFT": step(of_grpo=False),
    "eval SFT": ended("Evaluating"),
    "GRPO": step(of_grpo=True),
    "eval SFT + GRPO": ended("Evaluating"),
}


def test_stopped_in_every_stage_it_ends_in_the_same_files(
    learned: Learn, whole: tuple[Learned, list[object]], tmp_path: Path
) -> None:
    out, expected = tmp_path / "stopped", whole[0].folder.path
    for stage, moment in MOMENTS.items():
        with pytest.raises(KeyboardInterrupt):
            learned(out=out, report=Interrupt(moment))
        known = json.loads((out / "learn.json").read_text(encoding="utf-8"))
        assert stage not in known.get("seconds", {}) and (stage != "SFT" or "eval before" in known["seconds"])
    done = learned(out=out)
    for name in FILES:
        assert (out / f"{name}.jsonl").read_bytes() == (expected / f"{name}.jsonl").read_bytes(), name
    for stage in ("sft", "grpo"):
        assert same_adapter(out / stage / "adapter", expected / stage / "adapter"), stage
    for name in EVALUATIONS:
        assert results(out / f"{name}.jsonl") == results(expected / f"{name}.jsonl"), name
    assert done.to_json()["counts"] == whole[0].to_json()["counts"]


def test_finished_work_is_not_done_again_and_a_changed_folder_makes_it_stale(
    learned: Learn, notes: Path, whole: tuple[Learned, list[object]]
) -> None:
    out, events = whole[0].folder.path, list[object]()
    before, page = files_of(out), notes / "Oakvale.md"
    again, text = learned(out=out, report=events.append), page.read_text(encoding="utf-8")
    assert files_of(out) == before and again.stale == ()
    assert not [one for one in events if isinstance(one, StepFinished)]
    assert again.to_json()["rows"].keys() == whole[0].to_json()["rows"].keys()
    try:
        page.write_text(text.replace("Ada Quill", "Ada Quell"), encoding="utf-8")
        changed = learned(out=out, report=events.append)
    finally:
        page.write_text(text, encoding="utf-8")
    assert changed.stale == learn.STAGES and files_of(out) == before
    assert [one for one in texts(events) if one.startswith("Stale: questions,") and "--overwrite" in one]
    assert "0 files added, 1 changed, 0 removed" in " ".join(texts(events))
    assert learned(out=out).stale == (), "as it was before"


def test_too_small_a_folder_says_what_would_help_and_grows(learned: Learn, tmp_path: Path) -> None:
    out, documents = tmp_path / "out", write_notes(tmp_path / "documents", towns=3)
    small = learned(documents, out=out)
    counts = small.to_json()["counts"]
    left = (
        f"{counts['train']} questions are left to train on, next to {counts['held-out']} held out, "
        f"and {learn.LEAST} are the least"
    )
    assert small.too_few.startswith(f"Nothing was trained: {left}. ")
    assert "--teacher MODEL or URL" in small.too_few and f"{counts['questions']['kept']} were kept" in small.too_few
    assert small.evaluations == () and small.command.startswith("ragr1-lite ask --model ")
    assert (out / "index").is_dir() and not (out / "sft").exists()
    write_notes(documents)
    with pytest.raises(KeyboardInterrupt):  # as soon as there is enough
        learned(documents, out=out, report=Interrupt(ended("Evaluating")))
    counts = json.loads((out / "learn.json").read_text(encoding="utf-8"))["counts"]
    assert counts["train"] >= learn.LEAST and counts["trajectories"]["kept"] == counts["train"]


def chat(asked: Asked) -> Reply:
    """A model behind an endpoint that writes one question about each page, and knows none of the answers."""
    if asked.method == "GET":
        return Reply({"object": "list", "data": [{"id": "it", "object": "model", "created": 0, "owned_by": "us"}]})
    prompt = asked.json["messages"][-1]["content"]
    river = next(river for town, river in RIVERS.items() if f"Doc 1: {town}" in prompt or f" {town} " in prompt)
    town = next(town for town, name in RIVERS.items() if name == river)
    text = f"<question>Which water does {town} overlook?</question><answer>{river}"
    if prompt.startswith("Answer"):
        text = f"<answer>{river}" if "Doc 1" in prompt else "<answer>the Thames"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    return Reply(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "it", "choices": [choice], "usage": usage}
    )


RIVERS = {"Oakvale": "Lenn", "Ashmere": "Orrin", "Pellgate": "Wend"}


def test_a_teacher_may_come_later_and_reads_prose(learned: Learn, tmp_path: Path) -> None:
    documents = tmp_path / "prose"
    documents.mkdir()
    for town, river in RIVERS.items():
        text = (
            f"# {town}\n\nPeople who grew up in {town} still talk about swimming in the {river} on summer evenings.\n"
        )
        (documents / f"{town}.md").write_text(text, encoding="utf-8")
    too_few = learned(documents, out=tmp_path / "out").too_few
    assert "Of 0 questions 0 were kept; rejected: passage: no sure fact " in too_few
    with recorded(chat) as server:
        taught = learned(documents, out=tmp_path / "out", teacher=f"{server.url}/v1")
    assert taught.to_json()["counts"]["questions"]["by_kind"]["one-hop"] >= 1
    assert "Nothing was trained" in taught.too_few and "--teacher" not in taught.too_few


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Training takes a second for a trajectory."""
    probes: list[object] = []

    def probe(*given: object) -> Any:
        probes.append(given)
        return SimpleNamespace(trained=4, train_seconds=4.0)

    monkeypatch.setattr(planning, "probe", probe)
    yield probes


def test_minutes_decide_the_steps_once(learned: Learn, probed: list[object], tmp_path: Path) -> None:
    events: list[object] = []
    options: dict[str, Any] = {"out": tmp_path / "out", "changes": {"train.steps": 400}, "report": events.append}
    with pytest.raises(RunError, match=r"20 steps of SFT .* more --minutes"):
        learned(minutes=0.01, **options)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            learned(minutes=20, **options | {"report": Interrupt(lambda one: events.append(one) or stepped(one))})
    steps = json.loads((tmp_path / "out" / "learn.json").read_text(encoding="utf-8"))["steps"]
    assert 20 <= steps["SFT"] <= 300 and steps["GRPO"] == 0 and len(probed) == 1
    totals = {one.total for one in events if isinstance(one, StepFinished)}
    assert totals == {steps["SFT"]}
    assert [one for one in texts(events) if one.endswith(f"{steps['SFT']} steps of SFT, no steps of GRPO.")]


def stepped(event: object) -> bool:
    return isinstance(event, StepFinished)


def test_what_it_was_begun_with_stays(learned: Learn, whole: tuple[Learned, list[object]], notes: Path) -> None:
    out = whole[0].folder.path
    with pytest.raises(RunError, match=r"was begun with no --teacher, .* --teacher gold.*--overwrite"):
        learned(out=out, teacher="gold")
    with pytest.raises(RunError, match="--set"):
        learned(out=out, changes={"lora.r": 8})
    with pytest.raises(DataError, match="lies in .*notes"):
        learned(out=notes / "runs")
    with pytest.raises(DataError, match="There is no folder"):
        learned(notes / "nothing", out=out)
    with pytest.raises(RunError, match="not made by `learn`"):
        learned(out=out / "sft")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"given": {}, "counts": {"train": "many"}}'])
def test_what_is_kept_of_a_run_is_broken(text: str, tmp_path: Path) -> None:
    documents, out = write_notes(tmp_path / "few", towns=1), tmp_path / "out"
    LearnFolder.open(out, documents, {})
    (out / "learn.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"learn\.json is broken\. Choose another --out"):
        LearnFolder.open(out, documents, {})
    assert LearnFolder.open(out, documents, {}, overwrite=True).known == {"given": {}}


def test_overwrite_begins_anew(learned: Learn, tmp_path: Path) -> None:
    out, few = tmp_path / "out", write_notes(tmp_path / "few", towns=2)
    learned(few, out=out)
    other = write_notes(tmp_path / "other", towns=3)
    anew = learned(other, out=out, overwrite=True, changes={"lora.r": 8})
    assert anew.to_json()["counts"]["questions"]["passages"] == 3


def test_the_command_ends_well_where_nothing_is_trained(tmp_path: Path) -> None:
    documents, out = write_notes(tmp_path / "notes", towns=2), tmp_path / "out"
    words = ["learn", str(documents), "--out", str(out)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0 and shown.stdout.startswith("Nothing was trained: ")
    assert f"ragr1-lite ask --model smollm2-135m --index {out / 'index'} --k 2" in " ".join(shown.stdout.split())
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (found["enough"], found["adapter"], found["rows"]) == (False, None, {})


def test_where_the_time_cannot_be_guessed_that_is_said(
    learned: Learn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(time_left, "token_seconds", lambda: None)  # as on a card
    events: list[object] = []
    learned(write_notes(tmp_path / "notes", towns=2), out=tmp_path / "out", report=events.append)
    assert texts(events)[1] == "How long that takes is said as soon as it is measured here."
