"""Threads are chosen by what they bring."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator

import pytest

from ragr1_lite.core.events import Notice
from ragr1_lite.models import cpu_speed


class Torch(types.ModuleType):
    """A torch whose products take the seconds given for the number of threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        super().__init__("torch")
        self.threads = max(seconds)
        self.get_num_threads: Callable[[], int] = lambda: self.threads
        self.cuda = types.SimpleNamespace(is_available=lambda: False)
        self.nn = types.SimpleNamespace(functional=types.SimpleNamespace(linear=lambda a, b: self.work()))
        self.seconds = seconds
        self.clock = 0.0

    def ones(self, *shape: int) -> object:
        return None

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads

    def work(self) -> None:
        self.clock += self.seconds[self.threads]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu_speed._Look, "due", 0.0)
    cpu_speed._most_threads.cache_clear()
    yield
    cpu_speed._most_threads.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, torch: Torch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(cpu_speed.time, "perf_counter", lambda: torch.clock)


@pytest.mark.parametrize(("seconds", "best"), [({1: 2.0, 4: 0.6}, 4), ({1: 1.0, 2: 4.0}, 1), ({1: 1.0, 2: 0.95}, 1)])
def test_more_threads_only_where_they_help(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], best: int
) -> None:
    torch = Torch(seconds)
    install(monkeypatch, torch)
    assert cpu_speed.use_best_threads() == best
    assert torch.threads == best


def test_the_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch({1: 1.0, 2: 9.0})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cpu_speed.use_best_threads() == 2
    assert torch.clock == 0


IDLE, BUSY = {1: 0.002, 2: 0.001}, {1: 0.002, 2: 0.008}


def test_a_busy_machine_is_noticed_and_an_idle_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, events = Torch(dict(IDLE)), list[object]()
    install(monkeypatch, torch)
    assert cpu_speed.use_best_threads() == 2
    torch.seconds = BUSY
    torch.clock += 10
    assert cpu_speed.look_at_threads_again(events.append) == 2, "it was looked at a moment ago"
    torch.clock += 100
    assert cpu_speed.look_at_threads_again(events.append) == torch.threads == 1
    torch.seconds = IDLE
    torch.clock += 100
    assert cpu_speed.look_at_threads_again(events.append) == torch.threads == 2
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "From here on 1 thread instead of 2: another program keeps this machine busy.",
        "From here on 2 threads instead of 1: the machine has room again.",
    ]


def test_what_is_loaded_later_computes_with_what_was_last_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was busy when a process began must not slow down all models that the process loads later."""
    torch = Torch(dict(BUSY))
    install(monkeypatch, torch)
    assert cpu_speed.use_best_threads() == 1
    torch.seconds = IDLE
    torch.clock += 100
    assert cpu_speed.look_at_threads_again() == cpu_speed.use_best_threads() == 2
    torch.seconds = BUSY
    torch.clock += 100
    assert cpu_speed.use_best_threads() == 1


def test_threads_that_are_no_slower_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between one thread's speed and what makes two worth it, nothing changes: not every look may turn them over."""
    torch = Torch(dict(IDLE))
    install(monkeypatch, torch)
    for begun in (2, 1):
        torch.seconds = IDLE if begun == 2 else BUSY
        torch.clock += 100
        assert cpu_speed.look_at_threads_again() == begun
        torch.seconds = {1: 0.0022, 2: 0.002}
        torch.clock += 100
        assert cpu_speed.look_at_threads_again() == begun


def test_looking_takes_less_than_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, spent = Torch({1: 0.02, 2: 0.08}), 0.0
    install(monkeypatch, torch)
    for _ in range(1000):
        torch.clock += 1
        before = torch.clock
        cpu_speed.look_at_threads_again()
        spent += torch.clock - before
    assert 0 < spent < 0.011 * torch.clock + 10, "the first look comes at once"


def test_nothing_is_looked_at_where_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch({1: 1.0, 2: 9.0})
    install(monkeypatch, torch)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cpu_speed.look_at_threads_again() is None and torch.clock == 0
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.cuda.is_available = lambda: True
    assert cpu_speed.look_at_threads_again() is None and torch.clock == 0
