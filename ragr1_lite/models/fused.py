"""Training's two hot spots as single functions of autograd: a layer with LoRA, and the output layer with its softmax.

Both give what peft and TRL give, for less: TRL multiplies by the output layer three times, and reads the logits some
ten times; peft makes four tensors of the layer's size for each output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ragr1_lite.models import upstream

CHUNK = 128  # tokens whose logits exist at a time


class _LoraLinear(torch.autograd.Function):
    """``x W' + bias + scale x A' B'``; W and bias are frozen, A and B are multiplied in W's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            a, b = a.to(weight.dtype), b.to(weight.dtype)
            inner = rows @ a.t()
            output = linear(rows, weight, bias).addmm_(inner, b.t(), alpha=scale)
        ctx.save_for_backward(rows, inner, weight, a, b)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, inner, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        with torch.autocast(gradient.device.type, enabled=False):
            inwards = gradient @ b
            of_b = (gradient.t() @ inner).mul_(ctx.scale)
            of_a = (inwards.t() @ rows).mul_(ctx.scale)
            of_x = None
            if ctx.needs_input_grad[0]:
                of_x = (gradient @ weight).addmm_(inwards, a, alpha=ctx.scale).view(ctx.shape).to(ctx.dtype)
        return of_x, None, None, of_a.float(), of_b.float(), None


def fuse_lora(model: Any) -> None:
    """Has the model's plain LoRA layers train by one function each.

    What that does not know (dropout, a merged or disabled adapter, several at once) goes peft's way, call by call.
    """
    for layer in upstream.plain_lora_layers(model):
        vars(layer)["forward"] = _lora_forward(layer)


def _lora_forward(layer: Any) -> Callable[..., Tensor]:
    otherwise = type(layer).forward.__get__(layer)

    def forward(x: Tensor, *args: Any, **options: Any) -> Tensor:
        parts = None if args or options or not torch.is_grad_enabled() else upstream.lora_parts(layer)
        if parts is None:
            result: Tensor = otherwise(x, *args, **options)
            return result
        base = layer.get_base_layer()
        output: Tensor = _LoraLinear.apply(x, base.weight, base.bias, *parts)  # type: ignore[no-untyped-call]
        return output

    return forward


class _TokenLogprobs(torch.autograd.Function):
    """Log-probabilities whose gradient is computed with them: of a token's, it is a number times a known vector."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, temperature: float) -> Any:
        count = len(labels)
        logprobs, entropies = (torch.empty(count, device=states.device) for _ in range(2))
        likeliest = torch.empty(count, dtype=torch.bool, device=states.device)
        slopes = torch.empty_like(states, dtype=weight.dtype) if ctx.needs_input_grad[0] else None
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            own = labels[part, None]
            with torch.autocast(states.device.type, enabled=False):
                logits = (states[part].to(weight.dtype) @ weight.t()).float()
                logits = logits.div_(temperature) if temperature != 1 else logits
                whole = logits.logsumexp(-1)
                chosen = logits.gather(-1, own)[:, 0]
                likeliest[part] = chosen == logits.amax(-1)
                logprobs[part] = chosen - whole
                shares = logits.sub(whole[:, None]).exp_()
                entropies[part] = whole - torch.linalg.vecdot(shares, logits)
                if slopes is None:
                    continue
                shares = shares.neg_().scatter_add_(1, own, shares.new_ones(own.shape)).to(weight.dtype)
                torch.mm(shares, weight, out=slopes[part])
        ctx.save_for_backward(slopes)
        ctx.temperature, ctx.dtype = temperature, states.dtype
        ctx.mark_non_differentiable(entropies, likeliest)
        return logprobs, entropies, likeliest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (slopes,) = ctx.saved_tensors
        return (slopes * (gradients[0] / ctx.temperature)[:, None]).to(ctx.dtype), None, None, None


def token_logprobs(
    states: Tensor, weight: Tensor, labels: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Each label's log-probability under ``softmax(states weight' / temperature)``, computed in fp32.

    Args:
        states: Hidden states that predict the labels, ``(tokens, hidden)``.
        weight: Of the output layer, which is frozen, ``(vocabulary, hidden)``.
        labels: Ids, ``(tokens,)``.
        temperature: That of sampling.

    Returns:
        Log-probabilities in nats, which have a gradient; the distributions' entropies in nats, which have none; whether
        the label is the likeliest; ``(tokens,)`` each.
    """
    found: tuple[Tensor, Tensor, Tensor] = _TokenLogprobs.apply(states, weight, labels, temperature)  # type: ignore[no-untyped-call]
    return found
