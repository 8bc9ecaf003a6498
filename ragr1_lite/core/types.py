"""The types that every wing shares, and the two roles a rollout needs. Standard library only.

A question becomes a :class:`Trajectory`: segments of token ids, each from the prompt, the model or the environment.
Token ids and loss mask are both derived from the segments, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

Mode = Literal["multi", "single", "cot-rag", "rag", "direct"]
Source = Literal["prompt", "model", "env"]
TurnKind = Literal["search", "answer", "invalid"]
Finish = Literal["stop", "eos", "length"]
StopReason = Literal["answer", "invalid", "length", "budget", "context"]
Reading = Literal["tag", "open-tag", "phrase", "first-sentence", "last-line"]
"""How an answer was read; all but ``tag`` by :mod:`~ragr1_lite.core.free_text`."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with every accepted answer.

    Attributes:
        id: Unique within its set.
        question: What the user asks.
        answers: Accepted answers; the first is the canonical one, the others are aliases.
        kind: Label used to break figures down, such as ``bridge``. Empty when the set has none.
        hops: Facts that the answer rests on, where the set says it; else 0.
        pass_rate: Share of a model's rollouts that were right, where it was measured.
        titles: Titles of the passages that hold the answer's facts, where the set names them.
        hidden: Titles or ids of passages that its searches do not find: those that would hold the answer, which is then
            :data:`~ragr1_lite.core.protocol.NOT_FOUND`.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    kind: str = ""
    hops: int = 0
    pass_rate: float | None = None
    titles: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """A question that the prompt answers for example; the ``thought`` may be empty."""

    question: str
    answer: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved passage.

    Attributes:
        id: Unique within its corpus; of a document its file's name, ``#`` and a number.
        title: Of the row or the document it is from.
        text: What it says.
        score: The retriever's own, higher is better.
        place: Where in its document it is, such as ``page 3`` or a heading; empty where that is not known.
        index: The name of its index, where several were searched at once; else empty.
        file: Of an index of a folder: the file whose row it is; empty for a document's, whose id says it.
    """

    id: str
    title: str
    text: str
    score: float = 0.0
    place: str = ""
    index: str = ""
    file: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by among the passages of all indexes."""
        return self.index, self.id


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model sampled in one go.

    Attributes:
        token_ids: The ids exactly as sampled, an end token included.
        text: Their decoded text, without special tokens.
        finish: ``stop`` at a closing tag, ``eos`` at the end token, ``length`` at the limit.
        logprobs: Of each id under the distribution it was drawn from, nats; empty where the sampler was not asked.
    """

    token_ids: tuple[int, ...]
    text: str
    finish: Finish
    logprobs: tuple[float, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """A completion, understood.

    Attributes:
        kind: ``search``, ``answer`` or ``invalid``.
        think: The thought before the tag, without its own tags; of an answer in free text, all that was written.
        queries: The queries of a search, at least one; empty otherwise.
        answer: The answer's text; ``None`` unless ``kind`` is ``answer``.
        passages: What was found: one tuple of passages per query, in the queries' order.
        cut: What the model saw of them where the token budget had no room for all; ``None`` where it saw them whole.
        read_by: How the answer was read.
    """

    kind: TurnKind
    think: str = ""
    queries: tuple[str, ...] = ()
    answer: str | None = None
    passages: tuple[tuple[Passage, ...], ...] = ()
    cut: tuple[tuple[Passage, ...], ...] | None = None
    read_by: Reading = "tag"

    @property
    def shown(self) -> tuple[tuple[Passage, ...], ...]:
        """What the model saw, per query: the last passage may end early, those without any text left are missing."""
        return self.passages if self.cut is None else self.cut


@dataclass(frozen=True, slots=True)
class Segment:
    """Token ids from one source, which decides whether they are trained; ``logprobs`` are those of a completion."""

    source: Source
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What became of a question: the prompt, then model and environment in turn.

    Attributes:
        example: The question.
        segments: In order; the first is the prompt.
        turns: One per completion.
        stop_reason: Why it ended: ``answer``; ``invalid`` (no usable tag); ``length`` (a completion was cut);
            ``budget`` (it still searched in its last generation); ``context`` (the sequence was full).
        expert: Whether it is a gold trajectory among a training's rollouts: no policy sampled it.
    """

    example: Example
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]
    stop_reason: StopReason
    expert: bool = False

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All ids, shape ``(length,)``."""
        return tuple(token for segment in self.segments for token in segment.token_ids)

    @property
    def loss_mask(self) -> tuple[int, ...]:
        """1 where the model wrote the token, else 0; shape ``(length,)``."""
        return tuple(int(segment.source == "model") for segment in self.segments for _ in segment.token_ids)

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt's ids."""
        return self.segments[0].token_ids

    @property
    def answer(self) -> str | None:
        """The model's answer; ``None`` when it gave none."""
        return self.turns[-1].answer if self.turns else None

    @property
    def read_by(self) -> Reading | None:
        """How the answer was read; ``None`` when there is none."""
        return None if self.answer is None else self.turns[-1].read_by

    @property
    def found(self) -> tuple[Passage, ...]:
        """Every passage that the searcher returned."""
        return tuple(passage for turn in self.turns for passages in turn.passages for passage in passages)

    @property
    def shown(self) -> tuple[Passage, ...]:
        """Every passage that the model saw, as far as it saw it."""
        return tuple(passage for turn in self.turns for passages in turn.shown for passage in passages)

    @property
    def first_written(self) -> int:
        """The number of the first turn that the model itself wrote: 1 after the retrieval of ``rag`` mode, else 0."""
        return len(self.turns) - sum(1 for segment in self.segments if segment.source == "model")

    @property
    def rounds(self) -> int:
        """Retrieval rounds answered by the searcher."""
        return sum(1 for turn in self.turns if turn.passages)

    @property
    def queries(self) -> int:
        """Queries answered by the searcher, all rounds together."""
        return sum(len(turn.passages) for turn in self.turns)

    @property
    def sampled_tokens(self) -> int:
        """Tokens the model wrote."""
        return sum(len(segment.token_ids) for segment in self.segments if segment.source == "model")


@dataclass(frozen=True, slots=True)
class Step:
    """One retrieval round of a plan: the thought before the search, and at least one query."""

    think: str
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldPlan:
    """What a perfect run writes: searches (none where none is needed), then its last thought and the answer."""

    steps: tuple[Step, ...]
    think: str
    answer: str


@dataclass(frozen=True, slots=True)
class Reward:
    """A total and the named parts it was summed from."""

    total: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One row to continue.

    Attributes:
        row: The rollout's index, the same in every turn: a sampler may keep state under it.
        token_ids: The whole sequence so far; each turn's begin with the last turn's.
        wanted: Given where somebody reads the row while it grows: its text is reported next to other rows, too, and it
            may end at the next token when this says no.
    """

    row: int
    token_ids: Sequence[int]
    wanted: Callable[[], bool] | None = None


class Tokenizer(Protocol):
    """What rollouts need of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Encodes text as it stands: no special tokens are added, none in the text is recognised."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Decodes ids, leaving out special tokens."""

    def render_chat(self, user: str) -> list[int]:
        """Ids of a conversation with one user message, up to where the assistant begins to write."""

    @property
    def opening(self) -> str:
        """What those ids have already written of the assistant's turn: an opened ``<think>``, or nothing."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end the assistant's turn; the first is the one SFT appends."""


class Sampler(Protocol):
    """Continues sequences with a language model."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model that samples."""

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        """Continues each row until a stop string is in its new text, an end token, or the limit.

        Returns:
            One completion per request, in order. The text of one that finished with ``stop`` holds the stop string
            and, where a token ran past it, a few characters more.
        """


@runtime_checkable
class SessionSampler(Sampler, Protocol):
    """A sampler that spares work when rows come back."""

    def session(self) -> AbstractContextManager[None]:
        """While it is open, what is computed of a row may be kept for its next turn; the model must not change."""


class Searcher(Protocol):
    """Answers queries with passages."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        """Returns up to ``k`` passages per query, best first, in the queries' order; nothing where nothing matches."""
