"""Which adapter is meant, which run it belongs to, and which model it was made for.

An adapter is named by its run, its folder, a checkpoint, a hub id, or as ``shipped``: whatever loads one asks
:func:`find_adapter`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragr1_lite.config import ALL_LINEAR, SHIPPED, WORLD, LoraConfig, Recipe, load_recipe, shipped_recipes, to_yaml
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.json_lines import json_of, whole_text
from ragr1_lite.models.builtin import BUILT_IN, BY_HUB_ID
from ragr1_lite.models.hub import ADAPTER_CONFIG, ADAPTER_WEIGHTS, fetch_adapter, is_hub_id

SHIPPED_FOLDER = Path(__file__).parent / "adapters"
_BUILT_IN = {hub_id.rpartition("/")[2].lower(): name for hub_id, name in BY_HUB_ID.items()}
"""Built-in names by the last part of their hub ids."""
_UNKNOWN = (
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "megatron_config",
    "use_bdlora",
    "use_qalora",
)
"""Forms of LoRA that change which layers or tokens there are, or name code to import."""
_RECIPE, _PROMPT = "recipe.yaml", "prompt.txt"
_QUANTIZED = re.compile(r"(-unsloth)?-bnb-4bit$")  # what unsloth's copies of a model in 4 bits end in
_SNAPSHOT = re.compile(r"models--([^/]+)--([^/]+)/snapshots/")
"""The place of a hub model in the hub's cache, on whatever machine."""


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A LoRA adapter on this machine; ``config`` is what its adapter_config.json says."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def recipe(self) -> Path | None:
        """The recipe of the run that it lies in, as its adapter or in a checkpoint."""
        places = (above for path in (self.folder.resolve(), self.folder.absolute()) for above in path.parents[:2])
        return next(filter(None, map(recipe_in, places)), None)

    @property
    def run(self) -> Path | None:
        """The folder of that run."""
        return self.recipe.parent if self.recipe else None

    @property
    def made_for(self) -> str:
        """The model it was made for, as its maker named it, but by its hub id where that can be seen; else empty."""
        name = str(self.config.get("base_model_name_or_path") or "")
        snapshot = _SNAPSHOT.search(name.replace("\\", "/"))
        return f"{snapshot[1]}/{snapshot[2]}" if snapshot else name

    def base(self) -> str:
        """The model it was made for, by a name under which it can be had here.

        Raises:
            ModelError: It names none, or a folder that is not here.
        """
        name, key = self.made_for, base_key(self.made_for)
        if not name:
            raise ModelError(
                f"The adapter in {self.folder} does not say which model it was made for",
                "Name that model with --model.",
            )
        if Path(name).expanduser().is_dir():
            return name
        if key in BUILT_IN:
            return key
        if not is_hub_id(name):
            raise ModelError(
                f"The adapter in {self.folder} was made for {name}, which is not on this machine",
                "Name that model with --model.",
            )
        return _QUANTIZED.sub("", name)

    def require_fit(self, model: str, report: Report = ignore) -> None:
        """Raises ModelError where it was made for another model; a notice where its maker's folder says too little."""
        name = self.made_for
        if not name or base_key(name) == base_key(model):
            return
        if Path(model).expanduser().resolve() == self.folder.resolve():
            return
        path = Path(name).expanduser()
        if "\\" in name or (not is_hub_id(name) and "/" in name and not path.exists()):
            text = f"The adapter in {self.folder} was made for {name}, which is not here: taking {model} for that model"
            report(Notice(text, "warning"))
            return
        raise ModelError(
            f"The adapter in {self.folder} was made for {name}, not for {model}",
            f"Use --model {name}; if {model} is that model, write its name as base_model_name_or_path into "
            f"{self.folder / ADAPTER_CONFIG}.",
        )

    def require_trainable(self, lora: LoraConfig, report: Report = ignore) -> None:
        """Raises ModelError where it trains the model's own weights; a notice where its shape is not the recipe's."""
        if self.config.get("bias", "none") != "none":
            raise ModelError(
                f"The adapter in {self.folder} trains the model's own biases (bias={self.config['bias']})",
                "It can be asked; to train, start from another or a fresh one.",
            )
        own = {"r": self.config.get("r"), "alpha": self.config.get("lora_alpha")}
        differ = [
            f"lora.{name} {value}, not {getattr(lora, name)}"
            for name, value in own.items()
            if value not in (None, getattr(lora, name))
        ]
        targets = self.config.get("target_modules")
        if isinstance(targets, list) and ALL_LINEAR not in lora.targets and {*targets} != {*lora.targets}:
            differ.append(f"lora.targets {', '.join(sorted(targets))}, not {', '.join(sorted(lora.targets))}")
        if differ:
            report(Notice(f"The adapter in {self.folder} goes on with its own {'; '.join(differ)} as in the recipe"))

    def paths_of_run(self) -> dict[str, str | list[str]]:
        """What its run's recipe names by relative paths, by the recipe's keys, as seen from here.

        Relative paths are those of the folder in which it was trained, which the run's place and ``output`` give away
        or the run noted when it began.
        """
        if self.run is None:
            return {}
        recipe, run = load_recipe(str(self.recipe)), self.run
        relative = not recipe.output.is_absolute()
        roots = [above for above in run.parents if relative and above / recipe.output.parent == run.parent][:1]
        roots += [Path(noted)] if (noted := _began_in(run)) else []
        named = {
            "model.name": recipe.model.name if recipe.model.name not in BUILT_IN else None,
            "rollout.template": recipe.rollout.template,
        }

        def there(name: str) -> str | None:
            return next((str(root / name) for root in roots if (root / name).exists()), None)

        found: dict[str, str | list[str]] = {
            key: path for key, name in named.items() if name and (path := there(str(name)))
        }
        names = recipe.retrieval.indexes
        indexes = [(name != WORLD and there(name)) or name for name in names]
        if tuple(indexes) != names:
            found["retrieval.index"] = indexes if len(indexes) > 1 else indexes[0]
        return found


def _began_in(run: Path) -> str:
    """The folder in which a run began; empty where it did not note that."""
    try:
        return str(json_of(whole_text(run / "state.json")).get("began_in") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def find_adapter(name: str, model: str, report: Report = ignore) -> AdapterFolder:
    """The adapter that is meant by a run's folder, an adapter's, a file in one of them, a hub id or ``shipped``.

    ``model`` is whose adapter ``shipped`` is; a built-in model's name means the one that ships for it. A hub's adapter
    is fetched where it is not here.

    Raises:
        ModelError: There is none, or it cannot be loaded: another kind than LoRA, or no safetensors.
        StorageError: It cannot be stored.
    """
    if name == SHIPPED or name in BUILT_IN:
        of = model if name == SHIPPED else name
        if (folder := shipped_adapter(of)) is None:
            raise ModelError(f"No adapter ships for {of}", "Name the folder of an SFT run.")
        return _checked(folder)
    path = Path(name).expanduser()
    if not path.exists() and _is_on_hub(name):
        return _checked(fetch_adapter(name, report))
    folder = path.parent if path.is_file() else path
    for found in (folder, folder / "adapter"):
        if (found / ADAPTER_CONFIG).is_file():
            return _checked(found)
    raise _none_in(folder)


def require_adapter(recipe: Recipe) -> AdapterFolder | None:
    """The adapter that a recipe starts from, if it names one and that is here or ships; a hub is not asked.

    Raises:
        ModelError: It is not here, and cannot be on a hub either.
    """
    name = recipe.model.adapter
    if name is None or (_is_on_hub(name) and not Path(name).expanduser().exists()):
        return None
    return find_adapter(name, recipe.model.name)


def adapter_of(model: str) -> Path | None:
    """The adapter that a model is asked with where none is named: the one in its own folder, else the shipped one.

    An exported model has its adapter merged, whatever its folder is called.
    """
    folder = Path(model).expanduser()
    if (folder / ADAPTER_CONFIG).is_file():
        return folder
    return None if recipe_in(folder) else shipped_adapter(model)


def recipe_in(folder: Path) -> Path | None:
    """The recipe in a run's folder, or in an exported model's, which says how that is asked."""
    return file if (file := folder.expanduser() / _RECIPE).is_file() else None


def prompt_in(folder: Path) -> str | None:
    """The file of an exported model's own prompt, if it has one."""
    return str(file) if (file := folder.expanduser() / _PROMPT).is_file() else None


def write_way(recipe: Recipe, folder: Path) -> None:
    """Writes into an exported model's folder how it is asked: no path of this machine."""
    rollout = recipe.rollout.model_dump(mode="json", exclude={"template"})
    if prompt := recipe.rollout.protocol().template:
        (folder / _PROMPT).write_text(prompt, encoding="utf-8")
    way = {"task": recipe.task, "retrieval": {"k": recipe.retrieval.k}, "rollout": rollout}
    (folder / _RECIPE).write_text(to_yaml(way), encoding="utf-8")


def shipped_adapter(model: str) -> Path | None:
    """The adapter that comes with the package for a model, whichever name it goes by."""
    folder = SHIPPED_FOLDER / base_key(model)
    return folder if (folder / ADAPTER_CONFIG).is_file() else None


def trained_models() -> list[str]:
    """The built-in models that an adapter ships for, the smallest first."""
    return [name for name in BUILT_IN if shipped_adapter(name)]


def base_key(name: str) -> str:
    r"""What all names of a base model have in common: the last part, without a quantized copy's suffix.

    >>> base_key("unsloth/Qwen2.5-0.5B-Instruct-bnb-4bit") == base_key("Qwen/Qwen2.5-0.5B-Instruct")
    True
    >>> base_key(r"C:\models\Qwen2.5-0.5B-Instruct") == base_key("Qwen/Qwen2.5-0.5B-Instruct")
    True
    """
    name = name.replace("\\", "/").replace("___", ".")  # as ModelScope writes a dot in its cache
    if snapshot := _SNAPSHOT.search(name):
        name = snapshot[2]
    key = _QUANTIZED.sub("", name.rstrip("/").rpartition("/")[2].lower())
    return _BUILT_IN.get(key, key)


def _is_on_hub(name: str) -> bool:
    """Whether a name that is no path here can be a hub id: ``runs/typo`` is a path in a folder that exists."""
    return is_hub_id(name) and name != SHIPPED and not Path(name).parent.is_dir()


def _checked(folder: Path) -> AdapterFolder:
    """The adapter in a folder, if it is one that can be loaded."""
    path = folder / ADAPTER_CONFIG
    try:
        config = json_of(path.read_text(encoding="utf-8"))
        kind = str(config.get("peft_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read as JSON", "Restore the adapter's folder from its run.") from error
    if kind.upper() != "LORA":
        raise ModelError(f"The adapter in {folder} is of the kind {kind}, not LoRA", "Give a LoRA adapter.")
    if unknown := next(filter(config.get, _UNKNOWN), None):
        raise ModelError(f"The adapter in {folder} is LoRA with {unknown}, which is not known here", "Give another.")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickled = any(folder.glob("*.bin"))
        raise ModelError(
            f"{folder} has {'its weights only as pickle (.bin)' if pickled else f'no {ADAPTER_WEIGHTS}'}",
            "Save the adapter as safetensors, as peft's save_pretrained does."
            if pickled
            else "Copy the file there, or save the adapter again.",
        )
    return AdapterFolder(folder, config)


def _none_in(folder: Path) -> ModelError:
    """That a folder holds no adapter, with the best that can be said of where there is one."""
    if not folder.is_dir():
        problem = f"There is no adapter in {folder}: the folder does not exist"
    elif (folder / "config.json").is_file():
        return ModelError(f"{folder} holds a model and no adapter", "Give it as the model: --model, or model.name.")
    else:
        problem = f"There is no adapter in {folder}"
    made = [path for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{ADAPTER_CONFIG}")]
    if made:
        latest = max(made, key=lambda path: path.stat().st_mtime).parent
        return ModelError(problem, f"Give one that lies below it, such as {latest}.")
    fix = "Give a run's folder, an adapter's, or a hub id such as someone/their-adapter; `shipped` is the model's own."
    for run in (folder, folder.parent):
        if run.name in shipped_recipes() and (maker := load_recipe(run.name)).output == run:
            fix = f"Make it with: ragr1-lite {maker.task} {run.name}"
    return ModelError(problem, fix)
