"""YAML as people mean it in a recipe, which is that of version 1.2: PyYAML's own is of 1.1.

=====================  ==================  ============
written                by YAML 1.1         here
=====================  ==================  ============
``2026-11-01``         a date              text
``no``, ``off``        false               text, which is false where a truth is wanted
``010``                8                   10
``12:30:00``           45000               text
``2026_11_01``         20261101            text
``1e-4``               text                a number
``none``               text                nothing, as on the command line
a key twice            the last one        an error
=====================  ==================  ============
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_ENDLESS = r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_MOST_ALIASES = 20
_PREFIX = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", rf"{_NUMBER}|{_ENDLESS}", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|none|None|NONE|", ("~", "n", "N", "")),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}
    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Aliases of what holds aliases unfold to more than any memory."""
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.aliases > _MOST_ALIASES:
            raise yaml.composer.ComposerError(None, None, f"there are more than {_MOST_ALIASES} aliases")
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                twice = f"the key {key.value} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
            seen.add(name)
        return node

    def construct_scalar(self, node: Any) -> Any:
        """No path, name or template holds the character 0."""
        if "\0" in str(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a text holds the character 0", node.start_mark)
        return super().construct_scalar(node)

    def construct_whole(self, node: Any) -> int:
        """A number with zeros before it is a decimal one."""
        return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what would be no text by either version."""


for _kind, _pattern, _first in _RESOLVERS:
    _compiled = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(_PREFIX + _kind, _compiled, _first)
    _Dumper.add_implicit_resolver(_PREFIX + _kind, _compiled, _first)
_Loader.add_constructor(f"{_PREFIX}int", _Loader.construct_whole)


def load(text: str) -> Any:
    """The content of a YAML text; raises YAMLError where it is none."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def dump(fields: dict[str, Any]) -> str:
    """A mapping as YAML, its keys in order, that :func:`load` and YAML 1.1 read back equal."""
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
