"""Reads recipes: YAML files, which may extend others. All problems of a recipe are reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ValidationError

from ragr1_lite.config import yaml_text
from ragr1_lite.config.schema import Recipe, name_index, read_text
from ragr1_lite.core.errors import ConfigError


def load_recipe(name: str, overrides: Sequence[str] = (), *, task: Literal["sft", "grpo"] | None = None) -> Recipe:
    """Reads a recipe file or a shipped recipe by its name.

    The name is a path or a shipped recipe's; overrides are ``section.key=value`` strings whose values are YAML.

    Raises:
        ConfigError: The file is missing or no YAML, or fields are wrong; every problem is named.
    """
    path = find_recipe(name)
    fields = recipe_fields(path)
    for override in overrides:
        _override(fields, override)
    recipe = _check(fields, str(path))
    if task is not None and recipe.task != task:
        raise ConfigError(f"{path} is a recipe for `{recipe.task}`", f"Run: ragr1-lite {recipe.task} {name}")
    return recipe


def recipes_folder() -> Path:
    """Where the shipped recipes are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """The files of the shipped recipes by their names."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file of a recipe given by path or by shipped name."""
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_recipes()
    stem = Path(name).name.removesuffix(".yaml")
    if stem in shipped and Path(name).parent in (Path(), Path("recipes")):
        return shipped[stem]
    (like, *_) = [*difflib.get_close_matches(stem, shipped, n=1), "sft-smollm2-135m"]
    raise ConfigError(
        f"There is no recipe {name!r}", f"Give a YAML file, or a name from `ragr1-lite recipes list`, such as {like}."
    )


def recipe_fields(path: Path, heirs: Sequence[Path] = ()) -> dict[str, Any]:
    """What a recipe says, over what the recipes it extends say: sections by their keys, without defaults or `extends`.

    ``heirs`` are those that extend it.

    Raises:
        ConfigError: It or one that it extends is missing or no recipe, or it extends itself in the end.
    """
    family = (*heirs, path)
    if any(path.samefile(one) for one in heirs):
        way = " → ".join(one.name for one in family)
        raise ConfigError(f"{family[0]} extends itself: {way}", "Take one `extends` of these out.")
    fields = _mapping(path)
    base = fields.pop("extends", None)
    return fields if base is None else _extended(recipe_fields(_find_base(base, path), family), fields)


def extends(path: Path) -> bool:
    """Whether a recipe takes over another's keys."""
    return "extends" in _mapping(path)


def _mapping(path: Path) -> dict[str, Any]:
    fields = _yaml(read_text(path, "recipe"), str(path)) or {}
    if not isinstance(fields, dict):
        raise ConfigError(f"{path} is not a recipe", "A recipe is a YAML mapping that begins with `task: sft`.")
    retrieval = name_index(fields.get("retrieval"))
    if isinstance(retrieval, dict):  # by one name in each file, so that one file's replaces another's
        fields["retrieval"] = {key: value for key, value in retrieval.items() if (key, value) != ("index", None)}
    # A section of which every line is commented out is null.
    return {key: value for key, value in fields.items() if value is not None}


def _find_base(name: object, path: Path) -> Path:
    if not isinstance(name, str):
        raise ConfigError(
            f"{path} extends {name!r}, which is no name", "Name one recipe, such as `extends: mine.yaml`."
        )
    for file in (path.parent / name, recipes_folder() / f"{name}.yaml"):
        if file.is_file():
            return file
    raise ConfigError(
        f"{path} extends {name!r}, and there is no such recipe",
        "Give a file's path from that recipe's folder, or a name from `ragr1-lite recipes list`.",
    )


def _extended(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A recipe's fields over its base's: whole values, but sections key by key."""
    sections = {
        name: base[name] | own[name]
        for name in base.keys() & own.keys()
        if isinstance(base[name], dict) and isinstance(own[name], dict)
    }
    return base | own | sections


def _override(fields: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {override!r} has no `=`", "Write --set section.key=value.")
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        fields = fields.setdefault(parent, {})
        if not isinstance(fields, dict):
            raise ConfigError(f"--set {key}: {parent} is not a section", "Write --set section.key=value.")
    fields[leaf] = _yaml(value, f"The value of --set {key}")


def _yaml(text: str, source: str) -> Any:
    """The content of a YAML text; ``source`` names it in errors."""
    try:
        return yaml_text.load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark and "\n" in text else ""
        reason = (getattr(error, "problem", None) or str(error)).partition("\n")[0]
        message = f"{source} is not valid YAML{place}: {reason}"
        raise ConfigError(message, "Correct it, or put the value in quotes.") from None


def _check(fields: dict[str, Any], source: str) -> Recipe:
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors()]
        noun = "problem" if len(problems) == 1 else "problems"
        raise ConfigError(
            f"{source} has {len(problems)} {noun}: {'; '.join(problems)}",
            "Correct the recipe or the --set that names it.",
        ) from None


def _describe(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        message = problem["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
        return f"{path}: {message[0].lower() + message[1:]}{_fix(problem)}" if path else message
    section: type[BaseModel] = Recipe
    for part in problem["loc"][:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    close = difflib.get_close_matches(str(problem["loc"][-1]), list(section.model_fields), n=1)
    return f"unknown key {path}" + (f" (did you mean {close[0]}?)" if close else "")


def _fix(problem: Any) -> str:
    """How to write what YAML reads as something else, in parentheses; empty where that is not what is wrong."""
    match problem["type"], problem["input"]:
        case ("string_type" | "path_type", int() | float()):
            return " (text that looks like a number, or is true or false, stands in quotes)"
        case ("string_type" | "path_type", list()):
            return " (one, not a list)"
        case ("model_type" | "dict_type", str() | int() | float() | list()):
            return " (it has keys of its own, as in {key: value})"
        case ("tuple_type", _):
            return " (write it as a list, as in [one, two])"
    return ""
