"""Something that does not answer, for tests of those who must not wait for it; without a clock of the test's own."""

from __future__ import annotations

import threading
from types import TracebackType


class Hanging:
    """Whoever calls it waits until the block ends, a minute at most.

    Attributes:
        outwaited: Somebody was let go by the minute alone, so the test's subject waited with it.
    """

    def __init__(self) -> None:
        self.outwaited = False
        self._over = threading.Event()

    def __call__(self) -> None:
        self.outwaited |= not self._over.wait(60)

    def __enter__(self) -> Hanging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        assert kind is not None or not self.outwaited, "it was waited for"
