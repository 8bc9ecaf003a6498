from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.core.events import (
    CheckpointSaved,
    Notice,
    PhaseAdvanced,
    PhaseFinished,
    PhaseStarted,
    RolloutsFinished,
    StepFinished,
)
from ragr1_lite.core.types import Example, Passage, Reward, Segment, StopReason, Trajectory, Turn
from ragr1_lite.ui import Display
from ragr1_lite.ui.figures import sparkline, step_line
from ragr1_lite.ui.progress import Task
from ragr1_lite.ui.training import TRAINING, Sample, TrainingView

HOSTILE = "[red]x[/red] \x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J\u202eright\x00\nnext"

SFT = [
    {"loss": 2.4012, "grad_norm": 1.31, "lr": 5e-05, "seconds": 3.2, "memory_gb": 1.9},
    {"loss": 1.1034, "grad_norm": 0.92, "lr": 0.0001, "seconds": 3.1, "memory_gb": 1.9},
    {"loss": 0.4131, "grad_norm": 0.51, "lr": 0.0001, "seconds": 3.3, "memory_gb": 1.9},
]
GRPO: list[dict[str, float]] = [  # the first steps of a real run, SmolLM2 on a CPU
    {"loss": 0.0416, "grad_norm": 0.2764, "lr": 0.0, "entropy": 0.5315, "em": 0.0833, "f1": 0.1042, "format": 0.9167,
     "queries": 1.8333, "reward": 0.175, "rollout_seconds": 43.535, "rounds": 0.9167, "signal": 0.75, "tokens": 91.25,
     "seconds": 118.78},
    {"loss": 0.1978, "grad_norm": 0.2395, "lr": 0.0001, "entropy": 0.403, "em": 0.0833, "f1": 0.1306, "format": 0.9167,
     "queries": 1.375, "reward": 0.175, "rollout_seconds": 40.085, "rounds": 0.8333, "signal": 0.5, "tokens": 79.0,
     "seconds": 132.183},
    {"loss": -0.1744, "grad_norm": 0.2785, "lr": 0.0002, "entropy": 0.4068, "em": 0.4167, "f1": 0.4167,
     "format": 0.9167, "queries": 1.75, "reward": 0.5083, "rollout_seconds": 41.848, "rounds": 0.75, "signal": 1.0,
     "tokens": 89.4167, "seconds": 201.223},
    {"loss": 0.1097, "grad_norm": 0.257, "lr": 0.0002, "entropy": 0.393, "em": 0.125, "f1": 0.1458, "format": 0.8333,
     "queries": 2.25, "reward": 0.2083, "rollout_seconds": 47.298, "rounds": 0.9583, "signal": 1.0, "tokens": 111.083,
     "seconds": 155.793},
]  # fmt: skip
EVERYTHING: dict[str, float] = {
    "kl": 0.0123, "cover_em": 0.5, "evidence": 0.33, "shaped_format": 0.9, "length": -0.91, "retrieval": 1.8,
    "politeness": 3.0, "dead": 0.25, "resampled": 2.0, "invalid": 0.08, "tokens_per_second": 52.4, "memory_gb": 3.41,
}  # fmt: skip

CHAD = (
    Passage("1", "Chad", "Chad is a landlocked country of Central Africa with fifteen million people.", 12.41),
    Passage("2", "Emi Koussi", "Emi Koussi is a high volcano in the Tibesti Mountains of northern Chad.", 9.02),
)
SEARCH = Turn(
    "search", "I need both.", ("highest point of Chad", "highest point of Niger"), passages=(CHAD, CHAD[:1])
)  # fmt: skip
ANSWER = Turn("answer", "3,415 m is more than 2,022 m.", answer="Chad")


def trajectory(*turns: Turn, stop: StopReason = "answer", question: str = "Which is higher?") -> Trajectory:
    return Trajectory(Example("q", question, ("Chad",)), (Segment("prompt", ()),), turns, stop)


RIGHT = trajectory(SEARCH, ANSWER)
UNANSWERED = trajectory(SEARCH, SEARCH, stop="budget")


def rolled(best: Trajectory = RIGHT, worst: Trajectory = UNANSWERED) -> RolloutsFinished:
    return RolloutsFinished((worst, best), (Reward(0.0, {"em": 0.0}), Reward(1.0, {"em": 1.0})), 40.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def screen(width: int, *, terminal: bool = False, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=height, force_terminal=terminal, markup=False, highlight=False,
        emoji=False, color_system="truecolor" if terminal else None, legacy_windows=False, _environ={},
    )  # fmt: skip


def written(of: Console) -> str:
    return of.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def frame(view: TrainingView, width: int = 80, height: int = 22, phases: Any = ()) -> list[str]:
    on = screen(width)
    on.print(view.render(width, height, phases))
    return written(on).rstrip("\n").split("\n")


def grpo(clock: Clock, metrics: list[dict[str, float]], *, total: int = 30) -> TrainingView:
    view = TrainingView(clock)
    for step, one in enumerate(metrics, start=1):
        view.take(PhaseStarted("rollouts", 24, "rollouts"))
        clock.now += one["rollout_seconds"]
        view.take(rolled())
        view.take(PhaseFinished("rollouts", one["rollout_seconds"]))
        clock.now += one["seconds"] - one["rollout_seconds"]
        view.take(StepFinished(step, total, one, left=152.0 * (total - step)))
    return view


# --- the panel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [8, 22, 50])
@pytest.mark.parametrize("metrics", [GRPO, [one | EVERYTHING for one in GRPO]], ids=["today", "everything"])
def test_the_frame_fits(width: int, height: int, metrics: list[dict[str, float]]) -> None:
    clock = Clock()
    view = grpo(clock, metrics)
    view.take(Notice("Out of memory: the micro-batch is halved. " * 10, "warning"))
    task = Task("rollouts", 24, "rollouts", clock.now)
    shown = frame(view, width, height, [task])
    assert len(shown) <= height
    assert all(len(line) <= width for line in shown)
    assert "4/30" in shown[1] and "0/24" in shown[2]
    assert shown[0].startswith("╭─ Training ─") and shown[-1].startswith("╰─")


def test_a_grpo_step_at_80_columns() -> None:
    clock = Clock()
    view = grpo(clock, GRPO)
    clock.now += 12
    task = Task("rollouts", 24, "rollouts", clock.now - 12)
    task.advance(9, clock.now)
    shown = [line.strip("│ ") for line in frame(view, phases=[task])]
    assert re.fullmatch(r"Steps +[━╸╺ ]+ 4/30 +10:20 · 1:05:40 left", shown[1])
    assert re.fullmatch(r"Rollouts +[━╸╺ ]+ 9/24 +12\.0 s · 20\.0 s left", shown[2])
    assert shown[4:10] == [
        "reward    .21    ▁▁█▂                  em        .12    ▁▁█▂",
        "loss      0.110  ▅█▁▆",
        "parts     f1 .15 · format .83",
        "rollouts  rounds 0.96 · queries 2.25 · tokens 111",
        "groups    signal 1.00",
        "update    lr 0.0002 · entropy 0.39 · gradient 0.26",
    ]
    assert shown[10] == "pace      155.8 s/step · 47.3 s of rollouts"
    assert shown[12:] == [
        "✓ 1.00  Which is higher?",
        "I need both.",
        "1 › highest point of Chad → Chad · Emi Koussi",
        "Chad is a landlocked country of Central Africa with fifteen million p…",
        "› highest point of Niger → Chad",
        "Chad is a landlocked country of Central Africa with fifteen million p…",
        "3,415 m is more than 2,022 m.",
        "Answer: Chad",
        "",  # a longer one was there before
        "╰" + "─" * 78 + "╯",
    ]


def test_every_figure_has_a_place_a_function_of_ones_own_among_the_parts() -> None:
    shown = "\n".join(frame(grpo(Clock(), [GRPO[0] | EVERYTHING]), 120))
    figures = (
        "f1 .10 · format .92 · cover_em .50 · evidence .33 · shaped_format .90 · length -0.91 · retrieval 1.80",
        "politeness 3.00", "tokens 91 · invalid .08", "dead .25 · resampled 2", "kl 0.012", "52 tokens/s · 3.4 GB",
    )  # fmt: skip
    assert [one for one in figures if one not in shown] == []
    assert "signal" not in shown  # what the dead groups leave


def test_sft_has_no_reward_and_no_rollouts() -> None:
    clock = Clock()
    view = TrainingView(clock)
    for step, one in enumerate(SFT, start=1):
        clock.now += one["seconds"]
        view.take(StepFinished(step, 10, one, left=22.4 if step > 1 else None))
    shown = "\n".join(frame(view))
    assert "loss      0.413  █▃▁" in shown and "3.3 s/step · 1.9 GB" in shown
    assert re.search(r" 3/10 +9\.6 s · 22\.4 s left", shown)
    assert not re.search("reward|parts|Rollouts|Update|✓|✗", shown)


def test_before_the_first_step_time_passes_and_nothing_is_known() -> None:
    clock = Clock()
    view = TrainingView(clock)
    view.take(PhaseStarted("rollouts", 24, "rollouts"))
    clock.now = 7
    shown = frame(view, phases=[Task("rollouts", 24, "rollouts", 0.0)])
    assert len(shown) == 4 and shown[1].endswith(" 7.0 s │") and " 0/24 " in shown[2]
    view.take(rolled())
    view.take(PhaseFinished("rollouts", 7.0))
    clock.now = 30
    assert re.search(r"Update +[━╸╺ ]+ 23\.0 s │", "\n".join(frame(view)))


def test_a_resumed_run_counts_on() -> None:
    clock = Clock()
    view = TrainingView(clock)
    view.take(PhaseStarted(TRAINING, 20, "steps"))
    view.take(PhaseAdvanced(TRAINING, 10))
    assert " 10/20 " in frame(view)[1]
    clock.now = 5
    view.take(StepFinished(11, 20, {"loss": 1.0, "seconds": 5.0}, left=45.0))
    assert frame(view)[1].endswith(" 11/20  5.0 s · 45.0 s left │")


def test_measurements_stay_until_the_next_and_the_best_is_known() -> None:
    view = TrainingView(Clock())
    for step, extra in enumerate(({"eval_em": 0.4, "eval_f1": 0.5}, {}, {"eval_em": 0.3, "eval_f1": 0.35}, {}), 1):
        view.take(StepFinished(step, 9, {"loss": 1.0, **extra}))
    shown = "\n".join(frame(view))
    assert "eval_em   .30    █▁" in shown and "eval_f1 .35 · best .40 at step 1" in shown
    assert view.summary == "loss 1.000 → 1.000, best eval EM .40 at step 1"


def test_the_last_warning_stays_and_news_do_not() -> None:
    view = TrainingView(Clock())
    view.take(StepFinished(6, 9, {"loss": 1.0}))
    height = len(frame(view))
    view.take(Notice("The entropy fell below its bound.", "warning"))
    view.take(Notice("An adapter was saved."))
    shown = frame(view)
    assert shown[2].strip("│ ") == "Step 7: The entropy fell below its bound." and len(shown) == height


def test_steps_that_are_done_again_go_on_in_the_same_run() -> None:
    view = TrainingView(Clock())
    view.take(StepFinished(6, 9, {"loss": 1.0}))
    again = StepFinished(4, 9, {"loss": 1.0})
    assert not view.is_over(again) and view.is_over(StepFinished(7, 10, {}))
    view.take(again)
    assert " 4/9 " in frame(view)[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers(value: float) -> None:
    view = TrainingView(Clock())
    view.take(StepFinished(1, 9, {"loss": 1.0, "reward": 0.5}))
    view.take(StepFinished(2, 9, {"loss": value, "reward": value, "kl": value, "tokens": value}))
    shown = "\n".join(frame(view))
    assert f"loss      {value}" in shown
    assert view.summary == "loss 1.000 → 1.000, reward .50 → .50"


def test_no_figures_at_all() -> None:
    view = TrainingView(Clock())
    view.take(StepFinished(1, 9, {}))
    assert len(frame(view)) == 3 and view.summary == ""


# --- samples ------------------------------------------------------------------------------------------------------


def test_the_best_rollout_is_shown_and_now_and_then_a_failed_one() -> None:
    clock = Clock()
    view = TrainingView(clock)
    seen = []
    for _ in range(6):
        view.take(rolled())
        seen.append("✓" in "\n".join(frame(view)))
        clock.now += 60
    assert seen == [True, True, False, True, True, False]


def test_of_equals_the_one_with_the_most_queries_at_once_is_shown() -> None:
    one = Turn("search", "", ("x",), passages=((),))
    events = rolled(trajectory(one, one, one, ANSWER), RIGHT)
    equal = RolloutsFinished(events.trajectories, (Reward(1.0), Reward(1.0)), 1.0)
    for failed in (True, False):
        chosen = Sample.of(equal, failed=failed)
        assert chosen is not None and chosen.trajectory is RIGHT


def test_a_sample_stays_long_enough_to_be_read() -> None:
    clock = Clock()
    view = TrainingView(clock)
    view.take(rolled(trajectory(ANSWER, question="First?")))
    view.take(rolled(trajectory(ANSWER, question="Second?")))
    assert "First?" in "\n".join(frame(view))
    clock.now = 60
    view.take(rolled(trajectory(ANSWER, question="Third?")))
    assert "Third?" in "\n".join(frame(view))


def test_the_frame_does_not_shrink_with_a_shorter_sample() -> None:
    clock = Clock()
    view = TrainingView(clock)
    view.take(rolled())
    tall = len(frame(view))
    clock.now = 60
    view.take(rolled(trajectory(ANSWER)))
    assert len(frame(view)) == tall


def test_a_failed_rollout_shows_why_and_the_right_answer() -> None:
    shown = [line.plain for line in Sample(UNANSWERED, Reward(-0.1, {"em": 0.0})).lines(99)]
    assert shown[0] == "✗ -0.10  Which is higher?"
    assert shown[-1] == "  No answer (budget) · accepted: Chad"
    wrong = Sample(trajectory(Turn("answer", "", answer="Niger")), Reward(0.0, {"em": 0.0}))
    assert [line.plain for line in wrong.lines(99)][1:] == ["  Answer: Niger · accepted: Chad"]
    nothing = Sample(trajectory(Turn("search", "", ("x",), passages=((),))), Reward(0.0))
    assert "  1 › x → nothing found" in [line.plain for line in nothing.lines(99)]


def test_where_room_is_short_question_answer_and_queries_come_first() -> None:
    sample = Sample(RIGHT, Reward(1.0, {"em": 1.0}))
    firsts = {height: [line.plain.split()[0] for line in sample.lines(height)] for height in (2, 4, 5, 99)}
    assert firsts[2] == ["✓", "Answer:"]
    assert firsts[4] == ["✓", "1", "›", "Answer:"]
    assert firsts[5] == ["✓", "I", "1", "›", "Answer:"]
    assert len(firsts[99]) == sample.height == 8


def test_no_rollouts_no_sample() -> None:
    assert Sample.of(RolloutsFinished((), (), 1.0)) is None


# --- curves -------------------------------------------------------------------------------------------------------


def test_the_ends_of_a_long_run_are_known() -> None:
    view = TrainingView(Clock())
    for step in range(1, 2001):
        view.take(StepFinished(step, 2000, dict.fromkeys(("reward", "em", "loss", "eval_em"), (step - 1) // 200 / 10)))
    assert view.summary.startswith("loss 0.000 → 0.9")
    assert all(len(line) == 80 for line in frame(view))


def test_sparklines() -> None:
    assert sparkline([], 5) == "" and sparkline([1.0], 0) == ""
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline([float(i) for i in range(1000)], 30)) == 30


# --- on the display -----------------------------------------------------------------------------------------------


def display_on(*, terminal: bool, quiet: bool = False, width: int = 80) -> tuple[Display, Console, Clock]:
    clock, err = Clock(), screen(width, terminal=terminal)
    return Display(out=screen(80), err=err, quiet=quiet, clock=clock), err, clock


def play(report: Callable[[object], None], clock: Clock, *, steps: int, total: int) -> None:
    for step in range(1, steps + 1):
        report(PhaseStarted("rollouts", 24, "rollouts"))
        for done in range(1, 25):
            clock.now += 2
            report(PhaseAdvanced("rollouts", done))
        report(rolled())
        report(PhaseFinished("rollouts", 48.0))
        clock.now += 60
        report(StepFinished(step, total, GRPO[step % 4] | {"dead": 0.25}))


def test_without_a_terminal_only_steps_leave_lines() -> None:
    display, err, clock = display_on(terminal=False, width=160)
    play(display, clock, steps=40, total=40)
    shown = written(err).rstrip("\n").split("\n")
    assert len(shown) == 1 + 20 + 1
    assert shown[0] == (
        "  Step 1/40: 132.2 s/step · loss 0.198 · reward .17 · em .08 · f1 .13 · format .92 · rounds 0.83 · "
        "queries 1.38 · dead .25"
    )
    assert [line.split("/")[0] for line in shown[1:4]] == ["  Step 2", "  Step 4", "  Step 6"]
    assert shown[-1] == "✓ Training, 40 steps, 1:12:00, loss 0.044 → 0.044, reward .27 → .27"
    assert "\x1b" not in written(err)


def test_a_measured_step_always_leaves_its_line() -> None:
    display, err, _ = display_on(terminal=False)
    for step in range(1, 201):
        display(StepFinished(step, 1000, {"loss": 1.0} | ({"eval_em": 0.5} if step == 7 else {})))
    shown = written(err).split("\n")
    assert [line.split("/")[0].strip() for line in shown[:3]] == ["Step 1", "Step 7", "Step 50"]
    assert shown[1].endswith("loss 1.000 · eval_em .50")


def test_quiet_prints_nothing() -> None:
    for terminal in (True, False):
        display, err, clock = display_on(terminal=terminal, quiet=True)
        play(display, clock, steps=3, total=3)
        assert written(err) == ""


def test_a_terminal_shows_the_run_and_keeps_one_line() -> None:
    display, err, clock = display_on(terminal=True)
    play(display, clock, steps=2, total=3)
    assert "2/3" in drawn(display) and "✓ 1.00  Which is higher?" in drawn(display) and "Update" in drawn(display)
    display(PhaseStarted("Evaluating", 100, "questions"))
    assert "0/100" in drawn(display) and "Update" not in drawn(display)
    display(PhaseAdvanced("Evaluating", 100))
    display(PhaseFinished("Evaluating", 9.0))
    play(display, clock, steps=3, total=3)
    assert display._live is None
    kept = [line for line in written(err).split("\n") if "✓ " in line and "│" not in line]
    assert len(kept) == 2
    assert "✓ Evaluating, 100 questions, 9.0 s" in plain(kept[0]) and "✓ Training, 3 steps" in plain(kept[1])


def test_a_run_that_stops_early_leaves_its_line_and_only_one() -> None:
    display, err, clock = display_on(terminal=False)
    display(PhaseStarted(TRAINING, 10, "steps"))
    display(PhaseFinished(TRAINING, 0.0))
    assert written(err) == ""
    display(PhaseStarted(TRAINING, 2, "steps"))
    for step in (1, 2):
        clock.now += 5
        display(StepFinished(step, 2, {"loss": 1.0}))
    display(PhaseFinished(TRAINING, 10.0))
    display(PhaseStarted(TRAINING, 10, "steps"))
    display(StepFinished(1, 10, {"loss": 1.0}))
    display(PhaseFinished(TRAINING, 5.0))
    kept = [line for line in written(err).split("\n") if line.startswith("✓")]
    assert kept == [
        "✓ Training, 2 steps, 10.0 s, loss 1.000 → 1.000",
        "✓ Training, 1/10 steps, 0.0 s, loss 1.000 → 1.000",
    ]


def test_a_signal_in_the_middle_of_a_line_waits_for_its_end() -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            done = super().write(text)
            if "Checkpoint" in text and not shown:
                shown.append(text)
                display(Notice("Stopping after this step.", "warning"))
            return done

    shown: list[str] = []
    display, err, _ = display_on(terminal=True)
    err.file = Interrupted()
    display(StepFinished(1, 9, {"loss": 1.0}))
    display(CheckpointSaved("runs/a", 1))
    display.close()
    assert shown
    shown = plain(written(err))
    assert shown.count("✓ Checkpoint of step 1: runs/a") == 1
    assert shown.index("Checkpoint of step 1") < shown.index("Warning: Stopping after this step.")


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    display, err, clock = display_on(terminal=True, width=200)
    passage = Passage(HOSTILE, HOSTILE, HOSTILE)
    turn = Turn("search", HOSTILE, (HOSTILE,), passages=((passage,),))
    hostile = trajectory(turn, Turn("answer", HOSTILE, answer=HOSTILE), question=HOSTILE)
    display(StepFinished(1, 9, {"loss": 1.0, "reward": 0.5, HOSTILE: 1.0}))
    display(rolled(hostile, hostile))
    display(Notice(HOSTILE, "warning"))
    display(PhaseStarted(HOSTILE, 3, HOSTILE))
    shown = drawn(display)
    assert not set(shown) & set("\x1b\x07\x9b\x00\u202e")
    assert shown.count("[red]x[/red]") >= 6
    assert "\x1b[31m" not in written(err) and "\x1b]" not in written(err)


def drawn(display: Display) -> str:
    on = screen(display.err.width)
    on.print(display._render())
    return written(on)


def plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def test_lines_name_no_signal_next_to_the_dead() -> None:
    assert step_line({"signal": 0.75, "dead": 0.25}) == "dead .25"
    assert step_line({"signal": 0.75}) == "signal .75"
