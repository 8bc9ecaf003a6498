"""Looking into trajectory files: what is trained, what is masked, how it ended; on any width, and from any file."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.safe_text import clean
from ragr1_lite.core.types import GoldPlan, Mode, Passage, Step, StopReason, Trajectory, Turn
from ragr1_lite.data.gold import gold_trajectories
from ragr1_lite.data.trajectories import no_record, to_record
from ragr1_lite.data.viewing import Viewed, view
from ragr1_lite.ui.trajectories import trajectories_view
from tests.support.scripted import ByteTokenizer, ScriptedSearcher, example

HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07[bold]b[/bold] \u202eright"
PLAN = GoldPlan((Step("Both.", ("area of Chad", "area of Mali")), Step("Then.", ("Emi Koussi",))), "So.", "Chad")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def gold(plan: GoldPlan = PLAN, mode: Mode = "multi", found: Passage | None = None, id: str = "q") -> Trajectory:
    searcher = ScriptedSearcher(default=[found] if found else None)
    [one] = gold_trajectories(
        [replace(example(id=id), kind="comparison")],
        [plan],
        ByteTokenizer(),
        searcher,
        protocol=Protocol(mode),
        limits=Limits(max_new_tokens=300),
    )
    return one


def failed(stop: StopReason, *turns: Turn) -> Trajectory:
    return Trajectory(example(), (), turns, stop)


def saved(folder: Path, *lines: Trajectory | dict[str, Any] | str) -> Path:
    rows = [to_record(one) if isinstance(one, Trajectory) else one for one in lines]
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (folder / "file.jsonl").write_text(text, "utf-8")
    return folder / "file.jsonl"


def shown(viewed: list[Viewed], width: int = 80, *, colour: bool = False, **how: Any) -> str:
    screen = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None,
        markup=False, highlight=False, emoji=False, legacy_windows=False, _environ={},
    )  # fmt: skip
    screen.print(trajectories_view(viewed, **how))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.split("\n"))


# --- what a line says ----------------------------------------------------------------------------------------------


def test_documents_are_viewed_as_far_as_the_model_saw_them(tmp_path: Path) -> None:
    found = (Passage("1", "Chad", "Chad is a country."), Passage("2", "Mali", "Mali is another."))
    cut = (replace(found[0], text="Chad is"),)
    turn = Turn("search", "t", ("a", "b"), passages=(found, found), cut=(cut, ()))
    [viewed] = view(saved(tmp_path, failed("budget", turn)))
    assert '"documents": ["Doc 1: Chad. Chad is", ""]' in viewed.texts[-1]


@pytest.mark.parametrize(("mode", "plan"), [("multi", PLAN), ("single", GoldPlan(PLAN.steps[1:], "So.", "Chad"))])
def test_segments_are_those_that_are_trained(tmp_path: Path, mode: Mode, plan: GoldPlan) -> None:
    trained = gold(plan, mode)
    [one] = view(saved(tmp_path, trained), mode=mode)
    text = ByteTokenizer()
    assert [part.source for part in one.trajectory.segments] == [part.source for part in trained.segments]
    for ours, theirs, shown_text in zip(one.trajectory.segments, trained.segments, one.texts, strict=True):
        assert shown_text == text.decode([token for token in ours.token_ids if token < 256])
        assert shown_text == text.decode(theirs.token_ids)
    assert one.trajectory.segments[-1].token_ids[-1] == 256, "the end token is trained"
    assert one.trajectory.turns == trained.turns


def test_json_has_the_line_and_what_is_said_about_it(tmp_path: Path) -> None:
    row = to_record(gold()) | {"seed": 3}
    [one] = view(saved(tmp_path, row))
    assert one.to_json() == row | {"right": True, "categories": [2, 4, 3]}
    counted = one.to_json(tokens=True)["segments"]
    assert [part["source"] for part in counted] == ["prompt", "model", "env", "model", "env", "model"]
    assert counted[3]["tokens"] == len("<think>Then.</think><search>Emi Koussi</search>")


SEARCH = Turn("search", "First.", ("a", "b"), passages=((), (Passage("1", "T", "Text."),)))


@pytest.mark.parametrize(
    ("line", "labels", "words"),
    [
        (gold(), [2, 4, 3], "✓ right: Chad"),
        (gold(replace(PLAN, answer="Mali")), [2, 4, 3], "✗ wrong: Mali"),
        (gold(GoldPlan((), "So.", "Chad"), "direct"), [1], "✓ right"),
        (failed("invalid", SEARCH, Turn("invalid", "Hm.")), [2, None], "✗ no answer: it wrote neither"),
        (failed("length", Turn("invalid", "")), [None], "✗ no answer: what it wrote was cut"),
        (failed("budget", SEARCH, replace(SEARCH, passages=())), [2, 4], "✗ no answer: it searched once more"),
        (failed("context"), [], "✗ no answer: the sequence was full"),
        (no_record(example()), [], "✗ no answer"),
    ],
)  # fmt: skip
def test_every_way_to_end_is_shown(tmp_path: Path, line: Any, labels: list[int | None], words: str) -> None:
    [one] = view(saved(tmp_path, line))
    assert one.categories == labels
    assert words in shown([one]).splitlines()[-1]
    assert shown([one], masks=True).splitlines()[-1] == shown([one]).splitlines()[-1]


def test_what_rag_mode_retrieved_is_part_of_the_prompt(tmp_path: Path) -> None:
    [one] = view(saved(tmp_path, gold(GoldPlan((), "So.", "Chad"), "rag")))
    assert one.categories == [None, 3]
    assert [part.source for part in one.trajectory.segments] == ["prompt", "model"]
    assert "Doc 1: Which Is Larger" in one.texts[0]
    assert "┊ › Which is larger" in shown([one])


def test_lines_are_chosen_by_id_and_number(tmp_path: Path) -> None:
    file = saved(tmp_path, *(gold(id=id) for id in "abab"))
    assert [one.trajectory.example.id for one in view(file, limit=3)] == ["a", "b", "a"]
    assert [one.trajectory.example.id for one in view(file, id="b")] == ["b", "b"]
    assert len(view(file, id="b", limit=1)) == 1
    with pytest.raises(DataError, match="has the id c.*--id"):
        view(file, id="c")


# --- what is seen --------------------------------------------------------------------------------------------------

WIDE = """\
┃ trained: what the model writes   ┊ masked: what it is given

Which is larger, Chad or Mali?
id q · kind comparison · accepted Chad
Prompt
┊ Think inside <think></think>. If you lack facts, write up to 3 queries,…
Turn 1 · (2) question → search
┃ Both.
┃ › area of Chad           ┊ 1. Area Of Chad                                1.50
                           ┊    All about area of Chad.
┃ › area of Mali           ┊ 1. Area Of Mali                                1.50
                           ┊    All about area of Mali.
Turn 2 · (4) information → search
┃ Then.
┃ › Emi Koussi             ┊ 1. Emi Koussi                                  1.50
                           ┊    All about Emi Koussi.
Turn 3 · (3) information → answer
┃ So.
┃ Answer: Chad
✓ right: Chad
"""

NARROW = """\
┃ Both.
┃ › area of Chad
┊ 1. Area Of Chad                                       1.50
┊    All about area of Chad.
┃ › area of Mali
"""


def test_queries_stand_beside_their_documents(tmp_path: Path) -> None:
    assert shown(view(saved(tmp_path, gold()))) == WIDE


def test_queries_stand_above_their_documents_where_it_is_narrow(tmp_path: Path) -> None:
    assert NARROW in shown(view(saved(tmp_path, gold())), 60)


@pytest.mark.parametrize("width", [20, 60, 80, 120])
@pytest.mark.parametrize("masks", [False, True])
def test_no_line_is_too_long_and_every_piece_has_its_bar(tmp_path: Path, width: int, masks: bool) -> None:
    found = Passage("1", "A title that is rather long for one line " * 3, "word " * 400, 12.5)
    lines = shown(view(saved(tmp_path, gold(found=found))), width, masks=masks).splitlines()
    assert max(map(len, lines)) <= width
    assert {"┃", "┊"} <= {line[0] for line in lines[2:] if line}


def test_masks_show_the_sequence_whole(tmp_path: Path) -> None:
    text = shown(view(saved(tmp_path, gold())), 400, masks=True)
    assert "┃ <think>Both.</think><search>area of Chad, area of Mali</search>" in text
    assert '┊ <information>{"query": ["Emi Koussi"], "documents": ["Doc 1: ' in text
    assert "┊ Question: Which is larger, Chad or Mali?" in text


def test_trained_and_masked_have_different_colours(tmp_path: Path) -> None:
    lines = shown(view(saved(tmp_path, gold())), 400, colour=True, masks=True).splitlines()
    colours = {
        ANSI.sub("", line)[:1]: set(re.findall(r"\x1b\[(3\d)m", line)) for line in lines if "n>" in line or "k>" in line
    }
    assert colours == {"┃": {"32"}, "┊": {"33"}}
    plain = shown(view(saved(tmp_path, gold())), 400, masks=True)
    assert "\x1b" not in plain
    assert ANSI.sub("", "\n".join(lines)).split() == plain.split()


def test_tokens_are_counted_on_demand(tmp_path: Path) -> None:
    viewed = view(saved(tmp_path, gold()))
    prompt, model, env, *_ = (len(part.token_ids) for part in viewed[0].trajectory.segments)
    text = shown(viewed, 100, tokens=True)
    assert f"Prompt · tokens: {prompt} masked" in text
    assert f"Turn 1 · (2) question → search · tokens: {model} trained, {env} masked" in text
    assert f"information, {env} tokens" in shown(viewed, tokens=True, masks=True)


@pytest.mark.parametrize("masks", [False, True])
def test_foreign_text_does_nothing_to_the_terminal(tmp_path: Path, masks: bool) -> None:
    passage = Passage(HOSTILE, HOSTILE, HOSTILE)
    row = to_record(gold(replace(PLAN, think=HOSTILE, answer=HOSTILE), found=passage))
    row |= {
        "question": HOSTILE,
        "id": HOSTILE,
        "kind": HOSTILE,
        "answers": [HOSTILE],
        "seed": HOSTILE,
        HOSTILE: HOSTILE,
    }
    row["turns"][0]["queries"] = [HOSTILE, HOSTILE]
    row["stop_reason"] = HOSTILE
    text = shown(view(saved(tmp_path, row)), 200, masks=masks, tokens=True)
    assert clean(text) == text
    assert "[bold]b[/bold]" in text


# --- what can be wrong ---------------------------------------------------------------------------------------------

GOOD = to_record(gold())
TURN = GOOD["turns"][0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ({"question": "q", "answers": ["a"]}, "`turns` is not a list"),
        (GOOD | {"answers": "Chad"}, "`answers` is not a list"),
        (GOOD | {"answers": [1]}, "`answers` holds something that is not text"),
        (GOOD | {"question": None}, "`question` is not text"),
        (GOOD | {"answer": 7}, "`answer` is not text"),
        (GOOD | {"answer": None}, "no answer with the trajectory's `answer`"),
        (GOOD | {"turns": {}}, "`turns` is not a list"),
        (GOOD | {"turns": ["search"]}, "`turns` holds something that is not an object"),
        (GOOD | {"turns": [TURN | {"kind": "dance"}]}, "a turn is no search"),
        (GOOD | {"turns": [TURN | {"think": None}]}, "`think` is not text"),
        (GOOD | {"turns": [TURN | {"queries": []}]}, "`passages` are not as many as `queries`"),
        (GOOD | {"turns": [TURN | {"queries": ["a", 1]}]}, "`queries` holds something that is not text"),
        (GOOD | {"turns": [TURN | {"passages": [[]]}]}, "`passages` are not as many as `queries`"),
        (GOOD | {"turns": [TURN | {"passages": [{}, {}]}]}, "`passages` holds something that is not a list"),
        (GOOD | {"turns": [TURN | {"passages": [[{"title": 1}], []]}]}, "`id` is not text"),
    ],
)
def test_bad_lines_are_named_and_the_good_ones_shown(tmp_path: Path, row: Any, words: str) -> None:
    events: list[object] = []
    assert len(view(saved(tmp_path, row, GOOD), report=events.append)) == 1
    [notice] = [one.text for one in events if isinstance(one, Notice)]
    assert words in notice and "file.jsonl:1 " in notice
    with pytest.raises(DataError, match="(?s)nothing in .*file.jsonl:1.*data generate") as error:
        view(saved(tmp_path, row))
    assert words in str(error.value)
