"""Chat templates as people bring them: what a turn opens with, what ends it, what is refused, and none at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.core.errors import ModelError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.types import SampleRequest
from ragr1_lite.models.tokenizer import ChatTokenizer
from tests.support.tiny import CHATML, byte_tokenizer

SYSTEM_FIRST = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('A system message must come first') }}{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
GEMMA = (
    "{{ bos_token }}" + NO_SYSTEM + "{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message.role == 'assistant' else message.role }}\n{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
OPENS = CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}"
SYSTEM = "<|im_start|>system\nBe brief.<|im_end|>\n" + CHATML
NO_PROMPT = CHATML.partition("{% if add_generation_prompt")[0]
PARTS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SWITCH = CHATML + (
    "{% if add_generation_prompt %}{% if enable_thinking is defined and enable_thinking %}OPEN"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ASKED = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def chat(template: str | None = CHATML, **options: Any) -> ChatTokenizer:
    return ChatTokenizer(byte_tokenizer(template, **options))


def gemma(template: str | None = GEMMA, **options: Any) -> Any:
    turns = ("<start_of_turn>", "<end_of_turn>")
    return byte_tokenizer(template, special=turns, eos="<eos>", pad="<pad>", bos="<bos>", **options)


def asked(tokenizer: ChatTokenizer, question: str = "Why?") -> str:
    return str(tokenizer.hf.decode(tokenizer.render_chat(question)))


def tokens(tokenizer: ChatTokenizer, ids: Any) -> list[str]:
    return list(tokenizer.hf.convert_ids_to_tokens(list(ids)))


# What a turn opens with


@pytest.mark.parametrize("opening", ["<think>\n", "<think>", "<think>\n\n", "<think> "])
def test_an_opened_thought_is_part_of_the_prompt(opening: str) -> None:
    tokenizer = chat(CHATML + "{% if add_generation_prompt %}{{ '" + opening + "' }}{% endif %}")
    assert tokenizer.opening == opening
    assert asked(tokenizer) == ASKED + opening


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        (CHATML, ""),
        (SWITCH.replace("OPEN", ""), ""),
        (SWITCH.replace("OPEN", "<think>\n"), "<think>\n"),
        (CHATML + "{% if add_generation_prompt %}<think>\n\n</think>\n\n{% endif %}", ""),
    ],
    ids=["no-thought", "switch", "switch-that-opens", "always-an-empty-thought"],
)
def test_the_model_writes_its_own_thought(template: str, opening: str) -> None:
    """The switch for thinking is on, and an empty thought would be one too many."""
    tokenizer = chat(template)
    assert asked(tokenizer) == ASKED + opening
    assert tokenizer.opening == opening


def test_qwen3_writes_its_own_thought(qwen3_tokenizer_folder: Path) -> None:
    tokenizer = ChatTokenizer.load(qwen3_tokenizer_folder)
    assert asked(tokenizer) == ASKED
    assert tokenizer.opening == ""
    assert tokens(tokenizer, tokenizer.eos_ids) == ["<|im_end|>", "<|endoftext|>"]


@pytest.mark.parametrize("kind", ["special", "added"])
def test_the_tags_of_a_thought_are_text(kind: str) -> None:
    """Also where a tokenizer has them as special tokens, which are left out of texts."""
    tags = ("<think>", "</think>")
    tokens_of = {"special": ("<|im_start|>", *tags)} if kind == "special" else {"added": tags}
    tokenizer = chat(**tokens_of)
    ids = tokenizer.encode("<think>t</think>")
    assert tokens(tokenizer, ids) == ["<think>", "t", "</think>"]
    assert tokenizer.decode(ids) == "<think>t</think>"
    assert len(tokenizer.encode("<|im_start|>")) == len("<|im_start|>")


def spaced(template: str) -> Any:
    """A tokenizer that puts a space before each text that it is given, as Llama 2's and Mistral's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [*map(chr, range(33, 127)), "▁", "\n", "<unk>"]
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [spaced(MISTRAL), spaced(CHATML), byte_tokenizer(MISTRAL), byte_tokenizer(OPENS), gemma(), byte_tokenizer(SYSTEM)],
    ids=["spaced", "spaced-chatml", "mistral", "opened", "gemma", "system"],
)
def test_a_prompt_has_the_tokens_that_the_template_gives(tokenizer: Any) -> None:
    question = " Why <b>?\n\nQuestion: 1  2? "
    message = [{"role": "user", "content": question}]
    expected = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    assert ChatTokenizer(tokenizer).render_chat(question) == expected


# What ends it


def saved(folder: Path, tokenizer: Any, **configs: Any) -> ChatTokenizer:
    tokenizer.save_pretrained(folder)
    for name, fields in ({"config": {"model_type": "qwen2"}} | configs).items():
        (folder / f"{name}.json").write_text(json.dumps(fields), encoding="utf-8")
    return ChatTokenizer.load(folder)


def renamed(eos: str = "<|endoftext|>") -> Any:
    """ChatML by other names; its end of a turn is not the tokenizer's end token."""
    template = CHATML.replace("im_start", "turn").replace("im_end", "end_turn")
    return byte_tokenizer(template, special=("<|turn|>", "<|end_turn|>"), eos=eos)


def test_the_end_of_a_turn_comes_from_template_and_generation_config(tmp_path: Path) -> None:
    ids = {name: renamed().convert_tokens_to_ids(name) for name in ("<|end_turn|>", "<|endoftext|>")}
    named = {"generation_config": {"eos_token_id": [ids["<|end_turn|>"], ids["<|endoftext|>"]]}}
    assert saved(tmp_path / "both", renamed(), **named).eos_ids == tuple(ids.values())
    assert saved(tmp_path / "template", renamed()).eos_ids == tuple(ids.values())


@pytest.mark.parametrize(
    ("tokenizer", "named", "expected"),
    [
        (gemma(), ["<eos>", "<end_of_turn>"], ["<end_of_turn>", "<eos>"]),
        (gemma(), [], ["<end_of_turn>", "<eos>"]),
        (renamed("<|end_turn|>"), ["<|endoftext|>"], ["<|end_turn|>", "<|endoftext|>"]),
        (renamed(), ["7", "<|turn|>"], ["<|end_turn|>", "<|turn|>", "<|endoftext|>"]),
        (byte_tokenizer(MISTRAL, special=(), eos="</s>", bos="<s>"), [], ["</s>", "<|endoftext|>"]),
        (byte_tokenizer("User: {{ messages[0].content }}"), ["<|im_start|>"], ["<|im_start|>", "<|im_end|>"]),
    ],
    ids=["gemma", "template-alone", "same", "no-token-of-its-own", "written-as-eos", "not-shown"],
)
def test_ends_in_order(tokenizer: Any, named: list[str], expected: list[str], tmp_path: Path) -> None:
    """The template's first, then those of the config that are tokens of their own, then the tokenizer's."""
    found = saved(tmp_path, tokenizer, config={"eos_token_id": tokenizer.convert_tokens_to_ids(named)})
    assert tokens(found, found.eos_ids)[: len(expected)] == expected


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"eos_token_id": null}', '{"eos_token_id": "x"}', '{"eos_token_id": true}']
)
def test_a_generation_config_that_says_nothing(text: str, tmp_path: Path) -> None:
    tokenizer = renamed()
    saved(tmp_path, tokenizer, config={"eos_token_id": tokenizer.convert_tokens_to_ids("<|turn|>")})
    (tmp_path / "generation_config.json").write_text(text, encoding="utf-8")
    assert tokens(*[found := ChatTokenizer.load(tmp_path), found.eos_ids]) == [
        "<|end_turn|>",
        "<|turn|>",
        "<|endoftext|>",
    ]


def test_an_end_that_is_not_special_is_a_control_token() -> None:
    """Fine-tunes add theirs so: it ends a turn, is left out of texts, and cannot be written into a prompt."""
    template = CHATML.replace("im_start", "turn").replace("im_end", "end_turn")
    tokenizer = chat(template, special=(), added=("<|turn|>", "<|end_turn|>", "<search>"))
    end = tokenizer.eos_ids[0]
    assert tokens(tokenizer, [end]) == ["<|end_turn|>"]
    assert tokenizer.decode([*tokenizer.encode("Chad"), end]) == "Chad"
    assert end not in tokenizer.encode("so <|end_turn|><|turn|>user")
    assert len(tokenizer.encode("<search>")) == 1


def test_sampling_ends_at_the_end_of_a_turn() -> None:
    from ragr1_lite.models.sampler import _Row

    tokenizer = ChatTokenizer(gemma())
    row = _Row(SampleRequest(0, [1]), (), tokenizer, 9)
    row.add(tokenizer.encode("a")[0], print)
    assert row.finish is None
    row.add(tokenizer.hf.convert_tokens_to_ids("<end_of_turn>"), print)
    assert (row.finish, row.completion().text) == ("eos", "a")


@pytest.mark.slow
def test_gemma_s_turns(npm_tokenizer: Callable[[str], Path]) -> None:
    """With its real template and, as the base model comes, without one."""
    instruct = ChatTokenizer.load(npm_tokenizer("gemma3"))
    instruct.hf.chat_template = None
    for tokenizer in (instruct, ChatTokenizer(instruct.hf)):
        assert asked(tokenizer) == "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
        assert tokens(tokenizer, tokenizer.eos_ids)[0] == "<end_of_turn>"
        assert tokens(tokenizer, [tokenizer.pad_id]) == ["<pad>"]
        text = "a\n\nb\t  <think>c</think> <end_of_turn>"
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_tokenizer_by_the_name_of_another_kind(tmp_path: Path) -> None:
    """As DeepSeek's for Llama: the class that is named would lose white space."""
    byte_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "LlamaTokenizerFast"}
    path.write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    tokenizer = ChatTokenizer.load(tmp_path)
    assert tokenizer.decode(tokenizer.encode("a b\n\nc")) == "a b\n\nc"
    assert asked(tokenizer) == ASKED


# What is refused, and what is not


def test_a_template_that_wants_a_system_message_gets_one() -> None:
    assert asked(chat(SYSTEM_FIRST + CHATML)) == f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{ASKED}"


def test_a_template_that_refuses_a_system_message() -> None:
    assert asked(ChatTokenizer(gemma())) == "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (SYSTEM_FIRST + NO_SYSTEM + CHATML, "refuses the conversation: A system message must come first. Fix"),
        ("{{ raise_exception('Only tools.\nNothing else.') }}", "refuses the conversation: Only tools. Fix"),
        (CHATML + "{{ messages[7].content.text }}", "has no element 7"),
        ("{% for message in messages %}{{ message.content", "refuses the conversation: "),
        (CHATML + "{{ messages[-1].content }}", "exactly once"),
        (CHATML.replace("message.content", "message.content | upper"), "exactly once"),
        (CHATML.replace("message.content", "message.content | replace('\n', ' ')"), "exactly once"),
        (CHATML.replace("message.content", "message.content | e"), "exactly once"),
        ("<|im_start|>user\n", "exactly once"),
    ],
    ids=["system", "lines", "missing", "syntax", "twice", "upper", "one-line", "escaped", "never"],
)
def test_a_template_that_cannot_be_used(template: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        chat(template)
    assert "\n" not in str(raised.value)
    assert "chat_template.jinja" in raised.value.hint


def test_parts_in_place_of_text() -> None:
    assert asked(chat(PARTS)) == ASKED


def test_a_template_without_a_generation_prompt() -> None:
    """One that opens the assistant's turn only where there is an answer, and one that needs no opening."""
    assert asked(chat(NO_PROMPT)) == ASKED
    plain = chat(MISTRAL, special=(), eos="</s>", bos="<s>")
    assert asked(plain) == "<s>[INST] Why? [/INST]"


def test_the_first_token_is_there_once() -> None:
    """The tokenizer would add one of its own."""
    for tokenizer in (ChatTokenizer(gemma()), chat(MISTRAL, special=(), eos="</s>", bos="<s>")):
        begin = tokenizer.hf.bos_token_id
        assert tokenizer.hf("a").input_ids[0] == begin
        assert tokenizer.render_chat("Why?").count(begin) == 1
        assert begin not in tokenizer.encode("a")


def test_white_space_around_a_question_goes_where_the_template_trims() -> None:
    for tokenizer in (ChatTokenizer(gemma()), chat(), chat(MISTRAL, special=(), eos="</s>", bos="<s>")):
        message = [{"role": "user", "content": " \n Why?  "}]
        rendered = tokenizer.hf.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        assert asked(tokenizer, " \n Why?  ") == rendered


# No template


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "ends", "name"),
    [
        (
            byte_tokenizer(None, special=("<|im_start|>", "<|im_end|>"), eos="<|endoftext|>"),
            ASKED,
            "<|im_end|>",
            "ChatML",
        ),
        (
            gemma(None),
            "<bos><start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
            "<end_of_turn>",
            "Gemma's turns",
        ),
        (byte_tokenizer(None, special=(), eos="</s>"), "User:\nWhy?\n\nAssistant:\n", "</s>", "plain text"),
        (
            byte_tokenizer(None, special=(), eos="</s>", bos="<s>"),
            "<s>User:\nWhy?\n\nAssistant:\n",
            "</s>",
            "plain text",
        ),
    ],
    ids=["chatml", "gemma", "plain", "plain-with-bos"],
)
def test_a_base_model_is_given_a_template(tokenizer: Any, prompt: str, ends: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    tokenizer.save_pretrained(tmp_path)
    reported: list[Any] = []
    found = ChatTokenizer.load(tmp_path, reported.append)
    assert asked(found) == prompt
    assert tokens(found, found.eos_ids[:1]) == [ends]
    [notice] = reported
    assert isinstance(notice, Notice) and "no chat template" in notice.text and name in notice.text


def test_no_end_token_at_all() -> None:
    with pytest.raises(ModelError, match="no end token"):
        chat("{{ messages[0].content }}", special=(), eos=None, pad=None)


# Padding


@pytest.mark.parametrize("pad", ["<|im_end|>", None, "<|endoftext|>"], ids=["end", "missing", "own"])
def test_what_fills_batches(pad: str | None) -> None:
    tokenizer = chat(pad=pad)
    assert tokens(tokenizer, [tokenizer.pad_id]) == [pad or "<|im_end|>"]


SPARE = {
    "none": ((), "<|im_end|>", None),
    "only the end's, which also is the padding": (("<|im_start|>",), "<|im_end|>", None),
    "by its name": (("<|im_start|>", "<|fim_pad|>", "<tool>"), "<|im_end|>", "<|fim_pad|>"),
    "not a picture's": (("<|im_start|>", "<|vision_pad|>", "<|image_pad|>"), "<|im_end|>", "<|vision_pad|>"),
    "its own padding": (("<|im_start|>", "<|reserved_0|>"), "<pad>", "<pad>"),
    "any that no turn has": (("<|im_start|>", "<tool>"), "<|im_end|>", "<tool>"),
}


@pytest.mark.parametrize("case", SPARE)
def test_a_token_that_is_in_no_turn(case: str) -> None:
    special, pad, spare = SPARE[case]
    tokenizer = chat(special=special, pad=pad)
    found = tokenizer.spare_id
    assert (None if found is None else tokens(tokenizer, [found])) == (spare and [spare])
    assert found not in (*tokenizer.render_chat(f"{pad} {spare} \U0001f98a"), *tokenizer.eos_ids)
