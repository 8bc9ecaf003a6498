"""What the training tests share: short questions, a searcher of one passage, recipes of a few steps, and figures read
back from a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ragr1_lite.config import Recipe
from ragr1_lite.core.types import Completion, Example, GoldPlan, Passage, SampleRequest, Step, Tokenizer, Trajectory
from ragr1_lite.data.gold import gold_trajectories
from ragr1_lite.models.loading import Policy, load_policy, model_spec
from ragr1_lite.models.packing import Packing, hidden_states
from ragr1_lite.models.upstream import of_adapter
from ragr1_lite.training import packed_pass

COUNTRIES = ("Chad", "Mali", "Niger", "Kenya", "Ghana", "Togo", "Benin", "Gabon")
EXAMPLES = [Example(f"q{i}", f"Which is larger, {a} or Oman?", (a,)) for i, a in enumerate(COUNTRIES)]
TEMPLATE = "Search, then answer. {question}"


class OnePassage:
    """A searcher that knows one thing about everything."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        return [(Passage("1", query, f"The area of {query} is 1,200 km²."),) for query in queries]


class Script:
    """A sampler that says what ``say(row, turn)`` tells; an end token follows an answer."""

    def __init__(self, tokenizer: Tokenizer, say: Callable[[int, int], str]) -> None:
        self.tokenizer, self._say = tokenizer, say

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        return [self._complete(request) for request in requests]

    def _complete(self, request: SampleRequest) -> Completion:
        turn = self.tokenizer.decode(request.token_ids).count("</information>")
        text = self._say(request.row, turn)
        ids = self.tokenizer.encode(text)
        if text.endswith("</answer>"):
            return Completion((*ids, self.tokenizer.eos_ids[0]), text, "eos")
        return Completion(tuple(ids), text, "stop" if text.endswith("</search>") else "length")


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(
    template: str | None = CHATML,
    *,
    special: Sequence[str] = ("<|im_start|>",),
    added: Sequence[str] = (),
    eos: str | None = "<|im_end|>",
    pad: str | None = "<|endoftext|>",
    bos: str | None = None,
) -> Any:
    """A tokenizer of bytes for a chat template; ``added`` tokens are not special. It adds ``bos`` where it has one."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token=pad, bos_token=bos)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = template
    if bos:
        pair = (bos, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", None, [pair])
    return tokenizer


def save_byte_model(folder: Path, tokenizer: Any = None, hidden_size: int = 64) -> Path:
    """A tiny random Qwen2 whose tokens are bytes: no download, and steps of milliseconds."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tokenizer or byte_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def save_foreign_adapter(model: Path, folder: Path, **options: Any) -> Path:
    """An adapter as others write one: by peft alone, with its ``options``, moved away from zero."""
    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    shape: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    adapted: Any = peft.get_peft_model(base, peft.LoraConfig(**shape | options))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def make_recipe(task: str, folder: Path, output: Path, /, **sections: dict[str, Any]) -> Recipe:
    """A recipe of a few small steps in fp32 and without the long prompt."""
    template = output.parent / "template.txt"
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_text(TEMPLATE, encoding="utf-8")
    defaults: dict[str, dict[str, Any]] = {
        "model": {"name": str(folder), "dtype": "fp32", "engine": "transformers"},
        "lora": {"r": 4, "alpha": 8},
        "rollout": {"template": str(template), "max_new_tokens": 8, "max_length": 512, "max_rounds": 2},
        "train": {"steps": 2, "batch_size": 4, "micro_batch": 2, "warmup_steps": 0, "schedule": "constant_with_warmup"},
        "grpo": {"group_size": 2, "beta": 0.0},
        "data": {},
        "reward": {},
    }
    fields = {name: values | sections.get(name, {}) for name, values in defaults.items()}
    return Recipe.model_validate({"task": task, "output": output, **fields})


def load(recipe: Recipe) -> Policy:
    """The recipe's model with its trainable adapter, the same at every call."""
    torch.manual_seed(0)
    return load_policy(model_spec(recipe), lora=recipe.lora)


def gold(policy: Policy, recipe: Recipe, count: int = 4) -> list[Trajectory]:
    """Trajectories of different lengths: the odd ones answer at once, the even ones search for one or two things."""
    plans = [_plan(number, example) for number, example in enumerate(EXAMPLES[:count])]
    return gold_trajectories(
        EXAMPLES[:count],
        plans,
        policy.tokenizer,
        OnePassage(),
        protocol=recipe.rollout.protocol(),
        limits=recipe.rollout.limits(1),
    )


def _plan(number: int, example: Example) -> GoldPlan:
    queries = (example.answers[0], "Oman")[: 1 + number // 2 % 2]
    steps = () if number % 2 else (Step("Search.", queries),)
    return GoldPlan(steps, "I know.", example.answers[0])


@contextmanager
def final_gradients() -> Iterator[list[list[tuple[tuple[int, ...], torch.Tensor]]]]:
    """Collects, per micro-batch, each row that is read: its ids, and the loss's gradient at its last hidden states.

    A last hidden state takes part in nothing but the prediction of the next token, so its gradient is that one's. What
    rows share has the gradient of all.
    """
    found: list[list[tuple[tuple[int, ...], torch.Tensor]]] = []

    def watched(model: Any, rows: Sequence[Sequence[int]]) -> tuple[Packing, torch.Tensor]:
        packing, states = hidden_states(model, rows)

        def keep(gradient: torch.Tensor) -> None:
            found.append([(tuple(row), gradient[at].clone()) for row, at in zip(rows, packing.places, strict=True)])

        if states.requires_grad:
            states.register_hook(keep)
        return packing, states

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_pass, "hidden_states", watched)
        yield found


def trained_positions(gradient: torch.Tensor) -> list[int]:
    """Positions of the tokens whose prediction was trained, from one row's gradient ``(length, hidden)``."""
    return [i + 1 for i, row in enumerate(gradient) if bool((row != 0).any())]


def log_prob(policy: Policy, trajectory: Trajectory) -> torch.Tensor:
    """Log-probabilities of the model's own tokens, with gradient."""
    model: Any = policy.model
    ids = torch.tensor([trajectory.token_ids])
    scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    chosen = scores.gather(-1, ids[0, 1:, None])[:, 0]
    return chosen[torch.tensor(trajectory.loss_mask[1:], dtype=torch.bool)]


def token_logprobs(
    policy: Policy, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities of a completion's tokens by one plain pass, ``(tokens,)``."""
    model: Any = policy.model
    ids = torch.tensor([[*prompt, *completion]], device=policy.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float() / temperature
    return logits.log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu()


def frozen_hash(policy: Policy) -> str:
    """A digest of every weight but the adapter's."""
    digest = hashlib.sha256()
    for name, weight in sorted(policy.model.named_parameters()):
        if not of_adapter(name):
            digest.update(weight.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def adapter_of(folder: Path) -> dict[str, torch.Tensor]:
    """A saved adapter's weights."""
    return dict(load_file(folder / "adapter_model.safetensors"))


def same_adapter(left: Path, right: Path) -> bool:
    """Whether two saved adapters are equal to the bit."""
    first, second = adapter_of(left), adapter_of(right)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's ``metrics.jsonl``."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
