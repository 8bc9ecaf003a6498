"""Teachers end to end: a server's, killed and resumed; the built-in model's; and that what they write trains."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Setup
from ragr1_lite.config import load_recipe
from ragr1_lite.core.protocol import Protocol, render_turn
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Tokenizer
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.data.sets import replay
from ragr1_lite.data.trajectories import read_records
from ragr1_lite.datagen.generate import Sampling, generate
from ragr1_lite.models.loading import Policy
from ragr1_lite.world import questions as world_questions
from tests.support.chatting import chat, question_of, refusal, turn_of
from tests.support.recorded import recorded

ASKED = world_questions("dev", seed=1, limit=24)
PLANS = {one.example.question: one.multi for one in ASKED}
LIMITS = Limits(max_length=10**6, document_tokens=10**4, total_document_tokens=10**5)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """World questions as a file."""
    rows = [
        {"question": one.example.question, "answers": one.example.answers, "kind": one.example.kind} for one in ASKED
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def teach(body: dict[str, Any]) -> str:
    """A teacher who knows the world, and at times errs, as its seed decides."""
    plan, turn = PLANS[question_of(body)], turn_of(body)
    if random.Random(f"{body['seed']}").random() < 0.1:
        return random.Random(str(body["seed"])).choice(["I am not sure.", render_turn("Hm.", answer="nothing")])
    if turn < len(plan.steps):
        return render_turn(plan.steps[turn].think, queries=plan.steps[turn].queries)
    return render_turn(plan.think, answer=plan.answer)


def command(asked: Path, url: str, out: Path, *more: str) -> list[str]:
    main = [sys.executable, "-m", "ragr1_lite", "data", "generate", str(asked), "--index", "world", "--k", "1"]
    given = ["--teacher", f"{url}/v1", "--out", str(out), "--rejected", f"{out}.rejected", "--batch-size", "2"]
    return [*main, *given, "--tries", "2", "--json", *more]


def test_killed_at_any_moment_and_resumed_a_run_writes_the_same_file(asked: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    running: subprocess.Popen[bytes] | None = None
    last = 0

    def say(body: dict[str, Any]) -> str:
        if running is not None and len(server.asked) >= last:
            running.kill()
        return teach(body)

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with recorded(chat(say)) as server:
        done = subprocess.run(
            command(asked, server.url, whole), capture_output=True, text=True, env=environment, check=True
        )
        requests = len(server.asked)
        moments = random.Random(0)
        for _ in range(3):
            last = len(server.asked) + moments.randrange(4, 14)
            running = subprocess.Popen(
                command(asked, server.url, cut, "--resume"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            assert running.wait() == -signal.SIGKILL
            assert not cut.exists()
        running, before = None, len(server.asked)
        resumed = subprocess.run(
            command(asked, server.url, cut, "--resume"), capture_output=True, text=True, env=environment, check=True
        )
        assert len(server.asked) - before < requests, "what was finished is not asked again"
    assert cut.read_bytes() == whole.read_bytes()
    assert Path(f"{cut}.rejected").read_bytes() == Path(f"{whole}.rejected").read_bytes()
    counts = json.loads(done.stdout)
    assert json.loads(resumed.stdout) == counts, "tokens of finished work included"
    assert counts["kept"] + sum(counts["rejected"].values()) == counts["questions"] == 24
    assert counts["kept"] >= 18 and not list(tmp_path.glob(".*"))


def test_a_server_that_fails_now_and_then_teaches_all_the_same(asked: Path, tmp_path: Path) -> None:
    random_failures, asked_before = random.Random(0), set()

    def fickle(body: dict[str, Any]) -> Any:
        key = json.dumps(body)
        if key not in asked_before and random_failures.random() < 0.3:
            asked_before.add(key)
            return refusal(random_failures.choice([429, 500, 503]), "not now", retry_after_ms="5")
        return teach(body)

    made = {}
    for name, say in (("steady", teach), ("fickle", fickle)):
        with recorded(chat(say)) as server:
            generate(asked, Setup(model=f"{server.url}/v1", k=1), out=tmp_path / name)
        made[name] = (tmp_path / name).read_bytes()
    assert made["steady"] == made["fickle"] and asked_before


def check(path: Path, tokenizer: Tokenizer, protocol: Protocol) -> None:
    """Every kept trajectory parses, is right, repeats no query in a tag, and trains on no retrieved token."""
    for record in read_records(path):
        assert exact_match(record.answer, record.example.answers) == 1.0
        [trajectory] = replay(record, tokenizer, protocol, LIMITS)
        model = [segment for segment in trajectory.segments if segment.source == "model"]
        texts = [render_turn(step.think, queries=step.queries) for step in record.turns[:-1]]
        texts.append(render_turn(record.turns[-1].think, answer=record.answer))
        assert [tokenizer.decode(segment.token_ids) for segment in model] == texts
        for turn in trajectory.turns[:-1]:
            assert 1 <= len(turn.queries) <= protocol.max_queries
            assert len({query.casefold() for query in turn.queries}) == len(turn.queries)


def test_what_an_endpoint_wrote_can_be_replayed(asked: Path, tmp_path: Path) -> None:
    with recorded(chat(teach)) as server:
        counts = generate(asked, Setup(model=f"{server.url}/v1", k=1), out=tmp_path / "t")
    assert counts["kept"] >= 15 and counts["usage"]["requests"] == len(server.asked) - 1
    check(tmp_path / "t", ByteTokenizer(), Protocol())


@pytest.mark.slow
def test_the_built_in_model_teaches_and_repeats_itself_from_a_seed(
    smollm2: Policy, asked: Path, tmp_path: Path
) -> None:
    written = []
    for name in ("once", "again"):
        counts = generate(
            asked,
            Setup(model="smollm2-135m", k=1, batch_size=2),
            out=tmp_path / name,
            limit=4,
            sampling=Sampling(seed=3, temperature=0.7),
        )
        assert counts["kept"] >= 2 and "usage" not in counts
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    check(tmp_path / "once", smollm2.tokenizer, load_recipe("sft-smollm2-135m").rollout.protocol())


def test_a_teacher_whose_thoughts_lack_their_opening_is_kept(tmp_path: Path) -> None:
    """As servers give what follows a chat template that has written it."""
    asked, out = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    asked.write_text('{"question": "What is the capital of Chad?", "answers": ["N\'Djamena"]}', encoding="utf-8")

    def say(body: dict[str, Any]) -> str:
        if turn_of(body):
            return "I have it now.</think><answer>N'Djamena</answer>"
        return "I need the capital of Chad.</think><search>capital of Chad</search>"

    with recorded(chat(say)) as server:
        counts = generate(asked, Setup(model=f"{server.url}/v1", index="world", k=1), out=out)
    assert counts["kept"] == 1
    [record] = read_records(out)
    assert [turn.think for turn in record.turns] == ["I need the capital of Chad.", "I have it now."]
