"""Prefill and steps of decoding are measured as what they are, by a clock that the model's tokens move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import benchmarks.phases
from benchmarks.limit import Costs, Limit, Tokens
from benchmarks.phases import PREFILLED, contexts, measure
from ragr1_lite.core.errors import ConfigError, DataError
from ragr1_lite.models.loading import ModelSpec, load_policy
from ragr1_lite.training.planning.shapes import find_shape
from tests.support.counting import count_instead
from tests.support.tiny import byte_tokenizer, save_byte_model

SHARED, LENGTH = 20, 30
TEXTS = [[*range(SHARED), *([50 + row] * (LENGTH - SHARED))] for row in range(PREFILLED)]


def test_a_step_is_a_token_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(ModelSpec(str(save_byte_model(tmp_path)), dtype="fp32"))
    count_instead(monkeypatch, benchmarks.phases, "tokens")
    embed = policy.model.get_input_embeddings()
    one, ten = torch.zeros(1, dtype=torch.long), torch.zeros(10, dtype=torch.long)
    probes = {"8x8": lambda: embed(one), "4x4": lambda: embed(ten), "reading": lambda: embed(one)}
    monkeypatch.setattr(benchmarks.phases, "probes", lambda *_: probes)
    found = measure(policy, TEXTS, rows=(1, 8, 32), rounds=1)

    different = SHARED + PREFILLED * (LENGTH - SHARED)
    seconds = {name: phase["seconds"] for name, phase in found["phases"].items()}
    assert seconds == {"prefill": different, "decode 1": 1, "decode 8": 8, "decode 32": 32}
    assert {phase["tokens_per_second"] for name, phase in found["phases"].items() if name != "prefill"} == {1}
    assert found["phases"]["prefill"]["tokens_per_second"] == round(PREFILLED * LENGTH / different, 1)

    costs, reached = Costs(find_shape(str(tmp_path)), 4), Limit(2 * 1024 * 64, 2**28)
    seen = sum(range(1, SHARED + 1)) + PREFILLED * sum(range(SHARED + 1, LENGTH + 1))
    prefill = reached.floor([costs.forward(Tokens(different, seen, PREFILLED))])
    assert found["phases"]["prefill"]["floor"] == pytest.approx(prefill, abs=1e-4)
    step = reached.floor([costs.step(Tokens(8, 8 * (LENGTH + 23) // 2 + 8 * LENGTH // 2, 8))])
    assert found["phases"]["decode 8"]["floor"] == pytest.approx(step, abs=1e-4)


def test_a_card_is_refused() -> None:
    with pytest.raises(ConfigError, match="measured on a CPU, and the model is on cuda"):
        benchmarks.phases.require_cpu("cuda")


def test_contexts_are_beginnings_of_one_length() -> None:
    from ragr1_lite.models.tokenizer import ChatTokenizer

    class Words(ChatTokenizer):
        """As short as real ones."""

        def encode(self, text: str) -> list[int]:
            return [len(word) for word in text.split()]

    tokenizer = Words(byte_tokenizer())
    found = contexts(tokenizer, 150)
    assert len(found) == PREFILLED and {len(ids) for ids in found} == {150}
    with pytest.raises(DataError, match="Only 0 trajectories have 5000 tokens"):
        contexts(tokenizer, 5000)
