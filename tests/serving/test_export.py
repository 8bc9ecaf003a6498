"""Exported models: the same weights, the same prompt token by token, and nothing kept that answers otherwise."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragr1_lite import world
from ragr1_lite.assistant import Setup
from ragr1_lite.config import LoraConfig, Recipe
from ragr1_lite.core.errors import DataError, ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.types import Example, Trajectory, Turn
from ragr1_lite.data.sets import load_examples
from ragr1_lite.models.gguf import convert
from ragr1_lite.models.gguf_writing import Precision, write_gguf
from ragr1_lite.models.loading import ModelSpec, load_policy
from ragr1_lite.models.lora import save_adapter
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.serving import export as exporting
from ragr1_lite.serving.export import Agreement, Form, export
from tests.models.test_builtin_models import node_llama, perplexity
from tests.models.test_gguf import VOCABULARIES
from tests.support import gguf_files

__all__ = ["node_llama"]

EXAMPLES = [Example(f"q{i}", f"Question {i}?", ("yes",)) for i in range(2)]


def answered(example: Example, answer: str | None) -> Trajectory:
    turn = Turn("answer", answer=answer) if answer else Turn("invalid")
    return Trajectory(example, (), (turn,), "answer" if answer else "invalid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    made, vocabulary = tmp_path_factory.mktemp("tiny"), VOCABULARIES["qwen2"]
    model = gguf_files.model("qwen2", len(vocabulary["tokens"]))
    convert(gguf_files.write(made / "x.gguf", "qwen2", model, vocabulary), made / "model")
    return made / "model"


@pytest.fixture
def setup(folder: Path, tmp_path: Path) -> Setup:
    """With an adapter that changes what it says."""
    spec = ModelSpec(str(folder), dtype="fp32")
    policy = load_policy(spec, lora=LoraConfig(r=2, alpha=4))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.5)
    return Setup(model=str(folder), adapter=str(save_adapter(policy, tmp_path / "adapter")), dtype="fp32")


def test_a_merged_folder_has_the_adapters_weights(setup: Setup, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        found = export(setup, "merged", tmp_path / "out", EXAMPLES)
    finally:
        os.umask(before)
    assert found == Agreement(2, 1.0, 0.0, 0.0)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert merged.dtype == torch.bfloat16
    spec = ModelSpec(str(setup.model), dtype="fp32", adapter=setup.adapter)
    policy = load_policy(spec)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = policy.model(ids).logits
        bare = load_policy(replace(spec, adapter=None)).model(ids).logits
        found_logits = merged.float()(ids).logits
    assert float((found_logits - expected).norm() / expected.norm()) < 0.05
    assert float((bare - expected).norm() / expected.norm()) > 0.2
    tokenizer = ChatTokenizer.load(tmp_path / "out")
    assert tokenizer.eos_ids == policy.tokenizer.eos_ids
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o640}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    assert generation["eos_token_id"] == list(policy.tokenizer.eos_ids)


def test_a_merged_folder_is_asked_as_its_adapter_was(setup: Setup, tmp_path: Path) -> None:
    """With the run's prompt, mode and budgets, no path of this machine, and no word of an untrained model."""
    (tmp_path / "mine.txt").write_text("Look it up: {question}", "utf-8")
    rollout = {"mode": "single", "max_queries": 2, "max_rounds": 9, "template": str(tmp_path / "mine.txt")}
    sections = {"model": {"name": setup.model}, "retrieval": {"index": "world", "k": 7}, "rollout": rollout}
    (tmp_path / "recipe.yaml").write_text(Recipe.model_validate({"task": "sft", **sections}).dump(), "utf-8")
    out, said = tmp_path / "smollm2-135m", list[object]()  # a name that an adapter ships for
    export(replace(setup, model=None), "merged", out, [])
    assert str(tmp_path) not in (out / "recipe.yaml").read_text("utf-8")
    (tmp_path / "mine.txt").unlink()
    asked = Setup(model=str(out)).recipe(said.append)
    assert not said and (asked.model.adapter, asked.retrieval.index, asked.retrieval.k) == (None, "world", 7)
    assert (asked.rollout.max_rounds, asked.rollout.max_queries) == (9, 2)
    assert asked.rollout.protocol() == Protocol("single", 2, "Look it up: {question}")
    assert Setup(model=str(out), mode="multi", k=1).recipe().rollout.mode == "multi"


def test_ollama_gets_the_prompt_token_by_token(setup: Setup, tmp_path: Path) -> None:
    export(setup, "ollama", tmp_path / "out", EXAMPLES, precision="q8_0")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Modelfile", "model.gguf"]
    text = (tmp_path / "out" / "Modelfile").read_text("utf-8")
    template = re.search(r'TEMPLATE """(.*)"""', text, re.DOTALL)
    assert template and text.startswith("FROM ./model.gguf\n")
    recipe = setup.recipe()
    tokenizer = ChatTokenizer.load(Path(str(setup.model)))
    asked = "Which is larger?"
    rendered = template[1].replace("{{ .Prompt }}", asked)
    assert tokenizer.hf(rendered, add_special_tokens=False).input_ids == tokenizer.render_chat(
        recipe.rollout.protocol().render_prompt(asked)
    )
    stops = re.findall(r'PARAMETER stop "(.*)"', text)
    assert stops == [*recipe.rollout.protocol().stop, *tokenizer.hf.convert_ids_to_tokens(list(tokenizer.eos_ids))]


def test_what_answers_otherwise_is_not_kept(setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([("yes", "no"), ("yes", None)])  # before and after: one of two answers is another one
    monkeypatch.setattr(
        exporting, "_answers", lambda *of: [answered(*one) for one in zip(EXAMPLES, next(said), strict=True)]
    )
    with pytest.raises(ModelError, match="Only 50% of 2 answers are the same as before"):
        export(setup, "gguf", tmp_path / "out", EXAMPLES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


@pytest.mark.parametrize("form", ["merged", "gguf"])
def test_notices_name_the_folder_that_will_be(setup: Setup, tmp_path: Path, form: Form) -> None:
    events: list[object] = []
    export(setup, form, tmp_path / "out", EXAMPLES, report=events.append)
    models = [event.text for event in events if isinstance(event, Notice) and event.text.startswith("Model ")]
    assert models[-1].startswith(f"Model {tmp_path / 'out'} in ") and ".out-" not in "".join(models)


def test_a_folder_that_exists_is_not_touched(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="exists"):
        export(setup, "merged", tmp_path / "out", [])


def test_unasked(setup: Setup, tmp_path: Path) -> None:
    assert export(setup, "gguf", tmp_path / "deep" / "out", []) is None
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["model.gguf"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["f16", "q8_0"])
def test_llama_cpp_reads_it(
    precision: Precision, node_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped model as a file has the tokens and the perplexity of the merged folder, within 1 %."""
    setup = Setup(model="smollm2-135m")
    found = export(setup, "gguf", tmp_path / "file", load_examples("world", "test", limit=24), precision=precision)
    export(setup, "merged", tmp_path / "merged", [])
    text = "\n\n".join(f"{one.title}\n{one.text}" for one in list(world.passages())[7:600:40])
    (tmp_path / "text").write_text(text, "utf-8")
    said = perplexity(node_llama, tmp_path / "file" / "model.gguf", tmp_path / "text")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == said["tokens"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.inference_mode():
        ours = math.exp(torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:]))
    theirs = math.exp(-sum(said["logs"]) / len(said["logs"]))
    with capsys.disabled():
        print(f"\n{precision}: {found}, perplexity {ours:.3f}, llama.cpp's {theirs:.3f}")
    assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "within"), [("f16", 0.001), ("q8_0", 0.005)])
def test_llama_cpp_reads_an_output_layer_of_its_own(
    precision: Precision, within: float, node_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny random model whose output layer is not its embedding; llama.cpp has activations in 8 bits for q8_0."""
    vocabulary = VOCABULARIES["qwen2"]
    model = gguf_files.model("qwen2", len(vocabulary["tokens"]), tied=False)
    convert(gguf_files.write(tmp_path / "x.gguf", "qwen2", model, vocabulary), tmp_path / "model")
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", precision)
    (tmp_path / "text").write_text("The thing in 1234 is a room of the mill. " * 4, "utf-8")
    said = perplexity(node_llama, tmp_path / "model.gguf", tmp_path / "text")
    ids = torch.tensor(said["tokens"])
    with torch.inference_mode():
        ours = float(torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:]))
    theirs = -sum(said["logs"]) / len(said["logs"])
    with capsys.disabled():
        print(f"\n{precision}, untied: loss {ours:.4f}, llama.cpp's {theirs:.4f} on {len(ids)} tokens")
    assert ours == pytest.approx(theirs, rel=within)
