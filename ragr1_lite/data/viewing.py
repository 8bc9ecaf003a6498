"""Trajectory files to look into: every line, the wrong and broken-off ones too, with what is trained."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Report, ignore
from ragr1_lite.core.protocol import Protocol, render_documents, render_turn
from ragr1_lite.core.rewards import exact_match
from ragr1_lite.core.types import Example, Mode, Segment, Source, StopReason, Tokenizer, Trajectory, Turn
from ragr1_lite.data.gold import ByteTokenizer
from ragr1_lite.data.other_forms import as_record
from ragr1_lite.data.targets import categories
from ragr1_lite.data.trajectories import RECORD_FORM, parse_turns
from ragr1_lite.files.json_arrays import read_rows


@dataclass(frozen=True, slots=True)
class Viewed:
    """A line of a trajectory file; ``texts`` are its segments', without chat template and end token.

    The segments hold of the documents what the model saw.
    """

    row: dict[str, Any]
    trajectory: Trajectory
    texts: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the answer is an accepted one."""
        return exact_match(self.trajectory.answer, self.trajectory.example.answers) == 1.0

    @property
    def categories(self) -> list[int | None]:
        """The paper's category of each turn; none where the turn is not the model's, or not understood."""
        turns = self.trajectory.turns
        labels = [None] * self.trajectory.first_written + categories(self.trajectory)
        return [None if turn.kind == "invalid" else label for turn, label in zip(turns, labels, strict=True)]

    def to_json(self, *, tokens: bool = False) -> dict[str, Any]:
        """The line with ``right``, ``categories`` and, on demand, ``segments``, each with its number of tokens."""
        added: dict[str, Any] = {"right": self.right, "categories": self.categories}
        if tokens:
            counted = self.trajectory.segments
            added["segments"] = [{"source": one.source, "tokens": len(one.token_ids)} for one in counted]
        return self.row | added


def view(
    path: Path,
    *,
    id: str | None = None,
    limit: int | None = None,
    model: str | None = None,
    mode: Mode = "multi",
    report: Report = ignore,
) -> list[Viewed]:
    """Reads the lines of a trajectory file, or only those of one question, at most ``limit``.

    The segments hold the tokens of ``model``, without one bytes; ``mode`` is how the trajectories search, which only
    evaluations' files say. Raises DataError where there is no such line, ModelError where the model has no tokenizer.
    """
    tokenizer = _tokenizer(model, report)
    lines = read_rows(path, lambda row, number: _line(row, number, tokenizer, mode), RECORD_FORM, report)
    wanted = (one for one in lines if id is None or one.trajectory.example.id == id)
    found = list(islice(wanted, limit and min(limit, sys.maxsize)))
    if not found:
        raise DataError(f"No trajectory in {path} has the id {id}", "Leave --id out to see the first ones with theirs.")
    return found


def _tokenizer(model: str | None, report: Report) -> Tokenizer:
    if model is None:
        return ByteTokenizer()
    from ragr1_lite.models.hub import find_folder
    from ragr1_lite.models.tokenizer import ChatTokenizer

    return ChatTokenizer.load(find_folder(model, report), report)


def _line(row: dict[str, Any], number: int, tokenizer: Tokenizer, mode: Mode) -> Viewed:
    row = as_record(row)
    example, turns = parse_turns(row, number)
    given = turns[:1] if turns and turns[0].queries == (example.question,) and not turns[0].think else ()
    guessed: Mode = ("cot-rag" if turns[-1].think else "rag") if given else mode
    protocol = Protocol(row["mode"] if row.get("mode") in get_args(Mode) else guessed)
    parts = list(_parts(example, given, turns[len(given) :], protocol, tokenizer.opening.strip()))
    segments = [
        Segment(source, tuple(tokenizer.render_chat(text) if source == "prompt" else tokenizer.encode(text)))
        for source, text in parts
    ]
    if turns and turns[-1].kind == "answer":
        segments[-1] = Segment("model", (*segments[-1].token_ids, tokenizer.eos_ids[0]))
    stop = cast(StopReason, str(row.get("stop_reason") or ""))
    texts = [text for _, text in parts]
    texts[0] += tokenizer.opening and f"\n{tokenizer.opening.strip()}"
    return Viewed(row, Trajectory(example, tuple(segments), turns, stop), tuple(texts))


def _parts(
    example: Example, given: Sequence[Turn], written: Sequence[Turn], protocol: Protocol, opening: str
) -> Iterator[tuple[Source, str]]:
    """The text of each segment; of a turn that was not understood the file keeps the thought alone.

    The first turn lacks the ``opening`` that the chat template writes.
    """
    documents = _documents(given[0], "\n")[0] if given and given[0].passages else ""
    yield "prompt", protocol.render_prompt(example.question, documents)
    for number, turn in enumerate(written):
        text = render_turn(turn.think, queries=turn.queries, answer=turn.answer).removesuffix("<search></search>")
        yield "model", text if number else text.removeprefix(opening)
        if turn.passages:
            yield "env", protocol.render_information(turn.queries, _documents(turn))


def _documents(turn: Turn, between: str = " ") -> list[str]:
    """What the model read, a text per query; an empty one where the token budget had no room for what was found."""
    return [
        render_documents(shown, between) if shown or not found else ""
        for found, shown in zip(turn.passages, turn.shown, strict=True)
    ]
