"""A model's weights under transformers' own code, where unsloth has put code of its own in its place.

unsloth replaces the ``forward`` of transformers' classes. Its attention knows no rows of different lengths, so
:class:`~.kv_cache.RaggedCache` needs the code that was there before. It is imported once more, and a
second tree of modules is built from it that holds the very layers of the first. So nothing of the model is switched
over for sampling, and nothing has to be switched back.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from types import ModuleType
from typing import Any

from torch.nn import ModuleList

SUFFIX = "_untouched"


def untouched(model: Any) -> Any:
    """The same model by transformers' own classes: linear layers, adapters and parameters are the model's own.

    Args:
        model: A causal language model, with a peft adapter or without.

    Returns:
        A model with a configuration of its own, for passes without gradients.
    """
    from accelerate import init_empty_weights

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    code = _imported_anew(type(base.config).__module__.replace("configuration_", "modeling_"))
    with init_empty_weights(include_buffers=False):
        tree = getattr(code, type(base).__name__)(copy.deepcopy(base.config))
    _adopt(tree, base, code.__name__)
    return tree


def _imported_anew(name: str) -> ModuleType:
    """A module of transformers, as it is on disk."""
    again = name + SUFFIX
    if again not in sys.modules:
        found = importlib.util.find_spec(name)
        assert found is not None and found.origin is not None
        spec = importlib.util.spec_from_file_location(again, found.origin)
        assert spec is not None and spec.loader is not None
        sys.modules[again] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[again])
    return sys.modules[again]


def _adopt(tree: Any, model: Any, code: str) -> None:
    """Gives a tree of empty modules the parameters and layers of the model.

    What has no parameters, as rotary embeddings, is the tree's own.
    """
    for name, child in tree.named_children():
        theirs = getattr(model, name)
        if next(child.parameters(), None) is None:
            child.to(next(model.parameters()).device)
        elif type(child).__module__ == code or isinstance(child, ModuleList):
            _adopt(child, theirs, code)
        else:
            setattr(tree, name, theirs)
    for name, weight in model.named_parameters(recurse=False):
        tree.register_parameter(name, weight)
