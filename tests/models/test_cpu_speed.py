"""Threads are chosen by what they bring."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator

import pytest

from ragr1_lite.models import cpu_speed


class Torch(types.ModuleType):
    """A torch whose products take the seconds given for the number of threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        super().__init__("torch")
        self.threads = max(seconds)
        self.get_num_threads: Callable[[], int] = lambda: self.threads
        self.nn = types.SimpleNamespace(functional=types.SimpleNamespace(linear=lambda a, b: self.work()))
        self._seconds = seconds
        self.clock = 0.0

    def ones(self, *shape: int) -> object:
        return None

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads

    def work(self) -> None:
        self.clock += self._seconds[self.threads]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpu_speed._best_threads.cache_clear()
    yield
    cpu_speed._best_threads.cache_clear()


@pytest.mark.parametrize(("seconds", "best"), [({1: 2.0, 4: 0.6}, 4), ({1: 1.0, 2: 4.0}, 1), ({1: 1.0, 2: 0.95}, 1)])
def test_more_threads_only_where_they_help(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], best: int
) -> None:
    torch = Torch(seconds)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(cpu_speed.time, "perf_counter", lambda: torch.clock)
    assert cpu_speed.use_best_threads() == best
    assert torch.threads == best


def test_the_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch({1: 1.0, 2: 9.0})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cpu_speed.use_best_threads() == 2
    assert torch.clock == 0
