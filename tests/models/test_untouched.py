"""A model's weights under transformers' own code, whatever was put in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ragr1_lite.models.untouched import untouched
from tests.support import tiny

IDS = torch.arange(5, 25)[None]


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """With an adapter."""
    folder = tiny.save_byte_model(tmp_path / "tiny-byte")
    policy = tiny.load(tiny.make_recipe("sft", folder, tmp_path / "run"))
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.1)
    return policy.model.eval()


def test_it_computes_what_the_model_did(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        before = model(input_ids=IDS).logits

        def replaced(*_: object, **__: object) -> None:
            raise NotImplementedError

        for part in (model.get_base_model(), model.get_base_model().model, model.get_base_model().model.layers[0].mlp):
            monkeypatch.setattr(type(part), "forward", replaced)
        with pytest.raises(NotImplementedError):
            model(input_ids=IDS)
        assert torch.equal(untouched(model)(input_ids=IDS).logits, before)


def test_weights_are_the_models_own(model: Any) -> None:
    tree = untouched(model)
    assert {id(weight) for weight in tree.parameters()} == {id(weight) for weight in model.parameters()}
    with torch.no_grad():
        before = tree(input_ids=IDS).logits
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.mul_(2)
        assert not torch.equal(tree(input_ids=IDS).logits, before), "it follows the training"


def test_modes_and_configuration_stay(model: Any) -> None:
    model.train()
    tree = untouched(model)
    assert all(module.training for module in model.modules())
    assert tree.config is not model.config
