"""A transformers tokenizer for rollouts: text from outside can never become a control token."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_CONTENT = "\ue000content\ue000"
"""Stands for the user's message while the chat template is rendered; private-use characters, so no template has it."""


class ChatTokenizer:
    """Encodes and decodes for one chat model.

    Args:
        tokenizer: A fast tokenizer with a chat template. Trainers take it from ``hf``: it recognises special tokens in
            text, this class does not.

    Raises:
        ModelError: The tokenizer is not a fast one or has no usable chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.is_fast:
            raise ModelError("The model has no fast tokenizer (tokenizer.json)", "Use a model that ships one.")
        self.hf = tokenizer
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.no_padding()
        self._plain.no_truncation()
        self._plain.encode_special_tokens = True  # meaning: special tokens found in a text are split like any text
        self._before, self._after = self._chat_frame()
        self._eos_ids = self._find_eos_ids()

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Loads the tokenizer of a local model folder; raises ModelError when it has none."""
        from transformers import AutoTokenizer

        try:
            return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{folder} has no tokenizer that can be loaded", "Put tokenizer.json and tokenizer_config.json there."
            ) from error

    def encode(self, text: str) -> list[int]:
        """Encodes text as it is: ``<|im_end|>`` in a retrieved passage becomes ordinary tokens.

        Qwen3's ``<think>`` is an added token that is not special, so it is still one id.
        """
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decodes ids, leaving out special tokens. Bytes that are no whole character become U+FFFD."""
        text: str = self._plain.decode(list(token_ids), skip_special_tokens=True)
        return text

    def render_chat(self, user: str) -> list[int]:
        """Ids of a chat with one user message, up to where the assistant begins to write."""
        return [*self._before, *self.encode(user), *self._after]

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end the assistant's turn; the first is the one SFT appends."""
        return self._eos_ids

    @property
    def pad_id(self) -> int:
        """The id that fills batches; any id will do, since padding is masked by position."""
        pad = self.hf.pad_token_id
        return pad if isinstance(pad, int) else self._eos_ids[0]

    def _chat_frame(self) -> tuple[list[int], list[int]]:
        hint = "Use an instruct model, or one with a chat template in its tokenizer_config.json."
        if not self.hf.chat_template:
            raise ModelError("The model's tokenizer has no chat template", hint)
        chat = [{"role": "user", "content": _CONTENT}]
        parts = str(self.hf.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)).split(_CONTENT)
        if len(parts) != 2:
            raise ModelError("The model's chat template does not show the user's message exactly once", hint)
        before, after = (list(self.hf.encode(part, add_special_tokens=False)) for part in parts)
        return before, after

    def _find_eos_ids(self) -> tuple[int, ...]:
        """ChatML's end first where the model has it: base models name ``<|endoftext|>`` as their end token."""
        vocabulary = self.hf.get_added_vocab()
        names = ("<|im_end|>", self.hf.eos_token, "<|endoftext|>")
        ids = (vocabulary.get(name) if name != self.hf.eos_token else self.hf.eos_token_id for name in names)
        found = tuple(dict.fromkeys(i for i in ids if isinstance(i, int)))
        if not found:
            raise ModelError("The model's tokenizer names no end token", "Set eos_token in its tokenizer_config.json.")
        return found
