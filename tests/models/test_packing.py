"""Packed rows and fused layers against the plain way: the same hidden states, gradients and probabilities."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ragr1_lite.models.fused import fuse_lora, token_logprobs
from ragr1_lite.models.packing import Packing, hidden_states

ROWS = [[5, 6, 7, 8, 9], [5, 6, 7, 1], [5, 6, 7, 8, 2, 3, 4], [9, 9], [5, 6, 7, 8, 9], [5, 6]]
"""They share beginnings, one is there twice, one is another's beginning."""
EXACT = {"rtol": 1e-5, "atol": 1e-5}


def llama(**options: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape, **heads, **options))


def gemma() -> Any:
    """Every other layer sees four tokens."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 4}
    kinds = ["sliding_attention", "full_attention"] * 2
    return Gemma3ForCausalLM(Gemma3TextConfig(vocab_size=40, **shape, **heads, layer_types=kinds))


@pytest.fixture(params=[llama, gemma])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    made = request.param()
    for weight in made.parameters():
        weight.data.normal_(std=0.3)
    return made


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


def test_rows_are_computed_from_where_they_part() -> None:
    packing = Packing.of(ROWS)
    assert len(packing.token_ids) == 11  # 5 6 | 7 1 | 8 2 3 4 | 9 | 9 9
    assert [[packing.token_ids[at] for at in places] for places in packing.places] == ROWS
    assert [[packing.positions[at] for at in places] for places in packing.places] == [[*range(len(r))] for r in ROWS]


def test_hidden_states_and_gradients_are_those_of_each_row_alone(model: Any) -> None:
    torch.manual_seed(1)
    directions = [torch.randn(len(row), 32) for row in ROWS]
    packing, states = hidden_states(model, ROWS)
    packed = [states[places] for places in packing.places]
    sum((part * direction).sum() for part, direction in zip(packed, directions, strict=True)).backward()
    found = gradients(model)
    alone = [model.base_model(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0] for row in ROWS]
    sum((part * direction).sum() for part, direction in zip(alone, directions, strict=True)).backward()
    expected = gradients(model)
    for one, other in zip(packed, alone, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()), msg=name)


def test_the_model_attends_as_before_afterwards(model: Any) -> None:
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    hidden_states(model, ROWS)
    assert torch.equal(model(input_ids=ids).logits, before)


# --- LoRA ----------------------------------------------------------------------------------------------------------


def adapted(dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    import peft

    torch.manual_seed(0)
    base = llama(attention_bias=True).to(dtype)
    base.requires_grad_(False)
    targets = ["q_proj", "v_proj", "down_proj"]
    model = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets, **options))
    for weight in model.parameters():
        weight.data.normal_(std=0.3)
    return model.float() if dtype == torch.float32 else model


def loss_of(model: Any) -> torch.Tensor:
    output: torch.Tensor = model(input_ids=torch.tensor([ROWS[2]])).logits.float().square().mean()
    return output


def both(model: Any) -> Iterator[tuple[float, dict[str, torch.Tensor]]]:
    """Loss and gradients by peft, then by fused layers."""
    for made in (copy.deepcopy(model), model):
        if made is model:
            fuse_lora(made)
        loss = loss_of(made)
        loss.backward()
        yield float(loss.detach()), gradients(made)


def test_fused_lora_is_pefts() -> None:
    (theirs, expected), (ours, found) = both(adapted())
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert len(expected) == 2 * 3 * 3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_fused_lora_computes_in_the_bases_dtype() -> None:
    model = adapted(torch.bfloat16)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    with torch.autocast("cpu", torch.bfloat16):
        (theirs, expected), (ours, found) = both(model)
    assert ours == pytest.approx(theirs, rel=0.02)
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0) > 0.99, name


@pytest.mark.parametrize("case", ["dropout", "merged", "disabled", "two", "eval"])
def test_what_is_not_plain_goes_pefts_way(case: str) -> None:
    model = adapted(lora_dropout=0.5 if case in ("dropout", "eval") else 0.0)
    if case == "two":
        model.add_adapter("other", model.peft_config["default"])
        model.base_model.set_adapter(["default", "other"])
    plain = copy.deepcopy(model)
    fuse_lora(model)
    for made in (plain, model):
        made.train(case != "eval")
        if case == "merged":
            made.merge_adapter()
        elif case == "disabled":
            made.base_model.disable_adapter_layers()
    losses = []
    for made in (plain, model):
        torch.manual_seed(3)
        losses.append(float(loss_of(made).detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


# --- the output layer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("count", [1, 300])  # within a chunk, and over several
def test_token_logprobs_are_log_softmaxes(temperature: float, count: int) -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(count, 16, requires_grad=True), torch.randn(50, 16)
    labels, direction = torch.randint(50, (count,)), torch.randn(count)
    logprobs, entropies, likeliest = token_logprobs(states, weight, labels, temperature)
    (logprobs * direction).sum().backward()
    found = states.grad
    states.grad = None
    every = (states @ weight.t() / temperature).log_softmax(-1)
    expected = every.gather(-1, labels[:, None])[:, 0]
    (expected * direction).sum().backward()
    torch.testing.assert_close(logprobs, expected, **EXACT)
    with torch.no_grad():
        assert torch.equal(token_logprobs(states.detach(), weight, labels, temperature)[0], logprobs)
    torch.testing.assert_close(found, states.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropies, -(every.exp() * every).sum(-1), rtol=1e-4, atol=1e-4)
    assert torch.equal(likeliest, every.argmax(-1) == labels)


def test_no_token_is_no_error() -> None:
    states = torch.zeros(0, 4, requires_grad=True)
    logprobs, _, _ = token_logprobs(states, torch.ones(5, 4), torch.zeros(0, dtype=torch.long))
    logprobs.sum().backward()
    assert states.grad is not None and states.grad.shape == (0, 4)
