"""Which adapter is meant by a name, which run and which base model it belongs to, and what is refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from ragr1_lite.config import LoraConfig, load_recipe
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.models import adapter_folder, hub
from ragr1_lite.models.adapter_folder import base_key, find_adapter, require_adapter, shipped_adapter
from tests.support.adapters import save_adapter_files

SMOLLM2 = "smollm2-135m"
QWEN = "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with an adapter, a best one and a checkpoint, seen from the folder in which it was trained."""
    folder = tmp_path / "runs/mine"
    for part in ("adapter", "best", "checkpoints/checkpoint-5"):
        save_adapter_files(folder / part)
    (folder / "recipe.yaml").write_text(load_recipe("sft-smollm2-135m").dump(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("runs/mine", "adapter"),
        ("runs/mine/", "adapter"),
        ("runs/mine/adapter", "adapter"),
        ("runs/mine/best", "best"),
        ("runs/mine/checkpoints/checkpoint-5", "checkpoints/checkpoint-5"),
        ("runs/mine/adapter/adapter_model.safetensors", "adapter"),
        ("runs/mine/recipe.yaml", "adapter"),
        ("runs/../runs/mine/checkpoints/checkpoint-5/adapter_config.json", "checkpoints/checkpoint-5"),
    ],
)
def test_whatever_of_a_run_is_named_belongs_to_it(run: Path, name: str, found: str) -> None:
    adapter = find_adapter(name, SMOLLM2)
    assert adapter.folder.resolve() == run / found
    assert adapter.run == run and adapter.recipe == run / "recipe.yaml"


@pytest.mark.parametrize("inside", ["adapter", "best", "checkpoints/checkpoint-5", ""])
def test_a_dot_is_the_folder_one_stands_in(run: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / inside)
    adapter = find_adapter(".", SMOLLM2)
    assert adapter.folder.resolve() == run / (inside or "adapter") and adapter.run == run


def test_an_adapter_that_is_linked_to_belongs_to_the_run_it_lies_in(run: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(run / "adapter")
    (run / "adapter").rename(tmp_path / "elsewhere")
    (run / "adapter").symlink_to(tmp_path / "elsewhere")
    assert find_adapter("latest", SMOLLM2).run is None  # it lies elsewhere, and nothing says whose it is
    assert find_adapter("runs/mine", SMOLLM2).run == run


def test_paths_of_a_run_are_those_of_the_folder_in_which_it_was_trained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("indexes/books", "models/mine", "world"):
        (tmp_path / name).mkdir(parents=True)
    given = ["output=runs/mine", "retrieval.index=indexes/books", "model.name=models/mine", "rollout.template=gone.txt"]
    (run / "recipe.yaml").write_text(load_recipe("sft-smollm2-135m", given).dump(), encoding="utf-8")
    monkeypatch.chdir(run / "adapter")
    here = {"retrieval.index": str(tmp_path / "indexes/books"), "model.name": str(tmp_path / "models/mine")}
    assert find_adapter(".", SMOLLM2).paths_of_run() == here
    run.rename(run.with_name("renamed"))
    assert find_adapter(str(run.with_name("renamed")), SMOLLM2).paths_of_run() == here
    (run.with_name("renamed") / "recipe.yaml").write_text(load_recipe("sft-smollm2-135m").dump(), encoding="utf-8")
    assert find_adapter(str(run.with_name("renamed")), SMOLLM2).paths_of_run() == {}  # the world is no folder
    given[1] = "retrieval.index=[world, indexes/books]"
    (run.with_name("renamed") / "recipe.yaml").write_text(
        load_recipe("sft-smollm2-135m", given).dump(), encoding="utf-8"
    )
    several = {"retrieval.index": ["world", str(tmp_path / "indexes/books")]}
    assert find_adapter(str(run.with_name("renamed")), SMOLLM2).paths_of_run() == here | several
    moved = run.with_name("renamed").rename(tmp_path / "moved")
    assert find_adapter(str(moved), SMOLLM2).paths_of_run() == {}


def test_a_run_with_an_absolute_output_notes_where_its_paths_are_from(tmp_path: Path) -> None:
    run, home = tmp_path / "far" / "run", tmp_path / "home"
    save_adapter_files(run / "adapter")
    (home / "books").mkdir(parents=True)
    given = [f"output={run}", "retrieval.index=books"]
    (run / "recipe.yaml").write_text(load_recipe("sft-smollm2-135m", given).dump(), encoding="utf-8")
    assert find_adapter(str(run), SMOLLM2).paths_of_run() == {}
    for noted in ("{", "[]", "{}"):
        (run / "state.json").write_text(noted, encoding="utf-8")
        assert find_adapter(str(run), SMOLLM2).paths_of_run() == {}
    (run / "state.json").write_text(json.dumps({"began_in": str(home)}), encoding="utf-8")
    assert find_adapter(str(run), SMOLLM2).paths_of_run() == {"retrieval.index": str(home / "books")}


# Where there is none


def test_a_run_without_an_adapter_names_its_newest_checkpoint(run: Path) -> None:
    (run / "adapter/adapter_config.json").unlink()
    (run / "best/adapter_config.json").unlink()
    with pytest.raises(
        ModelError, match=r"no adapter in runs/mine\. Give one .* as runs/mine/checkpoints/checkpoint-5\.$"
    ):
        find_adapter("runs/mine", SMOLLM2)
    with pytest.raises(ModelError, match=r"no adapter in runs/mine/checkpoints\. Give one .*checkpoint-5\.$"):
        find_adapter("runs/mine/checkpoints", SMOLLM2)


def test_a_model_and_a_folder_that_is_not_there(run: Path) -> None:
    (run.parent / "model").mkdir()
    (run.parent / "model/config.json").touch()
    with pytest.raises(ModelError, match=r"runs/model holds a model and no adapter\. Give it as the model"):
        find_adapter("runs/model", SMOLLM2)
    with pytest.raises(ModelError, match="no adapter in runs/typo: the folder does not exist"):
        find_adapter("runs/typo", SMOLLM2)  # no hub id: there is a folder `runs`


def test_a_missing_adapter_is_reported_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("grpo-qwen2.5-3b")
    with pytest.raises(ModelError, match=r"no adapter in runs/sft-qwen2\.5-3b/adapter") as caught:
        require_adapter(recipe)
    assert caught.value.hint == "Make it with: ragr1-lite sft sft-qwen2.5-3b"
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelError, match="Make it with: ragr1-lite sft sft-qwen2.5-3b"):
        find_adapter("runs/sft-qwen2.5-3b", QWEN)
    save_adapter_files(tmp_path / "runs/sft-qwen2.5-3b/adapter")
    require_adapter(recipe)


@pytest.mark.parametrize("adapter", ["elsewhere/sft-smollm2-135m/adapter", "mine", "runs/nope/adapter"])
def test_no_command_is_named_that_would_not_make_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapter: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"no adapter in {adapter}") as caught:
        require_adapter(load_recipe("grpo-smollm2-135m", [f"model.adapter={adapter}"]))
    assert caught.value.hint.startswith("Give a run's folder, an adapter's, or a hub id")


@pytest.mark.parametrize("adapter", ["null", "shipped", "someone/their-adapter"])
def test_no_adapter_need_be_there(adapter: str) -> None:
    require_adapter(load_recipe("grpo-smollm2-135m", [f"model.adapter={adapter}"]))


# What is refused


@pytest.mark.parametrize("kind", ["IA3", "PROMPT_TUNING", "P_TUNING", "ADALORA", None])
def test_other_adapters_than_lora_are_refused_in_one_sentence(tmp_path: Path, kind: str | None) -> None:
    save_adapter_files(tmp_path, peft_type=kind)
    with pytest.raises(ModelError, match=f"is of the kind {kind}, not LoRA. Give a LoRA adapter.$"):
        find_adapter(str(tmp_path), SMOLLM2)


@pytest.mark.parametrize(
    "field",
    [{"alora_invocation_tokens": [1, 2]}, {"layer_replication": [[0, 4], [2, 5]]}, {"megatron_config": {"a": 1}}],
    ids=lambda field: next(iter(field)),
)
def test_forms_of_lora_that_are_not_known(tmp_path: Path, field: dict[str, Any]) -> None:
    save_adapter_files(tmp_path, **field)
    with pytest.raises(ModelError, match=f"is LoRA with {next(iter(field))}, which is not known here"):
        find_adapter(str(tmp_path), SMOLLM2)


def test_weights_have_to_be_safetensors(tmp_path: Path) -> None:
    (save_adapter_files(tmp_path) / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors\. Copy the file"):
        find_adapter(str(tmp_path), SMOLLM2)
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(ModelError, match=r"only as pickle \(\.bin\)\. Save the adapter as safetensors"):
        find_adapter(str(tmp_path), SMOLLM2)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"], ids=["cut off", "no object", "no text"])
def test_a_broken_config(tmp_path: Path, text: str) -> None:
    (save_adapter_files(tmp_path) / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        find_adapter(str(tmp_path), SMOLLM2)


# The hub


def test_an_adapter_of_the_hub_is_fetched_without_pickle_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []
    said: list[Any] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if not local_files_only:
            fetched.append(allow_patterns)
            save_adapter_files(tmp_path, base_model_name_or_path=QWEN)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "_ask_hub", lambda *_: 3 << 28)
    adapter = find_adapter("someone/their-adapter", QWEN, said.append)
    assert (adapter.folder, adapter.made_for) == (tmp_path, QWEN)
    assert fetched == [["adapter_config.json", "adapter_model.safetensors"]]
    assert [event.text for event in said] == ["Downloading someone/their-adapter from the hub: 0.75 GB"]
    find_adapter("someone/their-adapter", QWEN)
    assert len(fetched) == 1
    (tmp_path / "adapter_config.json").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ModelError, match="someone/a-model on the hub holds no adapter"):
        find_adapter("someone/a-model", QWEN)


def test_without_a_network_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ModelError, match="^someone/their-adapter is not on this machine and the hub cannot be reached"):
        find_adapter("someone/their-adapter", QWEN)


# The base model

SNAPSHOT = ".cache/huggingface/hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/12fd25f77366fa6b"
SMOLLM2_NAMES = [
    f"/home/someone/{SNAPSHOT}",
    "C:\\Users\\someone\\" + SNAPSHOT.replace("/", "\\"),
    "C:\\models\\SmolLM2-135M-Instruct",
    "C:\\models\\SmolLM2-135M-Instruct\\",
    "/data/SmolLM2-135M-Instruct/",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "unsloth/SmolLM2-135M-Instruct",
    "unsloth/smollm2-135m-instruct-bnb-4bit",
    "unsloth/SmolLM2-135M-Instruct-unsloth-bnb-4bit",
    SMOLLM2,
]


@pytest.mark.parametrize("name", SMOLLM2_NAMES)
def test_names_of_one_model(name: str, tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=name)), SMOLLM2)
    said: list[object] = []
    adapter.require_fit(SMOLLM2, said.append)
    assert adapter.base() == SMOLLM2 and not said
    with pytest.raises(ModelError, match="was made for"):
        find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=QWEN)), SMOLLM2).require_fit(name)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        (QWEN, QWEN),
        (f"/root/.cache/huggingface/hub/models--{QWEN.replace('/', '--')}/snapshots/7ae557604adf67be", QWEN),
        ("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit", "unsloth/Qwen2.5-0.5B-Instruct"),
        ("unsloth/qwen2.5-0.5b-instruct-unsloth-bnb-4bit", "unsloth/qwen2.5-0.5b-instruct"),
    ],
)
def test_the_base_model_by_a_name_under_which_it_can_be_had(name: str, base: str, tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=name)), QWEN)
    assert adapter.base() == base
    adapter.require_fit(QWEN)


@pytest.mark.parametrize("name", [None, ""], ids=["null", "empty"])
def test_an_adapter_without_a_base_model_fits_the_one_that_is_named(name: str | None, tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=name)), QWEN)
    adapter.require_fit(QWEN)
    with pytest.raises(ModelError, match=r"does not say which model it was made for\. Name that model with --model"):
        adapter.base()


def test_other_caches_and_copies_name_the_same_model() -> None:
    names = (
        "/home/someone/.cache/modelscope/hub/models/Qwen/Qwen2___5-0___5B-Instruct",
        "D:\\llm\\Qwen2.5-0.5B-Instruct",
        "unsloth/Qwen2.5-0.5B-Instruct-unsloth-bnb-4bit",
        "/models/Qwen2.5-0.5B-Instruct/",
    )
    assert {base_key(name) for name in names} == {base_key(QWEN)} == {"qwen2.5-0.5b-instruct"}
    assert base_key("Qwen/Qwen2.5-0.5B") != base_key(QWEN) != base_key("Qwen/Qwen2.5-Coder-0.5B-Instruct")


def test_a_model_folder_that_is_here_is_the_base(tmp_path: Path) -> None:
    (tmp_path / "models/mine").mkdir(parents=True)
    name = str(tmp_path / "models/mine")
    adapter = find_adapter(str(save_adapter_files(tmp_path / "adapter", base_model_name_or_path=name)), QWEN)
    assert adapter.base() == name
    with pytest.raises(ModelError, match=r"made for .*/models/mine, not for Qwen/.*\. Use --model .*/models/mine; if"):
        adapter.require_fit(QWEN)


@pytest.mark.parametrize("gone", ["/data/models/base", "C:\\models\\base", "~/models/base"])
def test_a_folder_that_is_not_here_may_have_been_renamed(gone: str, tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=gone)), QWEN)
    said: list[Any] = []
    adapter.require_fit("/srv/renamed", said.append)
    assert [type(event) for event in said] == [Notice] and f"{gone}, which is not here" in said[0].text
    with pytest.raises(ModelError, match="is not on this machine. Name that model with --model"):
        adapter.base()


def test_the_mend_for_another_model_can_be_followed(tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, base_model_name_or_path=QWEN)), "/srv/renamed")
    with pytest.raises(ModelError, match="if /srv/renamed is that model, write its name") as caught:
        adapter.require_fit("/srv/renamed")
    path = tmp_path / "adapter_config.json"
    assert str(path) in caught.value.hint
    path.write_text(json.dumps(dict(adapter.config) | {"base_model_name_or_path": "/srv/renamed"}), encoding="utf-8")
    find_adapter(str(tmp_path), "/srv/renamed").require_fit("/srv/renamed")


def test_the_shipped_adapter_goes_by_every_name_of_its_model(tmp_path: Path) -> None:
    folder = shipped_adapter(SMOLLM2)
    assert folder is not None and find_adapter("shipped", SMOLLM2).folder == folder
    assert {shipped_adapter(name) for name in SMOLLM2_NAMES} == {folder}
    assert shipped_adapter(QWEN) is None and shipped_adapter(str(tmp_path)) is None
    with pytest.raises(ModelError, match="No adapter ships for Qwen"):
        find_adapter("shipped", QWEN)


# What it is to be trained with


def test_the_adapters_own_shape_counts_and_is_said(tmp_path: Path) -> None:
    own = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}
    adapter = find_adapter(str(save_adapter_files(tmp_path, **own)), SMOLLM2)
    said: list[Any] = []
    adapter.require_trainable(LoraConfig(r=64, targets=("v_proj", "q_proj")), said.append)
    assert said.pop().text.endswith("goes on with its own lora.r 16, not 64 as in the recipe")
    adapter.require_trainable(LoraConfig(r=8, alpha=16), said.append)
    assert "lora.r 16, not 8; lora.alpha 32, not 16; lora.targets q_proj, v_proj, not down_proj, " in said.pop().text
    adapter.require_trainable(LoraConfig(targets=("q_proj", "v_proj")), said.append)
    adapter.require_trainable(LoraConfig(targets=("all-linear",)), said.append)
    assert not said


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_an_adapter_that_trains_the_models_biases_is_not_trained_on(bias: str, tmp_path: Path) -> None:
    adapter = find_adapter(str(save_adapter_files(tmp_path, bias=bias)), SMOLLM2)
    with pytest.raises(ModelError, match=f"trains the model's own biases \\(bias={bias}\\)"):
        adapter.require_trainable(LoraConfig())


def test_models_with_an_adapter_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adapter_folder.trained_models()[0] == SMOLLM2
