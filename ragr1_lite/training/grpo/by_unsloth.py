"""What GRPO by unsloth's trainer needs in order to be the GRPO of TRL."""

from __future__ import annotations

from typing import Any

from ragr1_lite.config import GuardConfig
from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report
from ragr1_lite.models import upstream
from ragr1_lite.models.loading import Policy

_PADDING = "<|padding|>"


def prepare(policy: Policy, *, beta: float) -> None:
    """Gives the policy a padding token of its own and, where ``beta`` asks for a KL, the adapter to measure it to.

    Raises:
        ModelError: The tokenizer and the model have no token to spare.
    """
    _choose_padding(policy)
    if beta and "ref" not in policy.model.peft_config:
        upstream.keep_reference(policy.model)


def padding_of(policy: Policy) -> int | None:
    """The id that the trainer takes for padding wherever it stands; None where it goes by the place."""
    return policy.tokenizer.pad_id if policy.engine == "unsloth" else None


def watchable(guard: GuardConfig, report: Report) -> GuardConfig:
    """The guard without what unsloth's trainer does not log, which is reported."""
    if guard.min_entropy:
        report(Notice("unsloth's trainer logs no entropy, so guard.min_entropy is not watched.", "warning"))
    return guard.model_copy(update={"min_entropy": 0.0})


def count_tokens_of_each_pass(trainer: Any) -> Any:
    """Has ``bnpo`` divide by the tokens of a micro-batch, as TRL has it; unsloth's trainer divides by the batch's.

    It does so where it is given their number. Returns the trainer's new ``compute_loss``.
    """
    compute_loss = trainer.compute_loss

    def without_number(model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        return compute_loss(model, inputs | {"num_items_in_batch": None}, *args, **options)

    trainer.compute_loss = without_number
    return without_number


def _choose_padding(policy: Policy) -> None:
    """The trainer takes every token with the padding's id for padding and moves it, so it must be in no turn."""
    tokenizer = policy.tokenizer.hf
    spare = policy.tokenizer.spare_id
    if spare is None:
        rows = policy.model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) >= rows:
            raise ModelError(
                f"{policy.spec.name} has no token to spare, and unsloth knows padding by its token",
                "Set model.engine to transformers.",
            )
        tokenizer.add_special_tokens({"pad_token": _PADDING})
        spare = tokenizer.pad_token_id
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(spare)
