"""The one way a question becomes a trajectory; models hide behind ``Sampler``, indexes behind ``Searcher``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ragr1_lite.core.events import Report, RolloutFinished, Searched, ignore
from ragr1_lite.core.hiding import search_hiding
from ragr1_lite.core.protocol import OPENED, Protocol, render_documents, shown
from ragr1_lite.core.types import (
    Completion,
    Example,
    Passage,
    Sampler,
    SampleRequest,
    Searcher,
    Segment,
    SessionSampler,
    Source,
    StopReason,
    Tokenizer,
    Trajectory,
    Turn,
)

_SEAM = 4
"""Tokens that a text in its frame may cost more than the two apart."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a rollout may go. Defaults are the paper's for evaluation.

    Attributes:
        max_rounds: Retrieval rounds; after the last one the model gets one more generation in which to answer.
        k: Passages per query.
        max_new_tokens: Tokens per generation.
        document_tokens: Tokens of documents per query.
        total_document_tokens: Tokens of documents per trajectory, shared fairly by a turn's queries.
        max_length: Tokens of the whole sequence.
    """

    max_rounds: int = 5
    k: int = 3
    max_new_tokens: int = 1024
    document_tokens: int = 1000
    total_document_tokens: int = 6000
    max_length: int = 8192


@dataclass(slots=True)
class Row:
    """A rollout under way.

    Attributes:
        index: What samplers and events know it by, its own among those under way.
        example: The question.
        document_tokens_left: Of :attr:`Limits.total_document_tokens`.
        wanted: See :class:`~ragr1_lite.core.types.SampleRequest`.
        opening: What its prompt has already written of its first turn.
    """

    index: int
    example: Example
    document_tokens_left: int
    wanted: Callable[[], bool] | None = None
    opening: str = ""
    segments: list[Segment] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    stop_reason: StopReason | None = None

    def append(self, source: Source, token_ids: Sequence[int], logprobs: tuple[float, ...] = ()) -> None:
        """Adds ids of one source."""
        self.segments.append(Segment(source, tuple(token_ids), logprobs))
        self.token_ids.extend(token_ids)

    def finish(self) -> Trajectory:
        """What became of the question."""
        assert self.stop_reason is not None
        return Trajectory(self.example, tuple(self.segments), tuple(self.turns), self.stop_reason)


def run_rollouts(
    examples: Sequence[Example],
    sampler: Sampler,
    searcher: Searcher,
    *,
    protocol: Protocol,
    limits: Limits,
    report: Report = ignore,
) -> list[Trajectory]:
    """Runs every example to its end, all of them turn by turn together.

    Ids are append-only: what was sampled stays as sampled, only the environment's text is encoded. In each turn all
    live rows are sampled, then all their queries go to the searcher in one call.

    An example may occur several times (a GRPO group). ``report`` gets :class:`Searched`, :class:`RolloutFinished` and
    what the sampler reports.

    Returns:
        One trajectory per example, in order. In ``multi`` mode, segments run prompt, model, env, model, …::

            <user>…Question: Which is larger, Chad or Mali?       prompt   mask 0
            <think>…</think><search>area of Chad, area of Mali    model    mask 1
            </search>
            <information>{"query": […], "documents": […]}         env      mask 0
            <think>…</think><answer>Chad</answer>                 model    mask 1
    """
    rows = [Row(i, example, limits.total_document_tokens) for i, example in enumerate(examples)]
    rollouts = Rollouts(sampler, searcher, protocol, limits, report)
    return rollouts.to_the_end(rows, rollouts.open(rows))


def continue_rollouts(
    begun: Sequence[Trajectory],
    sampler: Sampler,
    searcher: Searcher,
    *,
    protocol: Protocol,
    limits: Limits,
    report: Report = ignore,
) -> list[Trajectory]:
    """As :func:`run_rollouts`, from trajectories of ``multi`` or ``single`` mode that end with an information block.

    All that they hold is the prompt of what follows, so none of it is trained; queries and rounds count on.
    """
    rows = [Row(i, one.example, limits.total_document_tokens) for i, one in enumerate(begun)]
    rollouts = Rollouts(sampler, searcher, protocol, limits, report)
    for row, one in zip(rows, begun, strict=True):
        rollouts.reopen(row, one)
    return rollouts.to_the_end(rows, rows)


def session_of(sampler: Sampler) -> AbstractContextManager[None]:
    """A sampler's session, in which it keeps what it computes from turn to turn; an empty one where it cannot."""
    return sampler.session() if isinstance(sampler, SessionSampler) else nullcontext()


class _Block(NamedTuple):
    """An information block and the documents in it, one text per query."""

    token_ids: list[int]
    documents: list[str]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Takes rollouts turn by turn, all that are under way side by side; between turns rows may join and leave.

    ::

        with session_of(sampler):
            live = rollouts.open([Row(0, example, limits.total_document_tokens)])
            while live:
                live = rollouts.turn(live)  # RolloutFinished is reported of those that are missing now
    """

    sampler: Sampler
    searcher: Searcher
    protocol: Protocol
    limits: Limits
    report: Report

    @property
    def tokenizer(self) -> Tokenizer:
        """The sampler's."""
        return self.sampler.tokenizer

    def open(self, rows: Sequence[Row]) -> list[Row]:
        """Writes the prompts; where the mode reads first, with what the questions themselves retrieve, in one call.

        Returns:
            The rows whose prompt leaves room for a turn.
        """
        protocol, limits, chat = self.protocol, self.limits, self.tokenizer.render_chat
        questions = [row.example.question for row in rows]
        prompts = [chat(protocol.render_prompt(question)) for question in questions]
        if protocol.reads_first and rows:
            found = self.find([(row, row.example.question) for row in rows])
            for at, (row, passages) in enumerate(zip(rows, found, strict=True)):
                question = row.example.question
                room = limits.max_length - limits.max_new_tokens - len(prompts[at]) - _SEAM
                share = min(limits.document_tokens, limits.total_document_tokens, room)
                documents = self.shorten(render_documents(passages, "\n"), share)
                prompts[at] = chat(protocol.render_prompt(question, documents))
                row.turns.append(_searched(Turn("search", queries=(question,)), (passages,), [documents]))
                self.report(Searched(row.index, (question,), (passages,)))
        for row, prompt in zip(rows, prompts, strict=True):
            row.opening = self.tokenizer.opening
            row.append("prompt", prompt)
            if len(prompt) + limits.max_new_tokens > limits.max_length:
                row.stop_reason = "context"
        return self.unfinished(rows)

    def reopen(self, row: Row, begun: Trajectory) -> None:
        """Puts a row where a trajectory ends, and counts the documents that it has read."""
        row.append("prompt", begun.token_ids)
        row.turns.extend(begun.turns)
        blocks = [segment for segment in begun.segments if segment.source == "env"]
        for turn, block in zip(begun.turns, blocks, strict=True):
            documents = self.share(row, len(turn.queries)) * len(turn.queries)
            row.document_tokens_left -= min(len(block.token_ids), documents)

    def to_the_end(self, rows: Sequence[Row], live: list[Row]) -> list[Trajectory]:
        """What becomes of rows, of which some are still live."""
        with session_of(self.sampler):
            while live:
                live = self.turn(live)
        return [row.finish() for row in rows]

    def turn(self, live: Sequence[Row]) -> list[Row]:
        """Samples every row, then answers all their queries; returns the rows that go on."""
        requests = [SampleRequest(row.index, row.token_ids, row.wanted) for row in live]
        stop, most = self.protocol.stop, self.limits.max_new_tokens
        completions = self.sampler.sample(requests, stop=stop, max_new_tokens=most, report=self.report)
        for row, completion in zip(live, completions, strict=True):
            self.take(row, completion)
        self.search([row for row in live if row.stop_reason is None])
        return self.unfinished(live)

    def unfinished(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that go on; the others leave and are reported."""
        for row in rows:
            if row.stop_reason is not None:
                self.report(RolloutFinished(row.index, row.finish()))
        return [row for row in rows if row.stop_reason is None]

    def take(self, row: Row, completion: Completion) -> None:
        """Appends a completion and decides whether the row goes on."""
        text = completion.text
        if len(row.segments) == 1 and not text.lstrip().startswith(OPENED):
            text = row.opening + text
        row.append("model", completion.token_ids, completion.logprobs)
        searches = sum(1 for earlier in row.turns if earlier.kind == "search")
        turn = self.protocol.parse_turn(text, searches, cut=completion.finish == "length")
        row.turns.append(turn)
        if turn.kind == "answer":
            row.stop_reason = "answer"
        elif turn.kind == "invalid":
            row.stop_reason = "length" if completion.finish == "length" else "invalid"
        elif searches >= self.limits.max_rounds:
            row.stop_reason = "budget"

    def search(self, rows: Sequence[Row]) -> None:
        """Answers the last turn of every row with one call to the searcher."""
        asked = [(row, query) for row in rows for query in row.turns[-1].queries]
        results = iter(self.find(asked) if asked else ())
        for row in rows:
            turn = row.turns[-1]
            passages = tuple(next(results) for _ in turn.queries)
            block = self.information(row, turn.queries, list(map(render_documents, passages)))
            if block is None:
                row.stop_reason = "context"
                continue
            row.turns[-1] = _searched(turn, passages, block.documents)
            row.append("env", block.token_ids)
            self.report(Searched(row.index, turn.queries, passages))

    def find(self, asked: Sequence[tuple[Row, str]]) -> list[tuple[Passage, ...]]:
        """What is found for each query, without what is hidden from its row."""
        hidden = [row.example.hidden for row, _ in asked]
        return search_hiding(self.searcher, [query for _, query in asked], self.limits.k, hidden)

    def information(self, row: Row, queries: Sequence[str], documents: Sequence[str]) -> _Block | None:
        """The information block within every budget; ``None`` when not even an empty one fits."""

        def block_of(share: int) -> _Block:
            kept = [self.protocol.cut(text, lambda text: self.shorten(text, share)) for text in documents]
            return _Block(self.tokenizer.encode(self.protocol.render_information(queries, kept)), kept)

        room = self.limits.max_length - len(row.token_ids) - self.limits.max_new_tokens
        share = self.share(row, len(queries))
        block = block_of(share)
        if len(block.token_ids) > room:
            frame = len(block_of(0).token_ids)
            share = min(share, (room - frame) // len(queries) - _SEAM)
            if share <= 0 or len((block := block_of(share)).token_ids) > room:
                return None
        row.document_tokens_left -= min(len(block.token_ids), share * len(queries))
        return block

    def share(self, row: Row, queries: int) -> int:
        """Tokens of documents that each of so many queries may have now."""
        return min(self.limits.document_tokens, row.document_tokens_left // queries)

    def shorten(self, text: str, tokens: int) -> str:
        """The beginning of a text that fits into ``tokens`` tokens; as a token has a byte or more, short texts pass."""
        if len(text.encode()) <= tokens:
            return text
        token_ids = self.tokenizer.encode(text)
        if len(token_ids) <= tokens:
            return text
        return text[: len(self.tokenizer.decode(token_ids[: max(tokens, 0)]).rstrip("\ufffd"))]


def _searched(turn: Turn, passages: tuple[tuple[Passage, ...], ...], documents: Sequence[str]) -> Turn:
    """The turn with what it found and what the documents, one text per query, show of that."""
    seen = tuple(map(shown, passages, documents))
    return replace(turn, passages=passages, cut=None if seen == passages else seen)
