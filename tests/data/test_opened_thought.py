"""A chat template that has already written ``<think>``: it is there once, and masks, rewards and views agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Assistant
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rewards import score
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Example, GoldPlan, SampleRequest, Step, Trajectory
from ragr1_lite.data.gold import gold_trajectories
from ragr1_lite.data.targets import samples, to_row
from ragr1_lite.data.trajectories import write_records
from ragr1_lite.data.viewing import view
from ragr1_lite.models.tokenizer import ChatTokenizer
from ragr1_lite.training.sft import IGNORED, to_features
from tests.support.scripted import ScriptedSearcher
from tests.support.tiny import CHATML, TEMPLATE, byte_tokenizer

OPENS = CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}"
PROTOCOL = Protocol(template=TEMPLATE)
EXAMPLE = Example("chad", "What is the capital of Chad?", ("N'Djamena",))
PLAN = GoldPlan((Step("I need it.", ("capital of Chad",)),), "Found.", "N'Djamena")
SEARCH, ANSWER = "<think>I need it.</think><search>capital of Chad</search>", "<think>Found.</think><answer>N'Djamena"


@pytest.fixture(scope="module", params=["bytes", "tokens"])
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    return ChatTokenizer(byte_tokenizer(OPENS, added=("<think>", "</think>") if request.param == "tokens" else ()))


class Says:
    """A sampler that says its lines, one a turn, with an end token after those that need no stop."""

    def __init__(self, tokenizer: ChatTokenizer, *lines: str) -> None:
        self.tokenizer, self._lines = tokenizer, iter(lines)

    def sample(self, requests: Sequence[SampleRequest], **_: Any) -> list[Completion]:
        line = next(self._lines)
        return [Completion(tuple(self.tokenizer.encode(line)), line, "stop")]


def rolled(tokenizer: ChatTokenizer, *lines: str) -> Trajectory:
    sampler, limits = Says(tokenizer, *lines), Limits()
    [trajectory] = run_rollouts([EXAMPLE], sampler, ScriptedSearcher(), protocol=PROTOCOL, limits=limits)
    return trajectory


def gold(tokenizer: ChatTokenizer) -> Trajectory:
    [trajectory] = gold_trajectories(
        [EXAMPLE], [PLAN], tokenizer, ScriptedSearcher(), protocol=PROTOCOL, limits=Limits()
    )
    return trajectory


def test_it_is_trained_with_one_opening_per_turn(tokenizer: ChatTokenizer) -> None:
    trajectory = gold(tokenizer)
    whole = tokenizer.hf.decode(trajectory.token_ids)
    assert whole.count("assistant\n<think>\nI need it.</think><search>") == 1
    assert whole.count("<think>") == 2, "one a turn"
    labels = [label for label in to_features(trajectory)["labels"] if label != IGNORED]
    trained = tokenizer.hf.decode(labels)
    assert trained == f"{SEARCH.removeprefix('<think>')}{ANSWER}</answer><|im_end|>"
    assert [turn.think for turn in trajectory.turns] == ["I need it.", "Found."]


def test_what_is_sampled_has_its_thoughts_and_earns_the_format(tokenizer: ChatTokenizer) -> None:
    trajectory = rolled(tokenizer, SEARCH.removeprefix("<think>"), f"{ANSWER}</answer>")
    assert [turn.think for turn in trajectory.turns] == ["I need it.", "Found."]
    assert score(trajectory, {"em": 1.0, "shaped_format": 1.0}).parts == {
        "em": 1.0,
        "f1": 1.0,
        "format": 1.0,
        "shaped_format": 1.0,
    }
    assert trajectory.token_ids == gold(tokenizer).token_ids[:-1]
    assert trajectory.loss_mask == gold(tokenizer).loss_mask[:-1]


@pytest.mark.parametrize(
    ("said", "kind", "think"),
    [
        ("\nI need it.\n</think>\n\n<answer>Chad</answer>", "answer", "I need it."),
        (f"{ANSWER}</answer>", "answer", "Found."),
        ("</think><answer>Chad</answer>", "answer", ""),
        ("I need it. <answer>Chad</answer>", "invalid", ""),
        ("Shall I <search>? I shall.</think><answer>Chad</answer>", "answer", "Shall I <search>? I shall."),
        ("t</think><answer>a<think></answer>", "invalid", "t"),
    ],
    ids=["lines", "opened-again", "no-thought", "not-closed", "a-tag-in-it", "opened-late"],
)
def test_first_turns(tokenizer: ChatTokenizer, said: str, kind: str, think: str) -> None:
    [turn] = rolled(tokenizer, said).turns
    assert (turn.kind, turn.think) == (kind, think)


def test_other_trainers_get_whole_turns(tokenizer: ChatTokenizer) -> None:
    first, second = samples(gold(tokenizer))
    messages = [message["content"] for message in to_row(second, tokenizer, PROTOCOL, "messages")["messages"]]
    assert (messages[1], messages[3]) == (SEARCH, f"{ANSWER}</answer>")
    assert to_row(first, tokenizer, PROTOCOL, "sharegpt")["conversations"][1]["value"] == SEARCH
    text = to_row(first, tokenizer, PROTOCOL, "text")
    assert text["prompt"].endswith("<think>\n")
    assert text["completion"] == SEARCH.removeprefix("<think>")


def test_a_file_is_shown_as_it_is_trained(tmp_path: Path) -> None:
    byte_tokenizer(OPENS).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    tokenizer = ChatTokenizer.load(tmp_path)
    write_records(tmp_path / "one.jsonl", [gold(tokenizer)])
    [shown] = view(tmp_path / "one.jsonl", model=str(tmp_path))
    [prompt, first, _, last] = shown.texts
    assert prompt.endswith("\n<think>")
    assert (first, last) == (SEARCH.removeprefix("<think>"), f"{ANSWER}</answer>")
    of_default_prompt = shown.trajectory.segments
    assert tokenizer.hf.decode(of_default_prompt[0].token_ids).endswith("assistant\n<think>\n")
    assert [one.token_ids for one in of_default_prompt[1:]] == [one.token_ids for one in gold(tokenizer).segments[1:]]


def test_an_assistant_shows_the_thought(tokenizer: ChatTokenizer) -> None:
    sampler = Says(tokenizer, SEARCH.removeprefix("<think>"), f"{ANSWER}</answer>")
    answer = Assistant(sampler, ScriptedSearcher(), PROTOCOL, Limits()).ask(EXAMPLE.question)
    assert [turn.think for turn in answer.trajectory.turns] == ["I need it.", "Found."]
    assert answer.trajectory.answer == "N'Djamena"
