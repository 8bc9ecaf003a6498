"""A trajectory's targets: the paper's four categories, counted and balanced, and as samples for other trainers.

The paper cuts a trajectory wherever the model has to write: one sample per turn, with everything before it as its
prefix. The samples of a trajectory share their prefix, so ``training.sft`` trains it as one sequence whose loss
mask picks the same targets; what is cut here is counted, and written for trainers that have no such mask.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ragr1_lite.core.errors import DataError
from ragr1_lite.core.events import Notice, Report, ignore, phase
from ragr1_lite.core.protocol import Protocol
from ragr1_lite.core.rollout import Limits
from ragr1_lite.core.types import Mode, Segment, Tokenizer, Trajectory
from ragr1_lite.data.sets import replay
from ragr1_lite.data.trajectories import read_records, write_rows
from ragr1_lite.files.journal import already_there
from ragr1_lite.files.writing import refuse_input
from ragr1_lite.models import builtin

if TYPE_CHECKING:
    from ragr1_lite.models.tokenizer import ChatTokenizer

Form = Literal["messages", "sharegpt", "text"]
CATEGORIES = dict(
    enumerate(("question → answer", "question → search", "information → answer", "information → search"), start=1)
)
"""What a turn goes on from and what it does, by the paper's number."""
_AS_RECORDED = 1000
"""Rounds, and passages per query: never fewer than a record has."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of the model as a training sample: the first ``end`` segments, of which the last alone is the target."""

    trajectory: Trajectory
    category: int
    end: int

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The prefix, then the target."""
        return self.trajectory.segments[: self.end]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All ids, shape ``(length,)``."""
        return tuple(token for segment in self.segments for token in segment.token_ids)

    @property
    def loss_mask(self) -> tuple[int, ...]:
        """1 in the target, else 0; shape ``(length,)``."""
        target = len(self.segments[-1].token_ids)
        return (0,) * (len(self.token_ids) - target) + (1,) * target

    @property
    def turn(self) -> int:
        """Which of the model's turns this is, from 1."""
        return sum(1 for segment in self.segments if segment.source == "model")


def categories(trajectory: Trajectory) -> list[int]:
    """The paper's category of each model segment, of :data:`CATEGORIES`."""
    labels = [(2 if i else 0) + (1 if turn.kind == "answer" else 2) for i, turn in enumerate(trajectory.turns)]
    return labels[trajectory.first_written :]


def samples(trajectory: Trajectory) -> list[Sample]:
    """One sample per model segment; together they have the targets that the trajectory's loss mask has.

    A trajectory of prompt ``[5, 6]``, model ``[7, 8]``, env ``[9]``, model ``[10]`` becomes the sequences ``[5, 6, 7,
    8]`` with mask ``[0, 0, 1, 1]`` and ``[5, 6, 7, 8, 9, 10]`` with mask ``[0, 0, 0, 0, 0, 1]``.
    """
    ends = [end for end, segment in enumerate(trajectory.segments, start=1) if segment.source == "model"]
    return [Sample(trajectory, label, end) for label, end in zip(categories(trajectory), ends, strict=True)]


def balance(drawn: Sequence[Sample], seed: int) -> list[Sample]:
    """Equally many of each category that occurs, as many as the rarest has, in the order given."""
    counts = Counter(sample.category for sample in drawn)
    fewest = min(counts.values(), default=0)
    shuffle = random.Random(seed)
    kept = {
        index
        for category in sorted(counts)
        for index in shuffle.sample([i for i, one in enumerate(drawn) if one.category == category], fewest)
    }
    return [sample for index, sample in enumerate(drawn) if index in kept]


def count(drawn: Sequence[Sample]) -> dict[str, Any]:
    """Samples by category, and the tokens a training step computes for them.

    Returns:
        ``{"categories": {"1": n, …, "4": n}, "tokens_whole", "tokens_separate", "ratio"}``: ``tokens_whole`` when each
        trajectory is one masked sequence, ``tokens_separate`` when each sample is one, and the first over the second.
    """
    by_category = Counter(sample.category for sample in drawn)
    longest: dict[int, int] = {}
    separate = 0
    for sample in drawn:
        tokens = len(sample.token_ids)
        separate += tokens
        longest[id(sample.trajectory)] = max(tokens, longest.get(id(sample.trajectory), 0))
    whole = sum(longest.values())
    return {
        "categories": {str(category): by_category[category] for category in CATEGORIES},
        "tokens_whole": whole,
        "tokens_separate": separate,
        "ratio": round(whole / separate, 4) if separate else 1.0,
    }


def segment(
    path: Path,
    *,
    model: str = builtin.DEFAULT_MODEL,
    mode: Mode = "multi",
    max_queries: int = 3,
    balanced: bool = False,
    seed: int = 0,
    out: Path | None = None,
    form: Form = "messages",
    overwrite: bool = False,
    report: Report = ignore,
) -> dict[str, Any]:
    """Counts the targets of a trajectory file by category; with ``out``, writes them as samples (:func:`to_row`).

    Trajectories without an answer are left out; with ``balanced``, so are samples, drawn by ``seed``, until each
    category that occurs has equally many. The tokenizer of ``model`` counts, and cuts documents to the paper's budgets.

    Returns:
        What :func:`count` gives, and ``{"trajectories", "dropped", "written"}``, the last two in samples.

    Raises:
        RagR1Error: The file is of another form, ``out`` exists or cannot be written, or the model has no tokenizer.
    """
    from ragr1_lite.models.hub import find_folder
    from ragr1_lite.models.tokenizer import ChatTokenizer

    if out is not None:
        refuse_input(out, (path,))
        if out.exists() and not overwrite:
            raise already_there(out)
    records = read_records(path, report=report)
    tokenizer, protocol = ChatTokenizer.load(find_folder(model, report), report), Protocol(mode, max_queries)
    trajectories = replayed(records, tokenizer, protocol, report)
    cut = [sample for trajectory in trajectories for sample in samples(trajectory)]
    kept = balance(cut, seed) if balanced else cut
    result = {"trajectories": len(trajectories), **count(kept), "dropped": len(cut) - len(kept), "written": 0}
    if balanced and (absent := [CATEGORIES[int(name)] for name, n in result["categories"].items() if not n]):
        report(Notice(f"Balanced without {' and '.join(absent)}: no turn is of that category.", "warning"))
    if out is not None:
        rows = _rows(kept, tokenizer, protocol, form, report)
        write_rows(out, rows)
        result["written"] = len(rows)
    return result


def replayed(
    records: Sequence[Trajectory], tokenizer: Tokenizer, protocol: Protocol, report: Report
) -> list[Trajectory]:
    """The records' trajectories, encoded, their documents cut to the paper's budgets; reports how many do not fit.

    Raises DataError where none fits.
    """
    limits = Limits(max_rounds=_AS_RECORDED, k=_AS_RECORDED)
    trajectories: list[Trajectory] = []
    with phase(report, "cutting trajectories", len(records), "trajectories") as advance:
        for done, record in enumerate(records, start=1):
            trajectories += replay(record, tokenizer, protocol, limits)
            advance(done)
    fit = f"{protocol.mode} mode, {protocol.max_queries} queries a search and {limits.max_length:,} tokens"
    if not trajectories:
        raise DataError(f"No trajectory fits {fit}", "Choose another --mode or --max-queries.")
    if len(trajectories) < len(records):
        left_out = len(records) - len(trajectories)
        report(Notice(f"{left_out} of {len(records)} trajectories are left out: they do not fit {fit}.", "warning"))
    return trajectories


def _rows(
    kept: Sequence[Sample], tokenizer: ChatTokenizer, protocol: Protocol, form: Form, report: Report
) -> list[dict[str, Any]]:
    """The samples' rows, without those whose text another trainer would read as a control token."""
    control = tokenizer.hf.all_special_tokens
    texts = ("\n".join(_texts(sample, tokenizer, protocol)) for sample in kept)
    safe = [sample for sample, text in zip(kept, texts, strict=True) if not any(token in text for token in control)]
    if len(safe) < len(kept):
        why = f"control tokens of the model, such as {control[0]}, stand in their text"
        report(Notice(f"{len(kept) - len(safe)} of {len(kept)} samples are not written: {why}.", "warning"))
    return [to_row(sample, tokenizer, protocol, form) for sample in safe]


def to_row(sample: Sample, tokenizer: ChatTokenizer, protocol: Protocol, form: Form) -> dict[str, Any]:
    """A sample as other trainers read it, its target last, with ``id``, ``turn`` and ``category``.

    - ``messages``: roles user and assistant, information being the user's. Axolotl (with ``message_field_training:
      weight``) and LLaMA-Factory (with ``mask_history: true``) read ``messages``, where ``weight`` is 1 on the target
      and 0 on earlier turns; TRL reads ``prompt`` and ``completion`` in its place and trains the completion alone.
    - ``sharegpt``: ``conversations`` of human, gpt and observation, as LLaMA-Factory wants them to alternate.
    - ``text``: ``prompt`` and ``completion`` as strings, chat template and end token in them: what this package's
      models read and write. TRL adds an end token to searches, too.
    """
    row: dict[str, Any] = {"id": sample.trajectory.example.id, "turn": sample.turn, "category": sample.category}
    if form == "text":
        decode = tokenizer.hf.backend_tokenizer.decode
        before = len(sample.token_ids) - len(sample.segments[-1].token_ids)
        halves = (list(sample.token_ids[:before]), list(sample.token_ids[before:]))
        prompt, completion = (decode(ids, skip_special_tokens=False) for ids in halves)
        return {"prompt": prompt, "completion": completion} | row
    texts = _texts(sample, tokenizer, protocol)
    sources = [segment.source for segment in sample.segments]
    if form == "sharegpt":
        speakers = {"prompt": "human", "model": "gpt", "env": "observation"}
        turns = [{"from": speakers[source], "value": text} for source, text in zip(sources, texts, strict=True)]
        return {"conversations": turns} | row
    roles = ("assistant" if source == "model" else "user" for source in sources)
    plain = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    weighed = [one | ({"weight": 0} if one["role"] == "assistant" else {}) for one in plain[:-1]]
    return {"messages": [*weighed, plain[-1] | {"weight": 1}], "prompt": plain[:-1], "completion": plain[-1:]} | row


def _texts(sample: Sample, tokenizer: Tokenizer, protocol: Protocol) -> list[str]:
    """The text of each segment, without chat template and end token."""
    prompt = protocol.render_prompt(sample.trajectory.example.question)
    first, *others = (tokenizer.decode(segment.token_ids).strip() for segment in sample.segments[1:])
    return [prompt, tokenizer.opening.strip() + first, *others]
