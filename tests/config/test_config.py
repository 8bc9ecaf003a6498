"""Recipes: what is wrong with one is said at once and in full; what is right survives being written and read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ragr1_lite.config import (
    Recipe,
    RetrievalConfig,
    find_recipe,
    load_recipe,
    recipes_folder,
)
from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.rewards import PARTS

RECIPES = sorted(recipes_folder().glob("*.yaml"))


def write(folder: Path, text: str, name: str = "recipe.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def problem(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write(folder, text), overrides)
    assert str(folder) in caught.value.message or "--set" in caught.value.message
    assert "\n" not in str(caught.value)
    return caught.value.message


# Shipped recipes


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_opens_with_the_command_that_starts_it(path: Path, tmp_path: Path) -> None:
    mark, program, task, name, *options = path.read_text(encoding="utf-8").splitlines()[0].split()
    assert (mark, program, name) == ("#", "ragr1-lite", path.stem)
    assert options[::2] == ["--set"] * len(options[1::2])
    recipe = load_recipe(name, options[1::2], task=load_recipe(str(path)).task)
    assert recipe.task == task
    assert load_recipe(write(tmp_path, recipe.dump())) == recipe


def test_some_recipes_ship() -> None:
    assert "sft-smollm2-135m" in [path.stem for path in RECIPES]


def test_shipped_recipes_go_by_name_and_by_their_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = recipes_folder() / "sft-smollm2-135m.yaml"
    for name in ("sft-smollm2-135m", "sft-smollm2-135m.yaml", "recipes/sft-smollm2-135m.yaml"):
        assert find_recipe(name) == shipped
    write(tmp_path, "task: sft\n", "sft-smollm2-135m")
    assert find_recipe("sft-smollm2-135m") == Path("sft-smollm2-135m"), "a file of one's own comes first"


@pytest.mark.parametrize("name", ["nope", "nope.yaml", "", ".", "mine/sft-smollm2-135m.yaml"])
def test_a_recipe_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="There is no recipe") as caught:
        load_recipe(name)
    assert "sft-smollm2-135m" in caught.value.hint


def test_the_likeliest_recipe_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_recipe("grpo-qwen25-3b")
    assert caught.value.hint.endswith("such as grpo-qwen2.5-3b.")


# Reading


def test_defaults_and_sections(tmp_path: Path) -> None:
    text = "task: grpo\ntrain: {steps: 7, batch_size: 16}\nrollout:\n  template: prompt.txt\nmodel:\n  adapter: null\n"
    recipe = load_recipe(write(tmp_path, text))
    assert (recipe.task, recipe.train.steps, recipe.train.micro_batch) == ("grpo", 7, 4)
    assert (recipe.rollout.template, recipe.model.adapter) == (Path("prompt.txt"), None)
    assert load_recipe(write(tmp_path, "\ufefftask: sft\n")) == Recipe(task="sft")


def test_a_resolved_recipe_is_the_same_recipe(tmp_path: Path) -> None:
    overrides = [
        "output=läufe/eins",
        "model.name='0123'",
        "model.adapter='no'",
        "lora.targets=[q_proj]",
        "data.mix={bridge: 1e-3, 'yes': 2}",
        "rollout.template=a b.txt",
        "train.learning_rate=1e-6",
        "reward.format=-0.1",
        "eval.split=test",
    ]
    recipe = load_recipe(write(tmp_path, "task: sft\n"), overrides)
    again = load_recipe(write(tmp_path, recipe.dump()))
    assert again == recipe
    assert again.dump() == recipe.dump()
    assert "läufe/eins" in recipe.dump()
    assert (recipe.model.name, recipe.model.adapter, recipe.data.mix) == ("0123", "no", {"bridge": 1e-3, "yes": 2})


def test_a_resolved_recipe_names_every_field() -> None:
    dumped = yaml.safe_load(Recipe(task="sft").dump())
    assert list(dumped) == list(Recipe.model_fields)
    assert all(list(dumped[name]) for name in dumped if isinstance(dumped[name], dict))
    assert dumped["grpo"]["group_size"] == 8


def test_settings_reach_protocol_and_limits(tmp_path: Path) -> None:
    template = write(tmp_path, "Say it: {question}", "prompt.txt")
    overrides = [f"rollout.template={template}", "rollout.mode=single", "rollout.max_rounds=2", "retrieval.k=5"]
    recipe = load_recipe(write(tmp_path, "task: sft\n"), overrides)
    assert recipe.rollout.protocol().render_prompt("Why?") == "Say it: Why?"
    assert recipe.rollout.protocol().mode == "single"
    limits = recipe.rollout.limits(recipe.retrieval.k)
    assert (limits.max_rounds, limits.k, limits.max_length) == (2, 5, 8192)


def test_a_template_that_cannot_be_used(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "task: sft\n"), [f"rollout.template={tmp_path / 'none.txt'}"])
    with pytest.raises(ConfigError, match=r"prompt template .*none\.txt does not exist"):
        recipe.rollout.protocol()
    recipe = load_recipe(write(tmp_path, "task: sft\n"), [f"rollout.template={write(tmp_path, 'Say it', 'p.txt')}"])
    with pytest.raises(ConfigError, match=r"no \{question\} in it"):
        recipe.rollout.protocol()


# Overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("output=runs/x", "output", Path("runs/x")),
        ("model.name=org/model=v1", "model.name", "org/model=v1"),
        ("lora.targets=[q_proj, v_proj]", "lora.targets", ("q_proj", "v_proj")),
        ("data.limit=null", "data.limit", None),
        ("data.limit=", "data.limit", None),
        ("data.limit=10", "data.limit", 10),
        ("data.mix.bridge=2", "data.mix", {"bridge": 2.0}),
        ("data.mix={list: 1, bridge: 0.5}", "data.mix", {"list": 1.0, "bridge": 0.5}),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("train.learning_rate=2.5e-05", "train.learning_rate", 2.5e-5),
        (" train.steps = 3 ", "train.steps", 3),
        ("model.adapter=/tmp/a b", "model.adapter", "/tmp/a b"),
    ],
)
def test_overrides(tmp_path: Path, override: str, path: str, value: object) -> None:
    found: object = load_recipe(write(tmp_path, "task: sft\n"), [override])
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_last_override_wins_and_sections_keep_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, "task: sft\nmodel:\ntrain: {steps: 9, seed: 4}\n")
    recipe = load_recipe(path, ["train.steps=1", "train.steps=2", "model.dtype=fp32"])
    assert (recipe.train.steps, recipe.train.seed, recipe.model.dtype) == (2, 4, "fp32")


def test_a_section_with_every_line_commented_out_has_its_defaults(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path, "task: sft\nmodel:\n  # name: x\noutput:\n")) == Recipe(task="sft")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.steps", "has no `=`"),
        ("=3", "has no `=`"),
        ("", "has no `=`"),
        ("train.steps=[1", "--set train.steps is not valid YAML"),
        ("data.mix={a: 1", "--set data.mix is not valid YAML"),
        ("train.steps=2024-99-99", "train.steps: input should be a valid integer"),
        ("task.kind=sft", "task is not a section"),
        ("train.steps.more=1", "steps is not a section"),
        ("train.steps=many", "train.steps: input should be a valid integer"),
        ("train.steps=1.5", "train.steps: input should be a valid integer"),
        ("train.steps=0", "train.steps: input should be greater than or equal to 1"),
        ("train.stepz=1", "unknown key train.stepz (did you mean steps?)"),
        ("trian.steps=1", "unknown key trian (did you mean train?)"),
        ("rollout.mode=no", "rollout.mode: input should be 'multi', 'single', 'cot-rag', 'rag' or 'direct'"),
        ("lora.targets=7", "lora.targets: input should be a valid tuple"),
        ("model=smollm2-135m", "model: input should be a valid dictionary"),
        ("data.mix.bridge=lots", "data.mix.bridge: input should be a valid number"),
        ("train.learning_rate=.nan", "train.learning_rate: input should be"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, says: str) -> None:
    assert says in problem(tmp_path, "task: sft\ntrain: {steps: 5}\n", override)


@pytest.mark.parametrize(
    ("value", "targets", "modules"),
    [
        ("all-linear", ("all-linear",), "all-linear"),
        ("[all-linear]", ("all-linear",), "all-linear"),
        ("q_proj", ("q_proj",), ["q_proj"]),
        ("q_proj, v_proj", ("q_proj", "v_proj"), ["q_proj", "v_proj"]),
        ("[q_proj, v_proj]", ("q_proj", "v_proj"), ["q_proj", "v_proj"]),
    ],
)
def test_targets_as_others_write_them(tmp_path: Path, value: str, targets: tuple[str, ...], modules: object) -> None:
    recipe = load_recipe(write(tmp_path, "task: sft\n"), [f"lora.targets={value}"])
    assert (recipe.lora.targets, recipe.lora.target_modules) == (targets, modules)
    assert load_recipe(write(tmp_path, recipe.dump())) == recipe


# The index by its URL

CLUSTER = "opensearch://localhost:9200/wiki"


def test_an_index_may_be_named_by_its_url(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, f"task: sft\nretrieval: {{url: '{CLUSTER}', k: 5}}\n"))
    assert (recipe.retrieval.index, recipe.retrieval.k) == (CLUSTER, 5)
    assert load_recipe(write(tmp_path, recipe.dump())) == recipe
    assert load_recipe(write(tmp_path, recipe.dump()), ["retrieval.index=books"]).retrieval.index == "books"
    assert load_recipe(write(tmp_path, "task: sft\n"), [f"retrieval.url={CLUSTER}"]).retrieval == RetrievalConfig(
        index=CLUSTER
    )


@pytest.mark.parametrize("section", ["{url: null}", "{url: , index: world}", "{index: world}", "{}"])
def test_no_url_is_no_other_index(tmp_path: Path, section: str) -> None:
    assert load_recipe(write(tmp_path, f"task: sft\nretrieval: {section}\n")).retrieval == RetrievalConfig()


def test_index_and_url_are_one_problem_among_the_others(tmp_path: Path) -> None:
    section = f"{{index: books, url: '{CLUSTER}', k: 0, ks: 1}}"
    message = problem(tmp_path, f"task: sft\nretrieval: {section}\ntrain: {{steps: 0}}\n")
    assert "has 4 problems" in message
    assert "retrieval.index: is given next to `url`" in message
    assert "retrieval.k: input should be greater" in message
    assert "unknown key retrieval.ks (did you mean k?)" in message
    assert "retrieval.index: input should be a valid string" in problem(tmp_path, "task: sft\nretrieval: {url: 3}\n")


@pytest.mark.parametrize("key", ["index", "url"])
@pytest.mark.parametrize("url", ["http://me:geheim@host/retrieve", "opensearch://geheim@host/wiki"])
def test_a_password_is_refused_before_anything_is_written(tmp_path: Path, url: str, key: str) -> None:
    """A run writes its recipe down, so none may hold one; no error repeats it."""
    message = problem(tmp_path, f"task: sft\nretrieval: {{{key}: '{url}'}}\ntrain: {{steps: 0}}\n")
    assert "has 2 problems" in message
    assert "retrieval.index: the URL" in message and "holds a user name or password" in message
    assert "geheim" not in message
    with pytest.raises(ValueError, match="user name or password") as caught:
        Recipe.model_validate({"task": "sft", "retrieval": {key: url}})
    assert "geheim" not in str(caught.value)


def test_several_indexes(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "task: sft\nretrieval: {index: [world, books]}\n"))
    assert recipe.retrieval.index == ("world", "books")
    assert load_recipe(write(tmp_path, recipe.dump())).retrieval == recipe.retrieval
    assert load_recipe(write(tmp_path, "task: sft\n"), ["retrieval.index=[books]"]).retrieval.index == "books"
    message = problem(tmp_path, "task: sft\nretrieval: {index: [world, 'http://geheim@b']}\n")
    assert "holds a user name or password" in message and "geheim" not in message
    for wrong in ("[]", "[3]"):
        assert "valid string, or a list of such" in problem(tmp_path, f"task: sft\nretrieval: {{index: {wrong}}}\n")


def test_an_at_sign_in_a_folder_is_no_password() -> None:
    assert RetrievalConfig(index="indexes/me@home").index == "indexes/me@home"


# Problems


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    text = """
        task: ppo
        modle: {name: x}
        model: {dtype: int3, nam: y}
        train: {steps: -1, batch_size: some, save_evry: 3}
        rollout: {max_lenght: 100, mode: parallel}
        zzz: 1
    """
    message = problem(tmp_path, text)
    assert "recipe.yaml has 10 problems: " in message
    for said in (
        "task: input should be 'sft' or 'grpo'",
        "unknown key modle (did you mean model?)",
        "model.dtype: input should be",
        "unknown key model.nam (did you mean name?)",
        "train.steps: input should be greater than or equal to 1",
        "train.batch_size: input should be a valid integer",
        "unknown key train.save_evry (did you mean save_every?)",
        "unknown key rollout.max_lenght (did you mean max_length?)",
        "rollout.mode: input should be",
        "unknown key zzz",
    ):
        assert said in message
    assert "zzz (did" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 1 problem: task: field required"),
        ("# nothing\n", "task: field required"),
        ("train: {steps: 5}\n", "task: field required"),
        ("- sft\n", "is not a recipe"),
        ("sft", "is not a recipe"),
        ("task: sft\ntrain:\n  steps: [1\n", "is not valid YAML (line 4)"),
        ("task: sft\n\ttrain: 1\n", "is not valid YAML (line 2)"),
        ("task: sft\nmodel: &a [*b]\n", "is not valid YAML (line 2)"),
        ("task: !!python/object:os.system x\n", "is not valid YAML"),
        ("task: sft\noutput: {a: *b}\n", "is not valid YAML"),
        ("task: sft\x00\n", "is not valid YAML"),
        ("task: sft\ntrain: {batch_size: 6, micro_batch: 4}\n", "train: micro_batch 4 does not divide batch_size 6"),
        ("task: grpo\ntrain: {batch_size: 12}\n", "train.batch_size must be a multiple of grpo.group_size (8)"),
        ("task: grpo\ngrpo: {expert: 8}\ndata: {expert: world}\n", "grpo.expert 8 leaves nothing to sample"),
        ("task: grpo\ngrpo: {continue_near_misses: 8}\n", "grpo.continue_near_misses 8 leaves no near miss among 8"),
        (
            "task: grpo\ngrpo: {expert: 4, continue_near_misses: 4}\ndata: {expert: world}\n",
            "grpo.continue_near_misses 4 leaves no near miss among 4 sampled",
        ),
        (
            "task: grpo\ngrpo: {continue_near_misses: 1}\nrollout: {mode: rag}\n",
            "grpo.continue_near_misses needs searches, and mode rag has none",
        ),
        ("task: grpo\ngrpo: {expert: 1}\n", "grpo.expert needs data.expert"),
        *(
            (
                f"task: sft\nrollout: {{max_queries: {caps}}}\n",
                "rollout.max_queries: must be a number from 1 up, or a list",
            )
            for caps in ("0", "[1, 2]", "[]", "[2, 0]", "[2, true]", "2.5", "few", "'3,,1'")
        ),
        ("task: grpo\nreward: {stages: {0: {emm: 1}}}\n", "reward.stages.0.emm.[key]: input should be 'em', 'f1'"),
        ("task: grpo\nreward: {stages: {-1: {em: 1}}}\n", "input should be greater than or equal to 0"),
        ("task: grpo\nreward: {stages: {5: 1}}\n", "reward.stages.5: input should be a valid dictionary"),
        ("task: sft\n1: 2\n", "1"),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, says: str) -> None:
    assert says in problem(tmp_path, text)


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"task: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(str(tmp_path / "r.yaml"))


def test_a_recipe_for_another_task(tmp_path: Path) -> None:
    path = write(tmp_path, "task: grpo\n")
    with pytest.raises(ConfigError, match="is a recipe for `grpo`") as caught:
        load_recipe(path, task="sft")
    assert f"ragr1-lite grpo {path}" in caught.value.hint


@pytest.mark.parametrize(
    ("written", "means"),
    [("2", 2), ("[2]", 2), ("'2'", 2), ("[3, 2, 1]", (3, 2, 1)), ("3,2,1", (3, 2, 1)), ("'3, 3'", (3, 3))],
)
def test_queries_by_search(tmp_path: Path, written: str, means: int | tuple[int, ...]) -> None:
    recipe = load_recipe(write(tmp_path, "task: sft\n"), [f"rollout.max_queries={written}"])
    assert recipe.rollout.max_queries == recipe.rollout.protocol().max_queries == means
    assert load_recipe(write(tmp_path, recipe.dump())) == recipe


def test_reward_by_stages(tmp_path: Path) -> None:
    """Of all parts: a stage's weights replace those of the recipe and of the stage before."""
    stages = "{5: {em: 1, evidence: 0.5}, 9: {em: 3}}"
    recipe = load_recipe(write(tmp_path, f"task: grpo\nreward: {{f1: 2, stages: {stages}}}\n"))
    none = dict.fromkeys(PARTS, 0.0)
    assert recipe.reward.weights == recipe.reward.weights_at(4) == none | {"em": 1, "f1": 2}
    assert recipe.reward.weights_at(5) == recipe.reward.weights_at(8) == none | {"em": 1, "evidence": 0.5}
    assert recipe.reward.weights_at(9) == recipe.reward.weights_at(99) == none | {"em": 3}
    assert load_recipe(write(tmp_path, recipe.dump())) == recipe


def test_recipes_cannot_be_changed_afterwards() -> None:
    recipe = Recipe(task="sft")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.steps = 3  # type: ignore[misc]
