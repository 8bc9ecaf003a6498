from __future__ import annotations

import doctest
import importlib
import io
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from ragr1_lite.assistant import Answer
from ragr1_lite.core.events import (
    CheckpointSaved,
    Notice,
    PhaseAdvanced,
    PhaseFinished,
    PhaseStarted,
    RolloutFinished,
    Searched,
    StepFinished,
    TextSampled,
)
from ragr1_lite.core.protocol import NOT_FOUND
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import Example, Passage, Segment, StopReason, Trajectory, Turn
from ragr1_lite.ui import Conversation, Display
from ragr1_lite.ui.conversation import PrettyConversation
from ragr1_lite.ui.display import console
from ragr1_lite.ui.evaluations import evaluation_table
from ragr1_lite.ui.figures import _named, number, trend
from ragr1_lite.ui.tables import counts_table, index_table, search_results
from ragr1_lite.ui.text import one_line, to_json
from ragr1_lite.ui.turns import REFUSED, _short, read_partial

HOSTILE = "[red]x[/red] \x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J\u202eright\x00"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

CHAD = (
    Passage("1", "Chad", "Chad is a landlocked country of Central Africa with fifteen million people.", 12.41),
    Passage("2", "Emi Koussi", "Emi Koussi is a high volcano in the Tibesti Mountains of northern Chad.", 9.02),
)
NIGER = (Passage("3", "Niger", "Niger is a landlocked country of West Africa, named after the river.", 11.8),)
SEARCH = Turn(
    "search",
    "I need both highest points.",
    ("highest point of Chad", "highest point of Niger"),
    passages=(CHAD, NIGER),
)
ANSWER = Turn("answer", "3,415 m is more than 2,022 m.", answer="Chad")


def answered(*turns: Turn, stop: StopReason = "answer") -> Answer:
    example = Example("q", "Which has the higher highest point, Chad or Niger?", ())
    return Answer(Trajectory(example, (Segment("prompt", ()),), turns, stop), 3.42, 0.0123)


def as_written(turn: Turn) -> str:
    action = f"<search>{', '.join(turn.queries)}</search>" if turn.queries else f"<answer>{turn.answer}</answer>"
    return f"<think>{turn.think}</think>{action}"


def recorder(width: int = 80, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=30,
        force_terminal=terminal,
        color_system="truecolor" if terminal else None,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )


def written(of: Console) -> str:
    return of.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def lines(of: Console) -> list[str]:
    return [line.rstrip() for line in ANSI.sub("", written(of)).replace("\r", "").split("\n")]


def drawn(item: RenderableType, width: int = 80, *, terminal: bool = False) -> str:
    screen = recorder(width, terminal=terminal)
    screen.print(item)
    return "\n".join(line.rstrip() for line in written(screen).split("\n"))


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the frames that are drawn over, so that what stays can be compared."""
    monkeypatch.setattr(PrettyConversation, "_stream", lambda self: None)


def play(view: Conversation, *turns: Turn, chunk: int = 3) -> None:
    for turn in turns:
        text = as_written(turn)
        for start in range(0, len(text), chunk):
            view(TextSampled(0, text[start : start + chunk]))
        if turn.queries:
            view(Searched(0, turn.queries, turn.passages))


# --- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["text", "turns", "figures"])
def test_examples_in_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"ragr1_lite.ui.{module}"))
    assert result.attempted and not result.failed


def test_clean_leaves_nothing_a_terminal_obeys() -> None:
    assert clean(HOSTILE) == "[red]x[/red] red 2Jright"
    assert clean("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\") == "link"
    assert clean("São Tomé – 北京 👍\nnext\tline") == "São Tomé – 北京 👍\nnext line"


def test_one_line_cuts_at_a_word() -> None:
    assert one_line("  one\n two three  ", 9) == "one two…"
    assert one_line("short", 5) == "short"


def test_numbers_are_short() -> None:
    assert [_short(seconds) for seconds in (3.42, 0.0123, 0.0002)] == ["3.4 s", "12 ms", "<1 ms"]
    assert (number("loss", 0.25), number("em", 0.25)) == ("0.250", ".25")
    assert [_named(*one) for one in (("em", 0.5), ("seconds", 3.21), ("lr", 1e-5))] == [
        "em .50",
        "3.2 s/step",
        "lr 1e-05",
    ]


def test_json_is_one_line_without_controls_and_reads_back() -> None:
    value = {"text": HOSTILE + "\n é \ud83d"}
    text = to_json(value)
    assert json.loads(text) == value
    assert "é" in text and text.isprintable() and "\n" not in text


# --- the growing turn ---------------------------------------------------------------------------------------------


def test_no_beginning_of_a_turn_shows_a_tag() -> None:
    text = as_written(SEARCH)
    for end in range(len(text) + 1):
        shown = read_partial(text[:end])
        assert "<" not in shown.think + shown.content, text[:end]
    assert read_partial(text) == (SEARCH.think, "search", "highest point of Chad, highest point of Niger")


def test_a_thought_may_hold_a_less_than() -> None:
    assert read_partial("<think>3 < 4 and a<b").think == "3 < 4 and a<b"
    assert read_partial("no tags at all").think == "no tags at all"


def test_text_after_the_closing_tag_is_not_shown() -> None:
    assert read_partial("<think>x</think><answer>Chad</answer>\nand more").content == "Chad"


# --- pretty -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("still")
def test_pretty_view_at_80_columns() -> None:
    display = Display(out=recorder(), err=recorder())
    view = Conversation.on(display)
    view.begin("Which has the higher highest point, Chad or Niger?")
    play(view, SEARCH, ANSWER)
    view(RolloutFinished(0, answered(SEARCH, ANSWER).trajectory))
    view.finish(answered(SEARCH, ANSWER))
    assert lines(display.out) == [
        "",
        "Which has the higher highest point, Chad or Niger?",
        "",
        "  I need both highest points.",
        "",
        "  › highest point of Chad               › highest point of Niger",
        "  Chad                           12.4   Niger                             11.8",
        "  Chad is a landlocked country …        Niger is a landlocked country of…",
        "  Emi Koussi                      9.0",
        "  Emi Koussi is a high volcano …",
        "",
        "  3,415 m is more than 2,022 m.",
        "",
        "╭─ Answer ─────────────────────────────────────────────────────────────────────╮",
        "│  Chad                                                                        │",
        "╰─────────────── 1 round · 2 queries · 3.4 s: thinking 3.4 s, searching 12 ms ─╯",
        "  Sources: Chad · Emi Koussi",
        "",
    ]
    assert written(display.err) == ""


@pytest.mark.usefixtures("still")
def test_pretty_view_stacks_queries_on_a_narrow_terminal() -> None:
    display = Display(out=recorder(44), err=recorder(44))
    view = Conversation.on(display)
    view.begin("Which?")
    play(view, SEARCH)
    shown = lines(display.out)
    assert all(len(line) <= 44 for line in shown)
    assert shown.index("  › highest point of Niger") > shown.index("  › highest point of Chad")


def test_frames_never_show_a_tag_and_a_long_thought_shows_its_end() -> None:
    display = Display(out=recorder(), err=recorder())
    view = PrettyConversation(display)
    view._text = "<think>" + " ".join(f"word{number}" for number in range(2000)) + "</thi"
    frame = drawn(view._growing())
    assert "word1999" in frame and "word0 " not in frame and "<" not in frame
    assert frame.count("\n") <= 30
    view.begin("Which?")
    play(view, SEARCH, ANSWER, chunk=1)
    view.finish(answered(SEARCH, ANSWER))
    assert "<" not in written(display.out).replace("\x1b[", "")
    assert lines(display.out)[-2:] == ["  Sources: Chad · Emi Koussi", ""]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("plain", [False, True])
def test_hostile_text_is_shown_and_not_obeyed(plain: bool) -> None:
    display = Display(out=recorder(160, terminal=not plain), err=recorder(), plain=plain)
    view = Conversation.on(display)
    turn = Turn("search", HOSTILE, (HOSTILE,), passages=((Passage("1", HOSTILE, HOSTILE, 1.0),),))
    view.begin(HOSTILE)
    play(view, turn)
    view.finish(answered(turn, Turn("answer", HOSTILE, answer=HOSTILE)))
    shown = ANSI.sub("", written(display.out))
    assert not set(shown) & set("\x1b\x07\x9b\x00\u202e")
    assert shown.count("[red]x[/red]") == 8
    assert "\x1b[31m" not in written(display.out)


@pytest.mark.usefixtures("still")
def test_what_was_not_reported_is_shown_at_the_end() -> None:
    display = Display(out=recorder(), err=recorder())
    view = Conversation.on(display)
    view.begin("Which?")
    view.finish(answered(SEARCH, ANSWER))
    shown = "\n".join(lines(display.out))
    order = [shown.index(part) for part in ("both highest", "› highest point", "3,415 m", "─ Answer ─")]
    assert order == sorted(order)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(
    ("stop", "words"),
    [("invalid", "neither a search"), ("length", "longer"), ("budget", "rounds"), ("context", "no room")],
)
def test_no_answer_has_its_reason(stop: StopReason, words: str) -> None:
    for terminal in (True, False):
        display = Display(out=recorder(terminal=terminal), err=recorder())
        view = Conversation.on(display)
        view.begin("Which?")
        view.finish(answered(Turn("invalid", "hm"), stop=stop))
        shown = "\n".join(lines(display.out))
        assert "No answer" in shown and words in shown


@pytest.mark.usefixtures("still")
def test_a_refusal_is_no_answer_and_names_no_source() -> None:
    for terminal in (True, False):
        display = Display(out=recorder(terminal=terminal), err=recorder())
        view = Conversation.on(display)
        view.begin("Which?")
        view.finish(answered(SEARCH, Turn("answer", "Nothing.", answer=NOT_FOUND)))
        shown = " ".join(lines(display.out))
        assert "No answer" in shown and REFUSED in shown and "Sources:" not in shown and "Read:" not in shown


def test_other_events_reach_the_display() -> None:
    display = Display(out=recorder(), err=recorder())
    view = PrettyConversation(display)
    view.begin("Which?")
    view(Notice("a notice"))
    view.stop()
    assert "a notice" in written(display.err)


# --- plain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
def test_plain_view(terminal: bool) -> None:
    display = Display(out=console(io.StringIO(), plain=True), err=recorder(), plain=terminal)
    view = Conversation.on(display)
    assert type(view) is Conversation
    view.begin("Which has the higher highest point, Chad or Niger?")
    play(view, SEARCH, ANSWER)
    view.finish(answered(SEARCH, ANSWER))
    assert written(display.out) == (
        "Question: Which has the higher highest point, Chad or Niger?\n"
        "Thought: I need both highest points.\n"
        "Search: highest point of Chad\n"
        "  1. Chad (12.41): Chad is a landlocked country of Central Africa with fifteen million people.\n"
        "  2. Emi Koussi (9.02): Emi Koussi is a high volcano in the Tibesti Mountains of northern Chad.\n"
        "Search: highest point of Niger\n"
        "  1. Niger (11.80): Niger is a landlocked country of West Africa, named after the river.\n"
        "Thought: 3,415 m is more than 2,022 m.\n"
        "Answer: Chad\n"
        "(1 round, 2 queries, 3.4 s: thinking 3.4 s, searching 12 ms)\n"
        "Sources: Chad · Emi Koussi\n"
    )


def test_what_was_read_is_no_source_where_it_does_not_hold_the_answer() -> None:
    display = Display(out=recorder(terminal=False), err=recorder())
    Conversation(display).finish(answered(SEARCH, Turn("answer", "Guessed.", answer="Oman")))
    assert lines(display.out)[-2] == "Read: Chad · Emi Koussi · Niger"


def test_sources_have_their_file_and_place_and_take_two_lines_at_most() -> None:
    found = tuple(
        Passage(f"{'long-' * 12}{number}.pdf#1", f"Chad {number}", "Chad.", place="page 3") for number in range(3)
    )
    turn = Turn("search", "t", ("q",), passages=(found,))
    wide, narrow = (Display(out=recorder(width), err=recorder()) for width in (400, 60))
    for display in (wide, narrow):
        view = PrettyConversation(display)
        view._stream = lambda: None  # type: ignore[method-assign]
        view.finish(answered(turn, ANSWER))
    (line,) = (line for line in lines(wide.out) if "Sources" in line)
    assert line.startswith(f"  Sources: Chad 0 ({'long-' * 12}0.pdf, page 3) · Chad 1 (")
    before, *after = lines(narrow.out)[-4:]
    assert before.startswith("╰") and after[0].startswith("  Sources: Chad 0") and after[2] == ""


def test_a_search_that_found_nothing_is_shown_as_such() -> None:
    display = Display(out=recorder(terminal=False), err=recorder())
    view = Conversation.on(display)
    view(Searched(0, ("nowhere",), ((),)))
    assert lines(display.out)[:2] == ["Search: nowhere", "  nothing found"]


# --- progress -----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piped(*, quiet: bool = False) -> tuple[Display, Clock]:
    clock = Clock()
    return Display(out=recorder(terminal=False), err=recorder(160, terminal=False), quiet=quiet, clock=clock), clock


def test_phases_without_a_terminal_are_a_few_plain_lines() -> None:
    display, clock = piped()
    display(PhaseStarted("Reading passages", 30, "passages"))
    for done in range(1, 31):
        clock.now += 0.5
        display(PhaseAdvanced("Reading passages", done, "wiki.jsonl"))
    display(PhaseFinished("Reading passages", 15.0))
    assert lines(display.err) == [
        "  Reading passages: 10/30 passages, 5.0 s · 10.0 s left, wiki.jsonl",
        "  Reading passages: 20/30 passages, 10.0 s · 5.0 s left, wiki.jsonl",
        "  Reading passages: 30 passages, 15.0 s, wiki.jsonl",
        "✓ Reading passages, 30 passages, 15.0 s",
        "",
    ]
    assert written(display.out) == "" and "\x1b" not in written(display.err)


def test_a_long_phase_says_once_how_long_it_will_take() -> None:
    """By the first batch that ended: rows of a batch that goes on say nothing, nor does what an earlier run did."""
    display, clock = piped()
    display(PhaseStarted("Evaluating multi", 80, "questions"))
    display(PhaseAdvanced("Evaluating multi", 20, share=0.25, part="skipped"))
    for done in (25, 39, 40):
        clock.now += 10
        ended = done == 40
        display(
            PhaseAdvanced("Evaluating multi", done, share=0.5 if ended else 0.25, part="ended" if ended else "going on")
        )
    clock.now += 4
    display(PhaseAdvanced("Evaluating multi", 50, share=0.5, part="going on"))
    clock.now += 50
    display(PhaseAdvanced("Evaluating multi", 60, share=0.75))
    assert lines(display.err) == [
        "  Evaluating multi: 25/80 questions, 10.0 s",
        "  Evaluating multi: 39/80 questions, 20.0 s",
        "· Evaluating multi: about 1 minute to go on this machine, by the first 40 of 80 questions.",
        "  Evaluating multi: 40/80 questions, 30.0 s · 1:00 left",
        "  Evaluating multi: 60/80 questions, 1:24 · 54.0 s left",
        "",
    ]


def test_a_training_says_once_how_long_it_will_take() -> None:
    display, clock = piped()
    for step, left in enumerate((None, 700.0, 600.0), start=1):
        clock.now += 60
        display(StepFinished(step, 12, {"loss": 1.0}, left))
    assert lines(display.err) == [
        "  Step 1/12: loss 1.000",
        "· Training: about 12 minutes to go on this machine, by the first 2 of 12 steps.",
        "  Step 2/12: loss 1.000 · 11:40 left",
        "  Step 3/12: loss 1.000 · 10:00 left",
        "",
    ]


def test_short_phases_pass_silently() -> None:
    display, _ = piped()
    display(PhaseStarted("Building"))
    display(PhaseFinished("Building", 0.1))
    display(PhaseFinished("never begun", 0.1))
    display(PhaseAdvanced("never begun", 1))
    assert written(display.err) == ""


def test_quiet_keeps_warnings_and_errors() -> None:
    display, clock = piped(quiet=True)
    display(Notice("chosen"))
    display(PhaseStarted("Reading", 3))
    clock.now = 60
    display(PhaseAdvanced("Reading", 2))
    display(PhaseFinished("Reading", 60))
    display(StepFinished(1, 1, {"loss": 1.0}))
    display(CheckpointSaved("runs/a", 1))
    display.note("hint")
    display(Notice("2 lines skipped", "warning"))
    display.error("broken")
    assert lines(display.err) == ["Warning: 2 lines skipped", "Error: broken", ""]


def test_training_lines_and_their_end() -> None:
    display, clock = piped()
    for step in range(1, 101):
        clock.now += 2
        figures = {"loss": 2.0 if step <= 10 else 0.5, "grad_norm": 1.0, "reward": 0.25, "signal": 0.5, "seconds": 2.0}
        display(StepFinished(step, 100, figures))
    shown = lines(display.err)
    assert shown[0] == "  Step 1/100: 2.0 s/step · loss 2.000 · reward .25 · signal .50"
    assert [line.split("/")[0] for line in shown[1:4]] == ["  Step 5", "  Step 10", "  Step 15"]
    assert shown[-2] == "✓ Training, 100 steps, 3:20, loss 2.000 → 0.500, reward .25 → .25"
    assert len(shown) == 23


def test_a_second_training_begins_anew() -> None:
    display, clock = piped()
    display(StepFinished(50, 100, {"loss": 1.0, "seconds": 1.0}, left=50.0))
    assert display._training is not None
    clock.now += 1
    assert display._training.steps.times(clock.now) == "2.0 s · 49.0 s left"
    display(StepFinished(1, 10, {"loss": 1.0}))
    assert display._training.steps.progress == "1/10 steps"


def test_trend_without_figures_is_empty() -> None:
    assert trend({}) == "" and trend({"loss": [], "lr": [1.0]}) == ""


def test_the_display_remembers_the_last_checkpoint() -> None:
    display, _ = piped()
    assert display.checkpoint is None
    display(CheckpointSaved("runs/a/checkpoint-5", 5))
    assert display.checkpoint is not None and display.checkpoint.step == 5


def test_time_left_follows_the_share_where_the_total_is_unknown_and_a_high_rate_is_shown() -> None:
    clock = Clock()
    display = Display(out=recorder(), err=recorder(terminal=False), clock=clock)
    display(PhaseStarted("Reading passages", None, "passages"))
    clock.now = 10
    display(PhaseAdvanced("Reading passages", 5000, share=0.25))
    assert "Reading passages: 5,000 passages, 10.0 s · 30.0 s left · 500/s" in written(display.err)
    clock.now = 20
    display(PhaseAdvanced("Reading passages", 1000))
    assert written(display.err).rstrip().endswith("Reading passages: 1,000 passages, 20.0 s")


def test_a_terminal_sees_bars_within_its_width_and_they_go_away() -> None:
    clock = Clock()
    display = Display(out=recorder(60), err=recorder(60), clock=clock)
    display(PhaseStarted("A rather long name of a phase, longer than most", 20000, "passages"))
    display(StepFinished(3, 9, dict.fromkeys("abcdefghijklmnop", 1.0)))
    clock.now = 10
    display(PhaseAdvanced("A rather long name of a phase, longer than most", 5000, HOSTILE))
    frame = drawn(display._render(), 60)
    assert "5,000/20,000" in frame and "30.0 s left" in frame and "3/9" in frame
    assert all(len(line) <= 60 for line in frame.split("\n"))
    assert "\x1b" not in frame
    display.close()
    assert display._live is None
    assert written(display.err).rindex("\x1b[?25h") > written(display.err).rindex("\x1b[?25l")  # the cursor is back


def test_json_results_are_alone_on_stdout() -> None:
    display = Display(out=recorder(), err=recorder())
    display(Notice("chosen"))
    display.show_json({"a": ["é", 1]})
    assert written(display.out) == '{"a": ["é", 1]}\n'


# --- tables -------------------------------------------------------------------------------------------------------

KINDS = ("one-hop", "bridge", "compare-2", "compare-3", "list", "intersection", "everyday")


class Evaluated:
    def __init__(self, label: str, em: float, kinds: tuple[str, ...] = KINDS) -> None:
        self.label, self.given_up, self.readings, self.refused, self._kinds = label, "", "", "", kinds
        self._figures = {
            "n": 300,
            "em": em,
            "f1": em,
            "valid": 0.991,
            "rounds": 1.25,
            "queries": 2.314,
            "seconds_per_question": 0.412,
        }

    def to_json(self) -> dict[str, Any]:
        return {**self._figures, "by_kind": dict.fromkeys(self._kinds, self._figures)}


def test_evaluations_in_two_tables_at_80_columns() -> None:
    screen = recorder(80)
    rows = [Evaluated("base", 0.0), Evaluated("SFT", 0.724), Evaluated("SFT + GRPO", 1.0)]
    screen.print(evaluation_table(rows, screen))
    shown = lines(screen)
    assert all(len(line) <= 80 for line in shown)
    assert shown[1].split() == list(KINDS)
    assert shown[5].split() == ["SFT", "+", "GRPO", *["1.00"] * 7]
    assert shown[8].split() == ["EM", "F1", "valid", "rounds", "queries", "s/question"]
    assert shown[11].split() == ["SFT", ".72", ".72", "99%", "1.25", "2.31", "0.41"]


def test_evaluations_in_one_table_where_there_is_room() -> None:
    screen = recorder(160, terminal=False)
    screen.print(evaluation_table([Evaluated("base", 0.5), Evaluated("SFT", 0.6, ("bridge",))], screen))
    shown = lines(screen)
    assert shown[1].split() == [*KINDS, "EM", "F1", "valid", "rounds", "queries", "s/question"]
    assert shown[3].split()[:4] == ["SFT", "–", ".60", "–"]
    assert len(shown) == 5 and "─" not in written(screen)


def test_evaluations_without_kinds() -> None:
    screen = recorder(80, terminal=False)
    screen.print(evaluation_table([Evaluated("multi", 0.5, ())], screen))
    assert lines(screen)[1].split() == ["EM", "F1", "valid", "rounds", "queries", "s/question"]


def test_search_results_show_foreign_text_as_it_is() -> None:
    shown = drawn(search_results(["area", HOSTILE], [(Passage("7", "", HOSTILE, 1.5),), ()]))
    assert "1. (no title)  1.50  7" in shown and "[red]x[/red] red" in shown and "nothing found" in shown
    assert "\x1b" not in shown


def test_index_and_counts() -> None:
    info: Any = SimpleNamespace(
        path="runs/[bold]", passages=25531, words=9, k1=1.5, b=0.75, tokenizer={"stemmer": "none"}, bytes=3_400_000,
        package="0.1.0", title_weight=3, folder="notes",
    )  # fmt: skip
    shown = drawn(index_table(info))
    assert "runs/[bold]" in shown and "25,531" in shown and "3.2 MiB" in shown
    shown = drawn(counts_table({"questions": 1200, "rejected": {"no passage": 20}, "by_kind": {}, "rounds": 1.5}))
    assert re.search(r"Questions +1,200\n", shown) and re.search(r"Rejected +no passage 20\n", shown)
    assert re.search(r"By kind +none\n", shown) and re.search(r"Rounds +1.50\n", shown)
