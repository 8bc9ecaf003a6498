"""What each study varies: its variants, as changes to a recipe."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ragr1_lite.core.errors import ConfigError

MOST_QUERIES = 5
_LABEL = re.compile(r"\w[\w .+-]*")
"""It names a file, too."""


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A variant of a study.

    Attributes:
        label: Its name.
        settings: Changes to the recipe, ``section.key=value``.
        served: Whether its index is searched through a server on this machine, which the study starts.
        missing: What the user has to name first, if anything; until then the variant is not run.
    """

    label: str
    settings: tuple[str, ...] = ()
    served: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Design:
    """A study: its name, what it asks, its variants. The others are compared with the first variant."""

    name: str
    question: str
    variants: tuple[VariantSpec, ...]


_SINGLE_MULTI = (VariantSpec("single", ("rollout.mode=single",)), VariantSpec("multi", ("rollout.mode=multi",)))
_QUERIES = (
    VariantSpec(str(number), ("rollout.mode=multi", f"rollout.max_queries={number}"))
    for number in range(1, MOST_QUERIES + 1)
)
_SEARCH = (
    VariantSpec("bm25"),
    VariantSpec("http", served=True),
    VariantSpec("web", missing="no web search was named: --variant web:retrieval.index=web+brave://"),
)
_MODELS = (VariantSpec("without adapter", ("model.adapter=null",)), VariantSpec("with adapter"))
STUDIES: Mapping[str, Design] = {
    "single-multi": Design("single-multi", "One query a turn, or several at once?", _SINGLE_MULTI),
    "queries": Design("queries", "How many queries at once?", tuple(_QUERIES)),
    "search": Design("search", "Who searches?", _SEARCH),
    "models": Design("models", "Which model?", _MODELS),
}


def find_design(name: str) -> Design:
    """The study of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(STUDIES)}."
        raise ConfigError(f"There is no study {name}", hint)
    return STUDIES[name]


def with_variants(design: Design, changes: Sequence[str]) -> Design:
    """The study with changes to its variants, and with variants of the user's own.

    A change is ``LABEL:SECTION.KEY=VALUE``; a label that the study does not have makes a new variant.

    Raises:
        ConfigError: A change is of another form.
    """
    variants = {one.label: one for one in design.variants}
    for change in changes:
        label, colon, setting = change.partition(":")
        if not (_LABEL.fullmatch(label) and colon and "=" in setting):
            hint = "Write it as in --variant multi:model.adapter=runs/mq/adapter"
            raise ConfigError(f"--variant {change} is not LABEL:KEY=VALUE", hint)
        spec = variants.get(label, VariantSpec(label))
        variants[label] = replace(spec, settings=(*spec.settings, setting), missing="")
    return replace(design, variants=tuple(variants.values()))
