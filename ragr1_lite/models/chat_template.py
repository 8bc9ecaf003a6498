"""What a chat template says: the text around a user's message, what the assistant's turn opens with, and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragr1_lite.core.errors import ModelError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_USER, _SAID = "\ue000Content:\n<b>1</b>\ue000", "\ue000Said\ue000"
"""Stand for the messages while a template is rendered: private-use characters, and what a template may alter."""
_EDGE = "\t"  # around the user's message; what trims the message takes it away
_SYSTEM = "You are a helpful assistant."  # for templates that refuse a conversation without a system message
_OPENED = re.compile(r"<think>\s*$")
_NO_THOUGHT = re.compile(r"<think>\s*</think>\s*$")

_LOOP = "{{% for message in messages %}}{turn}{{% endfor %}}{{% if add_generation_prompt %}}{open}{{% endif %}}"
_CHATML = _LOOP.format(
    turn="<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n", open="<|im_start|>assistant\n"
)
_GEMMA = "{{ bos_token }}" + _LOOP.format(
    turn="<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content }}<end_of_turn>\n",
    open="<start_of_turn>model\n",
)
_PLAIN = _LOOP.format(
    turn="{{ message.role | capitalize }}:\n{{ message.content }}"
    "{{ eos_token if message.role == 'assistant' else '\n\n' }}",
    open="Assistant:\n",
)


@dataclass(frozen=True, slots=True)
class Frame:
    """The text around a user's message."""

    before: str  # what precedes it
    after: str  # what follows, up to where the assistant begins to write
    opening: str  # ``<think>`` at the end of ``after``: the turn begins with it, unwritten by the model
    end: str  # what follows an assistant's message, as far as the template shows that
    trims: bool  # whether the message loses white space around it


def give_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """Gives a base model's tokenizer, which has no template, the one that fits its tokens, and returns its name."""
    known = tokenizer.get_added_vocab()
    if "<|im_start|>" in known and "<|im_end|>" in known:
        tokenizer.chat_template, name = _CHATML, "ChatML"
    elif "<start_of_turn>" in known and "<end_of_turn>" in known:
        tokenizer.chat_template, name = _GEMMA, "Gemma's turns"
    else:
        tokenizer.chat_template, name = _PLAIN, "plain text, User: … Assistant: …"
    begin = tokenizer("").input_ids[:1]
    if tokenizer.chat_template != _GEMMA and begin and begin[0] == tokenizer.bos_token_id:
        tokenizer.chat_template = "{{ bos_token }}" + str(tokenizer.chat_template)
    return name


def read_frame(tokenizer: PreTrainedTokenizerFast) -> Frame:
    """Renders conversations by the template and looks at what stands around their messages.

    A conversation of a user's message alone comes first, then one with a system message, for templates that want it.

    Raises:
        ModelError: The template refuses all of them, or does not show the user's message once and as it is.
    """
    problems = []
    for chat in _conversations():
        try:
            frame = _frame_of(tokenizer, chat)
        except Exception as error:  # a template raises what it likes
            problems.append(f"refuses the conversation: {first_line(error)}")
        else:
            if frame is not None:
                return frame
            problems.append("does not show the user's message exactly once and as it is")
    raise ModelError(
        f"The model's chat template {problems[0]}",
        "Fix the template in the model's folder (chat_template.jinja or tokenizer_config.json), or use another model.",
    )


def _conversations() -> Iterator[list[dict[str, Any]]]:
    """The same message, without and with a system message, as text and as a list of parts."""
    said = f"{_EDGE}{_USER}{_EDGE}"
    for wrap in (str, _as_parts):
        user = {"role": "user", "content": wrap(said)}
        yield [user]
        yield [{"role": "system", "content": wrap(_SYSTEM)}, user]


def _as_parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _frame_of(tokenizer: PreTrainedTokenizerFast, chat: list[dict[str, Any]]) -> Frame | None:
    """The frame; None where the user's message is not there exactly once."""
    prompt, unprompted = (_render(tokenizer, chat, prompted=prompted) for prompted in (True, False))
    head, end = _around_answer(tokenizer, chat)
    if prompt == unprompted and head.startswith(prompt) and head[len(prompt) :].strip():
        prompt = head  # the template knows no generation prompt, but opens an assistant's turn
    parts = prompt.split(_USER)
    if len(parts) != 2:
        return None
    before, after = parts
    trims = not (before.endswith(_EDGE) and after.startswith(_EDGE))
    # A model that an empty thought keeps from thinking would write a second one, as the protocol asks it to.
    after = _NO_THOUGHT.sub("", after.removeprefix(_EDGE))
    opened = _OPENED.search(after)
    return Frame(before.removesuffix(_EDGE), after, opened[0] if opened else "", end, trims)


def _around_answer(tokenizer: PreTrainedTokenizerFast, chat: list[dict[str, Any]]) -> tuple[str, str]:
    """What precedes and what follows an assistant's answer; nothing where the template does not show it."""
    wrap = str if isinstance(chat[-1]["content"], str) else _as_parts
    try:
        text = _render(tokenizer, [*chat, {"role": "assistant", "content": wrap(_SAID)}], prompted=False)
    except Exception:  # the question alone is enough for a prompt
        return "", ""
    parts = text.split(_SAID)
    return (parts[0], parts[1]) if len(parts) == 2 else ("", "")


def _render(tokenizer: PreTrainedTokenizerFast, chat: list[dict[str, Any]], *, prompted: bool) -> str:
    """The conversation as text; templates with a switch for thinking, such as Qwen3's, have it on."""
    return str(
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompted, enable_thinking=True)
    )
