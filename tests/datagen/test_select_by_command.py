"""Selection by a real sampler is repeatable, and a killed one goes on to the very files of an uninterrupted one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragr1_lite.assistant import Assistant
from ragr1_lite.config import DataConfig
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits, run_rollouts
from ragr1_lite.data.curriculum import schedule
from ragr1_lite.data.questions import read_questions
from ragr1_lite.datagen.selection import Rule, measure
from ragr1_lite.datagen.teachers import local_teacher
from ragr1_lite.models.sampler import TransformersSampler
from tests.support import tiny

ROOT = Path(__file__).parents[2]
SELECTS = """
import os, signal, sys
from pathlib import Path
from ragr1_lite.datagen.selection import Rule, select
from tests.support.selecting import ScriptedTeacher, by_seed, questions
out, pieces = Path(sys.argv[1]), int(sys.argv[3])
journal = out.with_name(".rl.jsonl.journal")
def right(*asked):
    if pieces and journal.exists() and journal.read_bytes().count(b"\\n") > pieces:
        os.kill(os.getpid(), signal.SIGKILL)
    with out.parent.with_suffix(".asked").open("a") as asked_before:
        print(*asked, file=asked_before)
    return by_seed(*asked)
rule = Rule(tries=4, validation=0.2, by=sys.argv[2])
select(questions(40), out, lambda: ScriptedTeacher(right), rule=rule, batch_size=5, resume=True)
"""


def selecting(out: Path, by: str, killed_after: int = 0) -> int:
    """Selects in a process of its own, which kills itself in the piece after this one; returns the exit code."""
    return subprocess.call([sys.executable, "-c", SELECTS, str(out), by, str(killed_after)], cwd=ROOT)


@pytest.mark.parametrize("by", ["first-right", "pass-rate"])
def test_sigkill_and_resume(tmp_path: Path, by: str) -> None:
    assert selecting(tmp_path / "whole" / "rl.jsonl", by) == 0
    out = tmp_path / "killed" / "rl.jsonl"
    for pieces in (1, 3, 6):
        assert selecting(out, by, killed_after=pieces) == -signal.SIGKILL
        assert not out.exists()
    assert selecting(out, by) == 0
    files = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert files.keys() == {"rl.jsonl", "rl.validation.jsonl"}
    asked = [(tmp_path / f"{name}.asked").read_text() for name in ("whole", "killed")]
    assert asked[0] == asked[1], "what was finished is not asked again"


def test_a_try_is_sampled_by_its_own_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sampling: a batch's rollouts are the same tokens whatever was sampled before, and tries differ."""
    recipe = tiny.make_recipe("grpo", tiny.save_byte_model(tmp_path / "tiny-byte"), tmp_path / "run")
    sampler = TransformersSampler(tiny.load(recipe))
    limits = Limits(max_new_tokens=8, max_length=4096)
    teacher = local_teacher("tiny", Assistant(sampler, tiny.OnePassage(), Protocol(), limits))
    tries: list[list[tuple[int, ...]]] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        trajectories = run_rollouts(*arguments, **options)
        tries.append([one.token_ids for one in trajectories])
        return trajectories

    monkeypatch.setattr("ragr1_lite.datagen.selection.run_rollouts", watched)
    rule = Rule(by="pass-rate", tries=2)
    for batch in (0, 1, 0):
        measure(tiny.EXAMPLES[:3], teacher, rule=rule, batch=batch)
    assert tries[:2] == tries[4:]
    assert len({tuple(one) for one in tries[:4]}) == 4


def test_weights_choose_among_all_questions_of_a_file(tmp_path: Path) -> None:
    from ragr1_lite.training.grpo import questions_read

    def read(**data: Any) -> int | None:
        train = {"steps": 3, "batch_size": 4}
        return questions_read(tiny.make_recipe("grpo", tmp_path / "model", tmp_path / "run", data=data, train=train))

    assert read(train="rl.jsonl") == read(train="rl.jsonl", order="easy-first") == read(weights="hops") == 6
    assert read(train="rl.jsonl", weights="signal") is None
    assert read(train="rl.jsonl", weights="signal", limit=9) == 9


def test_a_selected_file_trains_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was selected goes into GRPO as it is; the recipe's order decides what each step asks."""
    from ragr1_lite.training import grpo
    from ragr1_lite.training.grpo import trainer

    out = tmp_path / "rl.jsonl"
    assert selecting(out, "pass-rate") == 0
    asked: list[float | None] = []

    def say(row: int, turn: int) -> str:
        return "<think>It is.</think><answer>item-1</answer>"

    class Rollouts(trainer.Rollouts):
        def __call__(self, prompts: Any, trainer: Any) -> dict[str, Any]:
            asked.extend(self._examples[int(prompt)].pass_rate for prompt in prompts[::2])
            return super().__call__(prompts, trainer)

    monkeypatch.setattr(trainer, "Rollouts", Rollouts)
    monkeypatch.setattr(trainer, "TransformersSampler", lambda policy, **_: tiny.Script(policy.tokenizer, say))
    monkeypatch.setattr(trainer, "open_searcher", lambda index, report: tiny.OnePassage())
    model = tiny.save_byte_model(tmp_path / "tiny-byte")
    data = {"train": str(out), "order": "hard-first", "weights": "signal"}
    recipe = tiny.make_recipe("grpo", model, tmp_path / "run", data=data, train={"steps": 4, "batch_size": 4})
    grpo.train(recipe)
    read = [question.example for question in read_questions(out)]
    numbers = schedule(read, 8, 0, DataConfig(**data))
    assert asked == [read[number].pass_rate for number in numbers]
    assert len(asked) == 8 and asked[0] < asked[-1]  # type: ignore[operator]
