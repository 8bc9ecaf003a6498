"""Repositories for the hub: whole, a card of what was written down alone, and one sentence where an upload fails."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from typer.testing import CliRunner

from ragr1_lite.assistant import Setup
from ragr1_lite.cli.main import app
from ragr1_lite.config import load_recipe
from ragr1_lite.core.errors import ConfigError, ModelError
from ragr1_lite.core.types import Example, Trajectory, Turn
from ragr1_lite.evaluation.report.tables import read_sources
from ragr1_lite.evaluation.results import Result, to_row
from ragr1_lite.models.loading import ModelSpec, load_policy
from ragr1_lite.serving.export import export, export_adapter
from ragr1_lite.serving.hub import upload as uploading
from ragr1_lite.serving.hub.card import render
from ragr1_lite.serving.hub.facts import Wanted, gather, public
from ragr1_lite.serving.hub.upload import require_access, upload
from tests.serving.test_export import EXAMPLES, folder, setup
from tests.support.fake_hub import TOKEN, FakeHub, fake_hub

__all__ = ["folder", "setup"]


@pytest.fixture
def run(setup: Setup, tmp_path: Path) -> Path:
    """A run of four steps whose recipe names private places, with the tiny model's adapter."""
    made = tmp_path / "runs" / "tiny"
    made.mkdir(parents=True)
    Path(str(setup.adapter)).rename(made / "adapter")
    recipe = load_recipe(
        "sft-smollm2-135m",
        [
            f"model.name={setup.model}",
            f"output={made}",
            f"data.train={tmp_path}/gold.jsonl",
            "retrieval.index=world",
            "rollout.max_new_tokens=8",
            "train.steps=4",
            "train.seed=11",
            "eval.every=2",
            "eval.questions=5",
        ],
    )
    (made / "recipe.yaml").write_text(recipe.dump(), "utf-8")
    rows = [{"step": step, "loss": 1.0, "seconds": 2.0} for step in (1, 2, 3, 4)]
    rows[3] |= {"eval_em": 0.4, "eval_f1": 0.5}
    (made / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    spent = {"seconds": 75.0, "cpu_load": 1.0, "peak_rss_gb": 2.5, "peak_vram_gb": None, "energy_wh": None}
    summary = {
        "steps": 4,
        "resources": spent | {"not_measurable": {"peak_vram_gb": "no card"}},
        "hardware": "A processor, 2 cores",
        "versions": {"torch": "9.9.9"},
    }
    (made / "summary.json").write_text(json.dumps(summary), "utf-8")
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An evaluation of four questions, three of which were answered rightly, and of one whose passages were hidden."""
    rows = []
    for number, answer in enumerate(("yes", "yes", "yes", "no", "maybe")):
        example = Example(f"q{number}", f"Question {number}?", ("yes",), hidden=("Village",) * (number == 4))
        trajectory = Trajectory(example, (), (Turn("answer", answer=answer),), "answer")
        rows.append(json.dumps(to_row(Result(trajectory, "multi", 1.0))) + "\n")
    path = tmp_path / "villages.jsonl"
    path.write_text("".join(rows), "utf-8")
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that knows this machine's token."""
    with fake_hub() as served:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def parts(card: Path) -> tuple[dict[str, Any], str]:
    """A card's YAML and its text."""
    _, matter, text = card.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(matter), text


def code(text: str) -> str:
    found = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)
    assert found
    return found[1]


def test_an_adapters_repository(run: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_adapter(Setup(adapter=str(run)), out, Wanted("ann/model", license="mit", results=(results,)))
    names = {path.name for path in out.iterdir()}
    assert {"README.md", "recipe.yaml", "adapter_config.json", "adapter_model.safetensors"} <= names
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"} <= names
    assert not {name for name in names if name.startswith("model")}
    weights = "adapter_model.safetensors"
    assert (out / weights).read_bytes() == (run / "adapter" / weights).read_bytes()
    generation = json.loads((out / "generation_config.json").read_text("utf-8"))
    expected = load_policy(ModelSpec(str(load_recipe(str(run / "recipe.yaml")).model.name))).tokenizer
    assert generation["eos_token_id"] == list(expected.eos_ids) and len(expected.eos_ids) == 2
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path


def test_a_card_says_what_is_known(run: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_adapter(Setup(adapter=str(run)), out, Wanted("ann/model", license="mit", results=(results,)))
    matter, text = parts(out / "README.md")
    figures = matter.pop("model-index")
    assert matter == {
        "library_name": "peft",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["ragr1-lite", "rag", "retrieval", "lora", "sft"],
    }
    (result,) = figures[0]["results"]
    assert figures[0]["name"] == "model" and result["dataset"]["name"] == "villages"
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [("exact_match", 0.75), ("f1", 0.75)]
    assert "95 % interval 0.25 to 1.0, 4 questions" in result["metrics"][0]["name"]
    assert "| Command | `ragr1-lite sft recipe.yaml` |" in text and "| Seed | 11 |" in text
    assert "| Data | gold.jsonl |" in text and "| Hardware | A processor, 2 cores |" in text
    assert "| Time | 1 min 15 s |" in text and "| Versions | torch 9.9.9 |" in text
    assert "| villages | 4 | .75 (.25–1.00) |" in text
    assert "\nvillages refused 0% of 1 (0%–79%) questions whose passages were hidden, and 0% of 4 (0%–49%)" in text
    assert "at step 4: EM 0.40, F1 0.50 on held-out questions" in text
    assert "--adapter ann/model --model PATH/TO/model --index INDEX --mode multi --max-queries 3 --k 1" in text
    assert "not measurable" not in text and "None" not in text
    assert load_recipe(str(out / "recipe.yaml")).data.train == "gold.jsonl"


def test_what_is_not_known_is_left_out(setup: Setup, tmp_path: Path) -> None:
    """An adapter alone, without a run: no data, no figures, no licence."""
    export_adapter(setup, tmp_path / "out", Wanted("out"))
    matter, text = parts(tmp_path / "out" / "README.md")
    assert sorted(matter) == ["library_name", "pipeline_tag", "tags"]
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# out", "## Ask it", "## Limits"]
    assert (
        "No evaluation of it is known here." in text and "exported by ragr1-lite." in text and "trained by" not in text
    )
    assert not (tmp_path / "out" / "recipe.yaml").exists()


def test_the_best_adapter_has_its_own_figures(run: Path, tmp_path: Path) -> None:
    """And a checkpoint those of its step, of which there are none here."""
    (run / "adapter").rename(run / "best")
    figures = {"step": 2, "em": 0.6, "f1": 0.7, "questions": 5}
    (run / "best" / "held_out.json").write_text(json.dumps(figures), "utf-8")
    wanted = Wanted("out")
    card = render(wanted, gather(Setup(adapter=str(run / "best")).recipe(), wanted))
    assert "at step 2: EM 0.60, F1 0.70 on held-out 5 questions, by which this adapter was chosen" in " ".join(
        card.split()
    )
    assert "| Steps | 2 of 4," in card
    (run / "checkpoints").mkdir()
    (run / "best").rename(run / "checkpoints" / "checkpoint-3")
    (run / "checkpoints" / "checkpoint-3" / "held_out.json").unlink()
    facts = gather(Setup(adapter=str(run / "checkpoints" / "checkpoint-3")).recipe(), wanted)
    assert facts.step == 3 and not facts.held_out and "## Figures" not in render(wanted, facts)


def test_a_built_in_base_has_its_hub_id_and_licence(run: Path) -> None:
    text = (run / "recipe.yaml").read_text("utf-8")
    named = re.sub(r"name: .*", "name: smollm2-135m", text, count=1)
    named = re.sub(r"train: .*gold.jsonl", "train: hub:ann/villages:small:train", named)
    (run / "recipe.yaml").write_text(named, "utf-8")
    wanted = Wanted("ann/model")
    matter = yaml.safe_load(render(wanted, gather(Setup(adapter=str(run)).recipe(), wanted)).split("---\n")[1])
    assert matter["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert matter["license"] == "apache-2.0" and matter["datasets"] == ["ann/villages"]


def test_the_cards_code_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By transformers and peft, and by transformers alone where the adapter is merged."""
    monkeypatch.chdir(tmp_path)
    base = Setup(adapter=str(run)).recipe().model.name
    export_adapter(Setup(adapter=str(run)), Path("out"), Wanted("out"))
    _, text = parts(Path("out/README.md"))
    program = code(text).replace("PATH/TO/model", base)
    Path("card.py").write_text(program, "utf-8")
    runpy.run_path("card.py")
    of_adapter = capsys.readouterr().out
    export(Setup(adapter=str(run), dtype="fp32"), "merged", Path("whole"), [], hub=Wanted("whole", merged=True))
    _, text = parts(Path("whole/README.md"))
    assert "from peft" not in text and "--model whole --adapter none" in text
    Path("card.py").write_text(code(text), "utf-8")
    runpy.run_path("card.py")
    assert of_adapter.strip() and capsys.readouterr().out


def test_a_merged_repository_is_asked(setup: Setup, tmp_path: Path) -> None:
    found = export(setup, "merged", tmp_path / "out", EXAMPLES, hub=Wanted("ann/model", merged=True))
    assert found and found.same == 1.0
    matter, _ = parts(tmp_path / "out" / "README.md")
    assert matter["library_name"] == "transformers"
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path


def test_without_an_adapter(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no adapter to export"):
        export_adapter(Setup(model=str(folder), adapter="none"), tmp_path / "out", Wanted("out"))
    assert not list(tmp_path.iterdir())


def test_uploaded_by_command(run: Path, hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["export", run, "--to", "hub", "--out", out, "--push", "ann/model", "--json"]
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["url"] == f"{hub.url}/ann/model"
    assert hub.files == {path.name: path.read_bytes() for path in out.iterdir()}
    (made,) = hub.made
    assert made.get("visibility") == "private" or made["private"]  # as older versions say it
    assert TOKEN not in done.output and not any(TOKEN.encode() in content for content in hub.files.values())


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("whoami", 401, "does not take the token. Log in"),
        ("create", 403, "the token has no permission for it. Take a token that may write to ann"),
        ("commit", 403, "no permission for it.*out is whole: hf upload ann/model .*out"),
        ("preupload", 400, "ann/model cannot be written: .*out is whole: hf upload"),
    ],
)
def test_refused(run: Path, hub: FakeHub, tmp_path: Path, path: str, status: int, problem: str) -> None:
    """One sentence; before anything is made where that can be known."""
    hub.refused = (path, status)
    out = tmp_path / "out"
    arguments = ["export", run, "--to", "hub", "--out", out, "--push", "ann/model"]
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and re.search(problem, said), said
    assert TOKEN not in said and "bug" not in said
    assert out.exists() == (path != "whoami") and not hub.files


def test_without_a_token(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ModelError, match="there is no token for 127.0.0.1 on this machine. Log in with a token"):
        require_access("ann/model")


def test_without_a_network(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "has_route", lambda _: False)
    with pytest.raises(ModelError, match="there is no connection to 127.0.0.1. Try again"):
        require_access("ann/model")
    with pytest.raises(ModelError, match=f"no connection to 127.0.0.1. {tmp_path} is whole: hf upload ann/model"):
        upload(tmp_path, "ann/model")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        upload(tmp_path, "ann/model")


@pytest.mark.parametrize("name", ["model", "ann/model/x", "ann/a..b", "../model"])
def test_no_name_of_a_repository(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a repository. Give it as OWNER/NAME"):
        require_access(name)


def test_options_of_the_hub_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "shipped", "--out", str(tmp_path / "out"), "--push", "ann/model"])
    assert done.exit_code == 2 and "are for the hub alone" in " ".join(done.output.split())


def test_nothing_private_is_left() -> None:
    assert public({"a": ["~/x/y.jsonl", "runs/sft", 3, None], "b": "mcp+stdio:server --token abc"}) == {
        "a": ["y.jsonl", "runs/sft", 3, None],
        "b": "mcp+stdio:server",
    }


def test_an_evaluation_that_is_none(run: Path, tmp_path: Path) -> None:
    """Is named before the model is loaded; the folder of a run is none either."""
    assert read_sources([run]).trainings[0].summary["hardware"] == "A processor, 2 cores"
    wanted = Wanted("out", results=(tmp_path / "missing.jsonl",))
    with pytest.raises(Exception, match="missing.jsonl"):
        export_adapter(Setup(adapter=str(run)), tmp_path / "out", wanted)
    assert not (tmp_path / "out").exists()
