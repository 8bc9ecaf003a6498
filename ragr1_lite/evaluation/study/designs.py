"""What each study varies: its arms, as changes to a recipe."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ragr1_lite.core.errors import ConfigError

MOST_QUERIES = 5
_LABEL = re.compile(r"\w[\w .+-]*")
"""It names a file, too."""
_AS_IN = "Write it as in --arm multi:model.adapter=runs/mq/adapter"


@dataclass(frozen=True, slots=True)
class Variant:
    """An arm of a study.

    Attributes:
        label: Its name.
        settings: Changes to the recipe, ``section.key=value``.
        served: Whether its index is searched through a server on this machine, which the study starts.
        missing: What the user has to say first, if anything; until then the arm is named and not run.
    """

    label: str
    settings: tuple[str, ...] = ()
    served: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Design:
    """A study: its name, what it asks, its arms. The first arm is what the others are held against."""

    name: str
    question: str
    arms: tuple[Variant, ...]


STUDIES: Mapping[str, Design] = {
    one.name: one
    for one in (
        Design(
            "single-multi",
            "One query a turn, or several at once?",
            (
                Variant("single", ("rollout.mode=single",)),
                Variant("multi", ("rollout.mode=multi",)),
            ),
        ),
        Design(
            "queries",
            "How many queries at once?",
            tuple(
                Variant(str(number), ("rollout.mode=multi", f"rollout.max_queries={number}"))
                for number in range(1, MOST_QUERIES + 1)
            ),
        ),
        Design(
            "search",
            "Who searches?",
            (
                Variant("bm25"),
                Variant("http", served=True),
                Variant("web", missing="no web search was named: --arm web:retrieval.index=web+brave://"),
            ),
        ),
        Design(
            "models",
            "Which model?",
            (Variant("without adapter", ("model.adapter=null",)), Variant("with adapter")),
        ),
    )
}
"""By name."""


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


def with_arms(design: Design, changes: Sequence[str]) -> Design:
    """The study with changes to its arms, and with arms of the user's own.

    Args:
        design: The study.
        changes: ``LABEL:SECTION.KEY=VALUE`` each; of a label that the study does not have they make an arm.

    Raises:
        ConfigError: A change is of another form.
    """
    arms = {arm.label: arm for arm in design.arms}
    for change in changes:
        label, colon, setting = change.partition(":")
        if not (_LABEL.fullmatch(label) and colon and "=" in setting):
            raise ConfigError(f"--arm {change} is not LABEL:KEY=VALUE", _AS_IN)
        arm = arms.get(label, Variant(label))
        arms[label] = replace(arm, settings=(*arm.settings, setting), missing="")
    return replace(design, arms=tuple(arms.values()))
