"""Models behind OpenAI-compatible endpoints: what is sent, what is made of the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from ragr1_lite.core.errors import ConfigError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import STOP, Protocol
from ragr1_lite.core.rewards import well_formed
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.core.types import Completion, Example, SampleRequest, Trajectory
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.datagen.endpoint import Connection, Endpoint, Usage
from ragr1_lite.datagen.teachers import ChatSampler
from tests.support.chatting import Say, chat, question_of, refusal, said_so, turn_of
from tests.support.recorded import Asked, Recorded, Reply, recorded
from tests.support.scripted import ScriptedSearcher

LIMITS = Limits(k=1, max_length=10**6, document_tokens=10**4, total_document_tokens=10**5)
SEARCH = "<think>Two facts.</think><search>Chad, Mali</search>"
ANSWER = "<think>Chäd it is.</think><answer>Chad</answer>"
AT_ONCE: dict[str, str] = {"retry_after_ms": "1"}


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@contextmanager
def serving(say: Say | str, **options: Any) -> Iterator[tuple[Endpoint, Recorded, list[object]]]:
    """An endpoint, what its server was asked, and what was reported."""
    form = {name: options.pop(name) for name in ("models", "stops") if name in options}
    answer = chat((lambda body: say) if isinstance(say, str) else say, **form)
    with serving_raw(answer, **options) as served:
        yield served


@contextmanager
def serving_raw(answer: Callable[[Asked], Reply], **options: Any) -> Iterator[tuple[Endpoint, Recorded, list[object]]]:
    events: list[object] = []
    with recorded(answer) as server:
        connection = Connection(**{"model": "tiny", "retries": 2, **options})
        with closing(Endpoint(f"{server.url}/v1", connection, events.append)) as endpoint:
            yield endpoint, server, events


def say_once(endpoint: Endpoint, seed: int = 0, temperature: float = 0.0) -> Completion:
    tokenizer = ByteTokenizer()
    sampler = ChatSampler(endpoint, seed=seed, temperature=temperature)
    [completion] = sampler.sample([SampleRequest(0, tokenizer.encode("Hé?"))], stop=STOP, max_new_tokens=50)
    return completion


def roll(endpoint: Endpoint, *questions: str, seed: int = 0) -> list[Trajectory]:
    examples = [Example(str(number), question, ("Chad",)) for number, question in enumerate(questions)]
    sampler = ChatSampler(endpoint, seed=seed, temperature=0.7)
    return run_rollouts(examples, sampler, ScriptedSearcher(), protocol=Protocol(), limits=LIMITS)


def bodies(server: Recorded) -> list[dict[str, Any]]:
    return [asked.json for asked in server.asked if asked.method == "POST"]


def two_turns(body: dict[str, Any]) -> str:
    return ANSWER if turn_of(body) or question_of(body) == "Known?" else SEARCH


# What is sent and what comes back


@pytest.mark.parametrize("stops", ["cut", "kept", "ignored"])
def test_a_rollout_is_a_conversation(stops: str) -> None:
    def run_on(body: dict[str, Any]) -> str:
        return two_turns(body) + ("\n<information>made up</information>" if stops == "ignored" else "")

    with serving(run_on, stops=stops) as (endpoint, server, _):
        first, second = roll(endpoint, "Which?", "Known?")
    text = ByteTokenizer().decode
    assert [segment.source for segment in first.segments] == ["prompt", "model", "env", "model"]
    assert [text(segment.token_ids) for segment in first.segments[1::2]] == [SEARCH, ANSWER]
    assert first.turns[0].queries == ("Chad", "Mali") and first.answer == "Chad"
    assert [text(segment.token_ids) for segment in second.segments[1:]] == [ANSWER]
    [last] = [body for body in bodies(server) if turn_of(body)]
    assert [message["role"] for message in last["messages"]] == ["user", "assistant", "user"]
    asked, said, found = (message["content"] for message in last["messages"])
    assert asked == Protocol().render_prompt("Which?") and said == SEARCH
    assert found.startswith('<information>{"query": ["Chad", "Mali"]') and found.endswith("</information>")
    assert last["stop"] == list(STOP) and last["max_tokens"] == 1024 and last["temperature"] == 0.7
    assert last["model"] == "tiny"


@pytest.mark.parametrize("stops", ["cut", "kept"])
@pytest.mark.parametrize(
    ("search", "answer", "thoughts"),
    [
        (SEARCH.removeprefix("<think>"), ANSWER.removeprefix("<think>"), ["Two facts.", "Chäd it is."]),
        ("\nTwo facts.\n</think>\n\n<search>Chad, Mali</search>", ANSWER, ["Two facts.", "Chäd it is."]),
        ("Shall I <search>?</think><search>Chad, Mali</search>", ANSWER, ["Shall I <search>?", "Chäd it is."]),
        ("</think><search>Chad, Mali</search>", ANSWER, ["", "Chäd it is."]),
    ],
    ids=["both", "first", "a-tag-in-it", "empty"],
)
def test_a_server_that_leaves_out_the_opening_of_a_thought(
    search: str, answer: str, thoughts: list[str], stops: str
) -> None:
    """The chat template of the model it serves has written it."""
    with serving(lambda body: answer if turn_of(body) else search, stops=stops) as (endpoint, _, _):
        [trajectory] = roll(endpoint, "Which?")
    assert [turn.think for turn in trajectory.turns] == thoughts
    assert (trajectory.turns[0].queries, trajectory.answer) == (("Chad", "Mali"), "Chad")
    assert well_formed(trajectory) is all(thoughts)


def test_model_tokens_are_those_the_model_wrote_and_never_retrieved_ones() -> None:
    with serving(two_turns) as (endpoint, _, _):
        [trajectory] = roll(endpoint, "Which?")
    written = [id for id, trained in zip(trajectory.token_ids, trajectory.loss_mask, strict=True) if trained]
    assert ByteTokenizer().decode(written) == SEARCH + ANSWER
    assert "All about" not in ByteTokenizer().decode(written)


@pytest.mark.parametrize(
    ("reply", "text", "finish"),
    [
        (said_so("<think>t</think><search>a"), "<think>t</think><search>a</search>", "stop"),
        (said_so("<think>t</think><answer>a", "stop_sequence"), "<think>t</think><answer>a</answer>", "stop"),
        (said_so("I do not know."), "I do not know.", "eos"),
        (said_so("<think>t</think><answer>a", "length"), "<think>t</think><answer>a", "length"),
        (said_so("<think>t</think><answer>a", "content_filter"), "<think>t</think><answer>a", "eos"),
        (said_so(None, refusal="I cannot help with that."), "", "eos"),
        (said_so(None, "tool_calls"), "", "eos"),
        (said_so(""), "", "eos"),
        (said_so("<answer>\ud83d", "stop"), "<answer>?</answer>", "stop"),
        (said_so("<answer>a", reasoning_content="Hm.\n"), "<think>Hm.</think><answer>a</answer>", "stop"),
        (said_so("\n\n<answer>a", reasoning="Hm."), "<think>Hm.</think><answer>a</answer>", "stop"),
        (said_so("<think>t</think><answer>a", reasoning="Hm."), "<think>t</think><answer>a</answer>", "stop"),
    ],
)
def test_what_becomes_of_an_answer(reply: Reply, text: str, finish: str) -> None:
    with serving(lambda body: reply) as (endpoint, _, _):
        completion = say_once(endpoint)
    assert (completion.text, completion.finish) == (text, finish)
    assert ByteTokenizer().decode(completion.token_ids) == text
    assert (completion.token_ids[-1:] == (256,)) == (finish == "eos")


def test_an_answer_without_usage_is_one_request() -> None:
    reply = said_so("x")
    del reply.body["usage"]
    with serving(lambda body: reply) as (endpoint, _, _):
        say_once(endpoint)
        assert endpoint.usage == Usage(1, 0, 0)


def test_every_request_has_a_seed_of_its_own_and_the_same_when_repeated() -> None:
    seeds = []
    for seed in (1, 1, 2):
        with serving(two_turns, concurrency=1) as (endpoint, server, _):
            roll(endpoint, "Which?", "Which?", seed=seed)
        seeds.append([body["seed"] for body in bodies(server)])
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 4
    assert not set(seeds[0]) & set(seeds[2])
    assert all(0 <= seed < 2**31 for seed in seeds[0])


def test_a_turn_is_asked_side_by_side_and_comes_back_in_order() -> None:
    asked, under_way, most, lock = 0, 0, 0, threading.Lock()
    first_four = threading.Barrier(4, timeout=60)

    def slow(body: dict[str, Any]) -> str:
        nonlocal asked, under_way, most
        with lock:
            asked += 1
            under_way += 1
            most = max(most, under_way)
            first = asked <= 4
        if first:
            first_four.wait()
        time.sleep(0.005 if question_of(body) != "0" else 0.05)
        with lock:
            under_way -= 1
        return f"<think>t</think><answer>{question_of(body)}"

    with serving(slow, concurrency=4) as (endpoint, _, _):
        answers = [one.answer for one in roll(endpoint, *map(str, range(10)))]
    assert answers == [str(number) for number in range(10)]
    assert most == 4


def test_tokens_are_counted_and_cost() -> None:
    with serving(two_turns) as (endpoint, _, _):
        roll(endpoint, "Which?", "Known?")
        assert endpoint.usage == Usage(3, 30, 15)
    assert Connection(price_in=2.0, price_out=10.0).cost(endpoint.usage) == pytest.approx(0.00021)
    assert Connection(price_out=10.0).cost(endpoint.usage) == pytest.approx(0.00015)
    assert Connection().cost(endpoint.usage) is None


def test_the_key_is_the_environment_s_or_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("x") as (endpoint, server, _):
        say_once(endpoint)
    assert server.asked[0].headers["authorization"] == "Bearer none"
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    with serving("x") as (endpoint, server, _):
        say_once(endpoint)
    assert server.asked[0].headers["authorization"] == "Bearer sk-1"
    monkeypatch.setenv("OPENAI_API_KEY", "ключ")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters"):
        Endpoint("http://127.0.0.1:9/v1", Connection("tiny"))


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("http://llm.example.org:8000/v1", "sk-secret", True),
        ("http://10.0.0.7/v1", "sk-secret", True),
        ("HTTP://LLM.example.org:8000/v1", "sk-secret", True),
        ("http://llm.example.org:8000/v1", "", False),
        ("https://llm.example.org/v1", "sk-secret", False),
        ("http://127.0.0.1:8000/v1", "sk-secret", False),
        ("http://localhost:8000/v1", "sk-secret", False),
        ("http://[::1]:8000/v1", "sk-secret", False),
    ],
)
def test_a_key_over_plain_http_to_another_host_is_warned_of(
    url: str, key: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    events: list[object] = []
    with closing(Endpoint(url, Connection("tiny"), events.append)):
        pass
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.level for notice in notices] == ["warning"] * warned
    assert all(urlsplit(url).netloc in one.text and "unencrypted" in one.text for one in notices)
    assert "sk-secret" not in str(events)


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving("x") as (endpoint, _, _):
        assert say_once(endpoint).text == "x"


# Which model


def test_the_only_model_needs_no_name() -> None:
    with serving("x", model=None) as (endpoint, server, _):
        say_once(endpoint)
    assert endpoint.model == "tiny" and bodies(server)[0]["model"] == "tiny"


@pytest.mark.parametrize(
    ("models", "message", "hint"),
    [
        (("a", "b"), "has 2 models", "Choose one with --teacher-model: a, b."),
        (tuple("abcdefg"), "has 7 models", "Choose one with --teacher-model: a, b, c, d, e, …."),
        ((), "names no model", "Name one with --teacher-model."),
    ],
)
def test_a_model_has_to_be_named(models: Sequence[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught, serving("x", model=None, models=models):
        pass
    assert caught.value.hint == hint


# What servers do not take


def test_what_a_server_does_not_take_is_left_out_from_then_on() -> None:
    def strict(body: dict[str, Any]) -> str | Reply:
        for name, code in (("max_tokens", "unsupported_parameter"), ("stop", None), ("seed", None)):
            if name in body:
                return refusal(400, f"Unsupported parameter: '{name}'.", param=name if code else None, code=code)
        return two_turns(body) + "more"

    with serving(strict, concurrency=1, stops="ignored") as (endpoint, server, events):
        [trajectory] = roll(endpoint, "Which?")
    assert trajectory.answer == "Chad"
    assert len(bodies(server)) == 5, "three were refused once"
    assert not {"max_tokens", "stop", "seed"} & set(bodies(server)[-1])
    assert bodies(server)[-1]["max_completion_tokens"] == 1024
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "tiny takes no `stop`: it is left out.",
        "tiny takes no `seed`: it is left out.",
    ]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 'max_tokens' 1024.",
        "the request exceeds the available context size. try increasing it",
    ],
)
def test_what_does_not_fit_ends_its_row_alone(message: str) -> None:
    def say(body: dict[str, Any]) -> str | Reply:
        return refusal(400, message) if question_of(body) == "Long?" and turn_of(body) else two_turns(body)

    with serving(say) as (endpoint, _, _):
        long, short = roll(endpoint, "Long?", "Short?")
    assert (long.stop_reason, short.stop_reason) == ("length", "answer")
