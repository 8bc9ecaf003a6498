"""A clock that the work of a model moves rather than time, so that a ratio of speeds is the same on every machine."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
import torch


def count_instead(monkeypatch: pytest.MonkeyPatch, benchmark: ModuleType, unit: Literal["tokens", "passes"]) -> None:
    """Lets a benchmark measure the tokens that models compute, or their forward passes, instead of seconds."""
    counted, plain = [0.0], torch.nn.Embedding.forward

    def forward(layer: torch.nn.Embedding, ids: torch.Tensor) -> Any:
        counted[0] += ids.numel() if unit == "tokens" else 1
        return plain(layer, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: counted[0]))
    monkeypatch.setattr(benchmark, "process_clock", lambda: lambda: counted[0])
