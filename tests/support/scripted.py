"""A model, a tokenizer and an index that follow a script, without torch: what unit tests run rollouts with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ragr1_lite.core.types import Completion, Example, Finish, Passage, SampleRequest

EOS = 256
USER, ASSISTANT = 257, 258
"""The chat's frame, around every user message."""

_WHOLE = ("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>", "</search>\n")
_TAGS = re.compile(r"(</?(?:think|search|answer)>)")


class ByteTokenizer:
    """UTF-8 bytes, three special ids, and ids of whole tags that only a sampler uses: ``encode`` never yields them.

    Args:
        eos: The end token; also what a batch would be padded with.
    """

    def __init__(self, eos: int = EOS) -> None:
        self.eos_ids = (eos,)
        self.opening = ""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_as_sampled(self, text: str) -> list[int]:
        """Ids that decode to the text and that encoding the text does not give back."""
        ids: list[int] = []
        for piece in _TAGS.split(text):
            ids += [300 + _WHOLE.index(piece)] if piece in _WHOLE else self.encode(piece)
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        data = b"".join(_WHOLE[i - 300].encode() if i >= 300 else bytes([i]) for i in token_ids if i not in SPECIAL)
        return data.decode(errors="replace")

    def render_chat(self, user: str) -> list[int]:
        return [USER, *self.encode(user), ASSISTANT]


SPECIAL = {EOS, USER, ASSISTANT}


class ScriptedSampler:
    """Says each row's lines, one a generation; the last one again and again.

    Args:
        lines: For all rows alike, or by row. A text ends with ``stop``, at the end token where it has no closing tag;
            a :class:`Completion` is returned as it is.
        tokenizer: Encodes the lines.

    Attributes:
        calls: For each generation, the ids each row was asked with.
        said: Each row's completions.
        limits: For each generation, the stop strings and the most new tokens.
    """

    def __init__(
        self,
        lines: Sequence[str | Completion] | Mapping[int, Sequence[str | Completion]],
        tokenizer: ByteTokenizer | None = None,
    ) -> None:
        self.tokenizer = tokenizer or ByteTokenizer()
        self.calls: list[dict[int, tuple[int, ...]]] = []
        self.said: dict[int, list[Completion]] = {}
        self.limits: list[tuple[tuple[str, ...], int]] = []
        self._lines = lines

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        stop: Sequence[str],
        max_new_tokens: int,
        report: Callable[[object], None],
    ) -> list[Completion]:
        assert requests
        self.limits.append((tuple(stop), max_new_tokens))
        self.calls.append({request.row: tuple(request.token_ids) for request in requests})
        return [self._say(request.row, stop) for request in requests]

    def _say(self, row: int, stop: Sequence[str]) -> Completion:
        said = self.said.setdefault(row, [])
        lines = self._lines[row] if isinstance(self._lines, Mapping) else self._lines
        line = lines[min(len(said), len(lines) - 1)]
        said.append(line if isinstance(line, Completion) else self.complete(line, stop))
        return said[-1]

    def complete(self, text: str, stop: Sequence[str] = ("</search>", "</answer>")) -> Completion:
        stopped = any(tag in text for tag in stop)
        ids = self.tokenizer.encode_as_sampled(text)
        return Completion((*ids, *(() if stopped else self.tokenizer.eos_ids)), text, "stop" if stopped else "eos")

    def cut(self, text: str, finish: Finish = "length") -> Completion:
        """A completion that ended for another reason than its text says."""
        return Completion(tuple(self.tokenizer.encode_as_sampled(text)), text, finish)


class ScriptedSearcher:
    """Finds what the test gives it, else ``default``, and keeps every call."""

    def __init__(
        self, found: Mapping[str, Sequence[Passage]] | None = None, default: Sequence[Passage] | None = None
    ) -> None:
        self.calls: list[tuple[tuple[str, ...], int]] = []
        self._found = found or {}
        self._default = default

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        self.calls.append((tuple(queries), k))
        return [tuple(self._find(query)[:k]) for query in queries]

    def _find(self, query: str) -> Sequence[Passage]:
        default = [passage(query)] if self._default is None else self._default
        return self._found.get(query, default)


class NoSearcher:
    """Must not be asked."""

    def search(self, queries: Sequence[str], k: int) -> list[tuple[Passage, ...]]:
        raise AssertionError(f"nobody should search: {queries}")


def passage(about: str, text: str = "") -> Passage:
    return Passage(f"id-{about}", about.title(), text or f"All about {about}.", 1.5)


def example(question: str = "Which is larger, Chad or Mali?", *answers: str, id: str = "q") -> Example:
    return Example(id, question, answers or ("Chad",))
