"""A transformers tokenizer for rollouts: text from outside can never become a control token."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice, Report, ignore
from ragr1_lite.files.json_lines import json_of
from ragr1_lite.models.chat_template import give_template, read_frame

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

_PROBE = "A b\n\nc."
_THOUGHT = ("<think>", "</think>")
_CONTROL = re.compile(r"[<\[].+[>\]]")  # how control tokens are written
_TALK = re.compile(r"<[|｜].+[|｜]>|</?tool_\w+>|</?(?:start|end)_of_\w+>|\[/?[A-Z_]+\]")
"""Those with which chats, tools and code are told apart, though many tokenizers do not mark them as special."""
_FILLER = re.compile(r"^(?!.*(image|video|audio)).*(pad|reserved|unused|placeholder)")
"""In the names of control tokens that models do not write."""
_RARE = "\ue123"
"""A character that no vocabulary has: byte by byte it is known to most, and the others call it unknown."""
_TEXT_END = "<|endoftext|>"
"""Ends a text in every family that has it, also where its generation_config.json is lost."""


class ChatTokenizer:
    """Encodes and decodes for one chat model, and says how its turns open and end.

    Args:
        tokenizer: A fast tokenizer; one without a chat template is given a plain one. Trainers take it from ``hf``: it
            recognises special tokens in text, this class does not.
        ends: Ids of further end tokens, as a generation config names them.
        report: Receives a notice where there is no chat template.

    Attributes:
        opening: What the chat's frame has already written of the assistant's turn: an opened ``<think>``, or nothing.
        eos_ids: Ids that end the assistant's turn; the first is the one SFT appends.

    Raises:
        ModelError: The tokenizer is not a fast one, its chat template cannot be used, or there is no end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, ends: Sequence[int] = (), report: Report = ignore) -> None:
        if not tokenizer.is_fast:
            raise ModelError("The model has no fast tokenizer (tokenizer.json)", "Use a model that ships one.")
        self.hf = tokenizer
        if not tokenizer.chat_template:
            name = give_template(tokenizer)
            report(Notice(f"The model has no chat template: questions are put to it in {name}."))
        frame = read_frame(tokenizer)
        self._trims, self.opening = frame.trims, frame.opening
        # Plain text next to the user's is encoded with it: some tokenizers put a space before each text.
        leads, trails = (self._control_tokens(text) for text in (frame.before, frame.after))
        lead, trail = leads[-1][1] if leads else 0, trails[0][0] if trails else len(frame.after)
        self._lead, self._trail = frame.before[lead:], frame.after[:trail]
        self._before, self._after, end = (
            list(tokenizer.encode(text, add_special_tokens=False))
            for text in (frame.before[:lead], frame.after[trail:], frame.end.lstrip())
        )
        self.eos_ids = self._find_eos_ids(end[:1], ends)
        self._plain = _plain_backend(tokenizer.backend_tokenizer, {*self._before, *self._after, *self.eos_ids})

    @classmethod
    def load(cls, folder: Path, report: Report = ignore) -> ChatTokenizer:
        """Loads the tokenizer of a local model folder; raises ModelError when it has none that can be used."""
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            if tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=False)) != _PROBE:
                # Its class is not the one that is named, or made up for a folder without a tokenizer.
                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"{folder} has no tokenizer that can be loaded", "Put tokenizer.json and tokenizer_config.json there."
            ) from error
        return cls(tokenizer, _ends_in(folder), report)

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
        text = self._lead + (user.strip() if self._trims else user) + self._trail
        return [*self._before, *self.encode(text), *self._after]

    @property
    def pad_id(self) -> int:
        """The id that fills batches; any id will do, since padding is masked by position."""
        pad = self.hf.pad_token_id
        return pad if isinstance(pad, int) else self.eos_ids[0]

    @property
    def spare_id(self) -> int | None:
        """The id of a control token that is in no text and in no turn, where there is one.

        Padding that goes by its id has to be such a token: an end token that fills batches ends turns as well.
        """
        hf = self.hf
        control = {i: token.content for i, token in hf.added_tokens_decoder.items() if token.special}
        in_turns = {*self._before, *self._after, *self.eos_ids, hf.bos_token_id}
        if hf.unk_token_id in self._plain.encode(_RARE, add_special_tokens=False).ids:
            in_turns.add(hf.unk_token_id)
        spare = [i for i, content in control.items() if i not in in_turns and content not in _THOUGHT]
        return max(spare, default=None, key=lambda i: (i == hf.pad_token_id, bool(_FILLER.search(control[i])), i))

    def _control_tokens(self, text: str) -> list[tuple[int, int]]:
        """Where a part of the frame has added tokens: their beginnings and ends."""
        encoded = self.hf(text, add_special_tokens=False, return_offsets_mapping=True)
        added = self.hf.added_tokens_decoder
        return [place for i, place in zip(encoded.input_ids, encoded.offset_mapping, strict=True) if i in added]

    def _find_eos_ids(self, turn_end: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
        """The template's end of a turn first: base models name another one, and so do some chat models."""
        added = self.hf.added_tokens_decoder
        text_end = self.hf.get_added_vocab().get(_TEXT_END)
        found = [*(i for i in (*turn_end, *ends) if i in added), self.hf.eos_token_id, text_end]
        ids = tuple(dict.fromkeys(i for i in found if isinstance(i, int)))
        if not ids:
            raise ModelError("The model's tokenizer names no end token", "Set eos_token in its tokenizer_config.json.")
        return ids


def _plain_backend(backend: Backend, frame: Collection[int]) -> Backend:
    """A copy that splits control tokens found in a text like any text, and leaves them out when it decodes.

    Those of the ``frame``, of other turns and of tools are control tokens whether or not they are marked as special;
    the tags of a thought are not, nor is what a tokenizer adds for white space.
    """
    added = backend.get_added_tokens_decoder()
    if any(token.special and token.content in _THOUGHT for token in added.values()):
        fields = json.loads(backend.to_str())  # there is no other way to unmark one
        for token in fields["added_tokens"]:
            token["special"] &= token["content"] not in _THOUGHT
        plain = type(backend).from_str(json.dumps(fields))
    else:
        plain = copy.deepcopy(backend)
    found = [added[i].content for i in frame if i in added and _CONTROL.fullmatch(added[i].content)]
    found += [token.content for token in added.values() if _TALK.fullmatch(token.content)]
    plain.add_special_tokens([token for token in found if token not in _THOUGHT])
    plain.no_padding()
    plain.no_truncation()
    plain.encode_special_tokens = True  # meaning: they are not looked for
    return plain


def _ends_in(folder: Path) -> list[int]:
    """The end tokens that a model's configuration names; none where there is none that can be read."""
    for name in ("generation_config.json", "config.json"):
        try:
            named = json_of((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            continue
        if ids := [i for i in (named if isinstance(named, list) else [named]) if type(i) is int]:
            return ids
    return []
